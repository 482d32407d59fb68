"""Sessions as their users see them, and as administrators do: which are open, and ending them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.application.account_changes import AccountChange
from userservice_core.application.session_ends import revoke_session
from userservice_core.domain.audit import Actor, AuditAction, AuditEntry, Subject
from userservice_core.domain.ids import AuditEntryId, EventId
from userservice_core.errors import InvalidAccessTokenError, SessionNotFoundError, UserNotFoundError

if TYPE_CHECKING:
    from datetime import timedelta

    from userservice_core.application.access_changes import Agent
    from userservice_core.domain.ids import SessionId, UserId
    from userservice_core.domain.sessions import Session
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.sessions import SessionStore
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

BY_USER: Final = "ended-by-user"
BY_ADMINISTRATOR: Final = "ended-by-administrator"


class Sessions:
    """A session that has ended is not there any more: it is not listed, and cannot be ended again."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        sessions: SessionStore,
        clock: Clock,
        ids: IdGenerator,
        access_lifetime: timedelta,
    ) -> None:
        self._uow = uow
        self._sessions = sessions
        self._clock = clock
        self._ids = ids
        self._access_lifetime = access_lifetime

    def list_own(self, *, user_id: UserId) -> tuple[Session, ...]:
        """
        Return the caller's open sessions, most recently used first.

        Raises:
            InvalidAccessTokenError: If the account was erased.
        """
        try:
            return self.list_of(user_id=user_id)
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error

    def list_of(self, *, user_id: UserId) -> tuple[Session, ...]:
        """
        Return a user's open sessions, most recently used first.

        Raises:
            UserNotFoundError: If there is no such user.
        """
        return self._sessions.list_open(user_id, now=self._clock.now())

    def end_own(self, *, user_id: UserId, session_id: SessionId) -> None:
        """
        End one of the caller's sessions, which may be the one they call from.

        Raises:
            SessionNotFoundError: If it is none of theirs, or has ended.
            InvalidAccessTokenError: If the account was erased.
        """

        def work(transaction: Transaction) -> None:
            now = self._clock.now()
            transaction.sign_ins.get(user_id)
            session = transaction.sessions.get(user_id, session_id)
            if not session.is_open(now=now):
                raise SessionNotFoundError
            revoke_session(
                transaction,
                session,
                reason=BY_USER,
                event_id=EventId(self._ids.new()),
                now=now,
                access_lifetime=self._access_lifetime,
            )
            transaction.audit.add(
                AuditEntry(
                    id=AuditEntryId(self._ids.new()),
                    at=now,
                    action=AuditAction.SESSION_REVOKED,
                    actor=Actor.user(user_id),
                    subject=Subject.user(user_id),
                    after={"sessionId": session_id, "cause": BY_USER},
                )
            )

        try:
            self._uow.run(work)
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error

    def end_all_of(self, *, actor: Agent, user_id: UserId) -> None:
        """
        Sign a user out everywhere, and refuse every access token that they were given until now.

        Raises:
            UserNotFoundError: If there is no such user.
            TargetOutranksActorError: If they hold a permission that the actor lacks.
        """

        def work(transaction: Transaction) -> None:
            account = self._begin(transaction, actor, user_id)
            account.end_sessions(account.sessions, reason=BY_ADMINISTRATOR)
            account.refuse_tokens()
            account.audit(
                AuditAction.SESSION_REVOKED,
                after={"sessionIds": [session.id for session in account.sessions], "cause": BY_ADMINISTRATOR},
            )

        self._uow.run(work)

    def end_one_of(self, *, actor: Agent, user_id: UserId, session_id: SessionId) -> None:
        """
        End one session of a user.

        Raises:
            UserNotFoundError: If there is no such user.
            SessionNotFoundError: If it is none of theirs, or has ended.
            TargetOutranksActorError: If they hold a permission that the actor lacks.
        """

        def work(transaction: Transaction) -> None:
            account = self._begin(transaction, actor, user_id)
            sessions = [session for session in account.sessions if session.id == session_id]
            if not sessions:
                raise SessionNotFoundError
            account.end_sessions(sessions, reason=BY_ADMINISTRATOR)
            account.audit(AuditAction.SESSION_REVOKED, after={"sessionId": session_id, "cause": BY_ADMINISTRATOR})

        self._uow.run(work)

    def _begin(self, transaction: Transaction, actor: Agent, user_id: UserId) -> AccountChange:
        account = AccountChange.begin(
            transaction,
            actor=actor,
            user_id=user_id,
            clock=self._clock,
            ids=self._ids,
            access_lifetime=self._access_lifetime,
        )
        account.require_outranked()
        return account
