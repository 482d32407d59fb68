"""One change of whether an account can be used: under every lock that it takes, and with all that follows from it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.application.access import access_changed
from userservice_core.application.access_changes import AccessChange, Agent
from userservice_core.application.security_notices import security_notice
from userservice_core.application.session_ends import LEEWAY, revoke_session
from userservice_core.domain.audit import AuditAction, Subject
from userservice_core.domain.credentials import LoginState
from userservice_core.domain.events import (
    NotificationKind,
    UserDeleted,
    UserRestored,
    UserStatusChanged,
)
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.domain.roles import Role
from userservice_core.domain.sessions import Session
from userservice_core.domain.users import Mover, User

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from userservice_core.application.security_notices import NoticeKind
    from userservice_core.domain.ids import EventId, UserId
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.unit_of_work import Transaction


_NOTHING: Final[Mapping[str, object]] = {}


@attrs.frozen(kw_only=True)
class AccountChange:
    """
    A transaction that holds the lock over who may do what, and then the rows of one account.

    Attributes:
        user: As they are until now, with the row locked.
        state: Of their sign-ins, with the row locked: nobody signs in meanwhile.
        sessions: Which can be used now.
        held: Their roles, with what these grant.
    """

    access: AccessChange
    user: User
    state: LoginState
    sessions: tuple[Session, ...]
    held: tuple[Role, ...]
    access_lifetime: timedelta

    @classmethod
    def begin(
        cls,
        transaction: Transaction,
        *,
        actor: Agent,
        user_id: UserId,
        clock: Clock,
        ids: IdGenerator,
        access_lifetime: timedelta,
    ) -> AccountChange:
        """
        Take the locks and read what is behind them.

        Raises:
            UserNotFoundError: If there is no such user.
        """
        access = AccessChange.begin(transaction, actor=actor, clock=clock, ids=ids)
        state = transaction.sign_ins.get(user_id).state
        user = transaction.users.get(user_id)
        return cls(
            access=access,
            user=user,
            state=state,
            sessions=transaction.sessions.list_open(user_id, now=access.now),
            held=transaction.roles.get_all({role.id for role in user.roles}),
            access_lifetime=access_lifetime,
        )

    @property
    def transaction(self) -> Transaction:
        """The transaction."""
        return self.access.transaction

    @property
    def now(self) -> datetime:
        """When it happens."""
        return self.access.now

    def event_id(self) -> EventId:
        """Return the id of a new event."""
        return self.access.event_id()

    def require_outranked(self) -> None:
        """
        Check that the actor holds all that the user holds.

        Raises:
            TargetOutranksActorError: If they do not.
        """
        self.access.require_rank_over(permission for role in self.held for permission in role.permissions)

    def require_administrator_left(self) -> None:
        """
        Check that somebody can still do everything once this account cannot be used; to be asked before any write.

        Raises:
            LastAdministratorError: If not.
        """
        if self.user.is_live:
            self.access.require_administrator_left(without=self.held, of=self.user.id)

    def save(self, changed: User) -> None:
        """Write a user who may do more than before, or less, and tell every process."""
        self.transaction.users.save(changed)
        self.transaction.revocations.add(access_changed(changed, now=self.now))

    def shut_out(self, *, reason: str) -> None:
        """End every session and every mailed link, and refuse every access token that was issued until now."""
        self.end_sessions(self.sessions, reason=reason)
        self.transaction.one_time_tokens.end_all(self.user.id, now=self.now)
        self.refuse_tokens()

    def end_sessions(self, sessions: Iterable[Session], *, reason: str) -> None:
        """End some of the sessions, with their access tokens."""
        for session in sessions:
            revoke_session(
                self.transaction,
                session,
                reason=reason,
                event_id=self.event_id(),
                now=self.now,
                access_lifetime=self.access_lifetime,
            )

    def refuse_tokens(self) -> None:
        """
        Refuse every access token that was issued in an earlier second, whatever its session.

        The claim tells whole seconds, and one issued later in this second is to be accepted again; those of this second
        are refused by their sessions.
        """
        self.transaction.revocations.add(
            Revocation(
                kind=RevocationKind.USER,
                subject=str(self.user.id),
                not_before=self.now.replace(microsecond=0),
                expires_at=self.now + self.access_lifetime + LEEWAY,
            )
        )

    def change_status(self, changed: User, *, by: Mover, reason: str | None = None) -> None:
        """Write that the account has another status, and who gave it that."""
        self.save(changed)
        self.audit(
            AuditAction.USER_STATUS_CHANGED,
            before={"status": self.user.status},
            after={"status": changed.status, "statusReason": reason},
        )
        self.transaction.record(
            UserStatusChanged(
                id=self.event_id(),
                occurred_at=self.now,
                user_id=changed.id,
                previous_status=self.user.status.value,
                status=changed.status.value,
                by=by.value,
                reason=reason,
            )
        )

    def restore(self, *, by: Mover) -> User:
        """Write that a deleted account is back, and return it; one that is not deleted stays as it is."""
        restored = self.user.restored(now=self.now)
        if restored is self.user:
            return restored
        self.save(restored)
        # Links of the time in which it was deleted are no use any more.
        self.transaction.one_time_tokens.end_all(restored.id, now=self.now)
        self.audit(AuditAction.USER_RESTORED, after={"status": restored.status})
        self.transaction.record(
            UserRestored(
                id=self.event_id(),
                occurred_at=self.now,
                user_id=restored.id,
                status=restored.status.value,
                by=by.value,
            )
        )
        self.notify(NotificationKind.ACCOUNT_RESTORED)
        return restored

    def delete(self, *, by: Mover) -> None:
        """Write that the account is deleted, which it was not, and can be restored."""
        self.save(self.user.deleted(now=self.now))
        self.shut_out(reason="account-deleted")
        self.audit(AuditAction.USER_DELETED)
        self.transaction.record(self._deleted(by=by, erased=False))

    def erase(self, *, by: Mover) -> None:
        """Write that nothing of the account is left."""
        gone = attrs.evolve(self.user, access_version=self.user.access_version + 1)
        self.transaction.revocations.add(access_changed(gone, now=self.now))
        self.shut_out(reason="account-deleted")
        self.audit(AuditAction.USER_ERASED)
        self.transaction.audit.erase_details(self.user.id)
        self.transaction.record(self._deleted(by=by, erased=True))
        self.transaction.users.remove(self.user.id)

    def notify(self, kind: NoticeKind) -> None:
        """Have the owner told by mail, if the address is known to be theirs."""
        if self.user.email_verified:
            self.transaction.record(security_notice(self.user, kind, event_id=self.event_id(), now=self.now))

    def audit(
        self,
        action: AuditAction,
        *,
        before: Mapping[str, object] = _NOTHING,
        after: Mapping[str, object] = _NOTHING,
        refusal: str | None = None,
    ) -> None:
        """Write into the audit log that the actor did this to the account, or what *refusal* kept them from it."""
        self.access.audit(action, Subject.user(self.user.id), before=before, after=after, refusal=refusal)

    def _deleted(self, *, by: Mover, erased: bool) -> UserDeleted:
        return UserDeleted(id=self.event_id(), occurred_at=self.now, user_id=self.user.id, erased=erased, by=by.value)
