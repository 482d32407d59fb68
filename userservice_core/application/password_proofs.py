"""Asking somebody who is signed in for their password once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.domain.audit import Actor, AuditAction, AuditEntry, Outcome, Subject
from userservice_core.domain.events import LoginFailed
from userservice_core.domain.ids import AuditEntryId, EventId
from userservice_core.errors import InvalidAccessTokenError, InvalidCredentialsError, UserNotFoundError

if TYPE_CHECKING:
    from userservice_core.application.failed_sign_ins import FailedSignIns
    from userservice_core.domain.credentials import SignIn
    from userservice_core.domain.ids import UserId
    from userservice_core.domain.sessions import Origin
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.credentials import SignInReader
    from userservice_core.ports.security import PasswordHasher
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork


_WRONG: Final = "wrong-password"


class PasswordProofs:
    """A wrong password counts here as it does at a sign-in: whoever took over a session may not guess on."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        sign_ins: SignInReader,
        failures: FailedSignIns,
        hasher: PasswordHasher,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._uow = uow
        self._sign_ins = sign_ins
        self._failures = failures
        self._hasher = hasher
        self._clock = clock
        self._ids = ids

    def require(self, *, user_id: UserId, password: str, origin: Origin) -> SignIn:
        """
        Check the password, and return what it was checked against.

        The transaction that relies on it asks :func:`require_same_password` once it holds the lock of sign-ins.

        Raises:
            InvalidCredentialsError: If it is wrong, or the account has none.
            InvalidAccessTokenError: If the account was erased.
            OverloadedError: If too many passwords are being hashed already.
        """
        try:
            found = self._sign_ins.get(user_id)
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error
        if found.credential is None:
            raise InvalidCredentialsError
        if not self._hasher.verify(found.credential.password_hash, password):
            self._record_failure(user_id, origin)
            raise InvalidCredentialsError
        return found

    def _record_failure(self, user_id: UserId, origin: Origin) -> None:
        now = self._clock.now()
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
            self._failures.count(transaction, user_id, origin=origin, now=now)
            transaction.record(failed)
            transaction.audit.add(entry)

        self._uow.run(work)


def require_same_password(checked: SignIn, latest: SignIn) -> None:
    """
    Check that the password was not replaced while it was being verified.

    Raises:
        InvalidCredentialsError: If it was.
    """
    before, after = checked.credential, latest.credential
    if before is None or after is None or before.changed_at != after.changed_at:
        raise InvalidCredentialsError
