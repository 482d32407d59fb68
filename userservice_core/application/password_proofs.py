"""Asking somebody who is signed in for their password once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.application.session_ends import revoke_session
from userservice_core.domain.audit import SYSTEM, Actor, AuditAction, AuditEntry, Outcome, Subject
from userservice_core.domain.events import LoginFailed
from userservice_core.domain.ids import AuditEntryId, EventId
from userservice_core.errors import (
    InvalidAccessTokenError,
    InvalidCredentialsError,
    SessionNotFoundError,
    UserNotFoundError,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from userservice_core.application.access import Principal
    from userservice_core.application.failed_sign_ins import FailedSignIns
    from userservice_core.domain.credentials import SignIn
    from userservice_core.domain.sessions import Origin, Session
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.credentials import SignInReader
    from userservice_core.ports.security import PasswordHasher
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork


_WRONG: Final = "wrong-password"
_GUESSED: Final = "wrong-passwords"
"""Why a session ends in which passwords were tried."""


class PasswordProofs:
    """
    A wrong password counts here as it does at a sign-in: whoever took over a session may not guess on.

    The lock of the account is not in the way of the right password, since strangers can bring it about. Once there were
    as many wrong ones as lock an account, each ends the session it was given in: what is left is one guess a session.
    """

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        sign_ins: SignInReader,
        failures: FailedSignIns,
        hasher: PasswordHasher,
        clock: Clock,
        ids: IdGenerator,
        access_lifetime: timedelta,
    ) -> None:
        self._uow = uow
        self._sign_ins = sign_ins
        self._failures = failures
        self._hasher = hasher
        self._clock = clock
        self._ids = ids
        self._access_lifetime = access_lifetime

    def require(self, *, caller: Principal, password: str, origin: Origin) -> SignIn:
        """
        Check the caller's password, and return what it was checked against.

        The transaction that relies on it asks :func:`require_same_password` once it holds the lock of sign-ins.

        Raises:
            InvalidCredentialsError: If it is wrong, or the account has none.
            InvalidAccessTokenError: If the account was erased.
            OverloadedError: If too many passwords are being hashed already.
        """
        try:
            found = self._sign_ins.get(caller.user_id)
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error
        if found.credential is None:
            raise InvalidCredentialsError
        if not self._hasher.verify(found.credential.password_hash, password):
            self._record_failure(caller, origin)
            raise InvalidCredentialsError
        return found

    def _record_failure(self, caller: Principal, origin: Origin) -> None:
        now, user_id = self._clock.now(), caller.user_id
        failed = LoginFailed(
            id=EventId(self._ids.new()),
            occurred_at=now,
            user_id=user_id,
            reason=_WRONG,
            ip=origin.ip,
            user_agent=origin.user_agent,
        )
        entry = AuditEntry(
            id=AuditEntryId(self._ids.new()),
            at=now,
            action=AuditAction.REAUTHENTICATED,
            actor=Actor.user(user_id),
            subject=Subject.user(user_id),
            outcome=Outcome.REFUSED,
            reason=_WRONG,
        )

        def work(transaction: Transaction) -> None:
            state = transaction.sign_ins.get(user_id).state
            is_last = self._failures.is_last(state, now=now)
            session = transaction.sessions.get(user_id, caller.session_id) if is_last else None
            self._failures.count(transaction, user_id, origin=origin, now=now)
            transaction.record(failed)
            transaction.audit.add(entry)
            if session is not None and session.is_open(now=now):
                self._end(transaction, session, now=now)

        try:
            self._uow.run(work)
        except (UserNotFoundError, SessionNotFoundError) as error:
            raise InvalidAccessTokenError from error

    def _end(self, transaction: Transaction, session: Session, *, now: datetime) -> None:
        revoke_session(
            transaction,
            session,
            reason=_GUESSED,
            event_id=EventId(self._ids.new()),
            now=now,
            access_lifetime=self._access_lifetime,
        )
        transaction.audit.add(
            AuditEntry(
                id=AuditEntryId(self._ids.new()),
                at=now,
                action=AuditAction.SESSION_REVOKED,
                actor=SYSTEM,
                subject=Subject.user(session.user_id),
                after={"sessionId": session.id, "cause": _GUESSED},
            )
        )


def require_same_password(checked: SignIn, latest: SignIn) -> None:
    """
    Check that the password was not replaced while it was being verified.

    Raises:
        InvalidCredentialsError: If it was.
    """
    before, after = checked.credential, latest.credential
    if before is None or after is None or before.changed_at != after.changed_at:
        raise InvalidCredentialsError
