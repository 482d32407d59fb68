"""What a wrong password leads to, wherever it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from userservice_core.application.security_notices import security_notice
from userservice_core.domain.audit import ANONYMOUS, AuditAction, AuditEntry, Subject
from userservice_core.domain.events import AccountLocked, NotificationKind
from userservice_core.domain.ids import AuditEntryId, EventId
from userservice_core.errors import UserNotFoundError
from userservice_core.ports.clock import IdGenerator

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.credentials import LoginState
    from userservice_core.domain.ids import UserId
    from userservice_core.domain.sessions import Origin
    from userservice_core.ports.unit_of_work import Transaction


@attrs.frozen(kw_only=True)
class FailedSignIns:
    """
    Counts wrong passwords, and locks the account at the last one that is allowed in a row.

    Attributes:
        ids: Of the events.
        locked_at: The number of that one.
    """

    ids: IdGenerator
    locked_at: int

    def is_last(self, state: LoginState, *, now: datetime) -> bool:
        """Tell whether one more wrong password locks the account, or comes on top of those that did."""
        return state.is_locked(now=now) or state.failed().failed_attempts >= self.locked_at

    def count(self, transaction: Transaction, user_id: UserId, *, origin: Origin, now: datetime) -> None:
        """Count one, exactly, however many there are at once; of an unknown user with the same statements."""
        try:
            found = transaction.sign_ins.get(user_id)
        except UserNotFoundError:
            transaction.sign_ins.count_failure(user_id)
            return
        state = found.state.failed()
        if not self.is_last(found.state, now=now) or state.is_locked(now=now):
            transaction.sign_ins.count_failure(user_id)
            return
        transaction.sign_ins.save_state(state.locked())
        transaction.record(
            AccountLocked(
                id=EventId(self.ids.new()),
                occurred_at=now,
                user_id=user_id,
                failed_attempts=state.failed_attempts,
                ip=origin.ip,
                user_agent=origin.user_agent,
            )
        )
        transaction.record(
            security_notice(found.user, NotificationKind.ACCOUNT_LOCKED, event_id=EventId(self.ids.new()), now=now)
        )
        transaction.audit.add(
            AuditEntry(
                id=AuditEntryId(self.ids.new()),
                at=now,
                action=AuditAction.ACCOUNT_LOCKED,
                actor=ANONYMOUS,
                subject=Subject.user(user_id),
                after={"failedAttempts": state.failed_attempts},
            )
        )
