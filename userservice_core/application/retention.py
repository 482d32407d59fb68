"""What is kept for a while only: deleted accounts, accounts that nobody confirmed, and rows that are of no use."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.domain.audit import SYSTEM, AuditAction, AuditEntry, Subject
from userservice_core.domain.events import UserDeleted
from userservice_core.domain.ids import AuditEntryId, EventId
from userservice_core.ports.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.domain.users import User
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.idempotency import AnswerStore
    from userservice_core.ports.retention import ExpiredRows
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

ERASED_PER_TRANSACTION: Final = 50
"""Users who are erased at once, so that no transaction holds locks for long."""

ROWS_PER_STATEMENT: Final = 1_000

BY_RETENTION: Final = "retention"
"""Who erases, as :class:`~userservice_core.domain.events.UserDeleted` tells it."""


@attrs.frozen(kw_only=True)
class RetentionPeriods:
    """
    How long accounts are kept that nobody can use.

    Attributes:
        deleted: From the deletion on; as long they can be restored.
        pending: From the registration on; until then the address can be confirmed.
    """

    deleted: timedelta = timedelta(days=30)
    pending: timedelta = timedelta(days=7)


@attrs.frozen(kw_only=True)
class Removed:
    """How much a run has removed: users, and rows of no use."""

    users: int
    rows: int


class Retention:
    """
    Erases what has been kept long enough, in batches, each in a transaction of its own.

    It may be stopped or killed at any point, and several may run at once: each batch is done once, by one of them. No
    account is erased that could be used, so the last administrator is never among them.
    """

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        rows: ExpiredRows,
        answers: AnswerStore,
        clock: Clock,
        ids: IdGenerator,
        periods: RetentionPeriods,
        remembered_passwords: int,
    ) -> None:
        self._uow = uow
        self._rows = rows
        self._answers = answers
        self._clock = clock
        self._ids = ids
        self._periods = periods
        self._remembered_passwords = remembered_passwords

    def apply(self, *, is_stopped: Callable[[], bool] = lambda: False) -> Removed:
        """
        Erase all that is due, or as much as there is time for.

        Args:
            is_stopped: Asked after each batch; True ends the run.

        Raises:
            UnavailableError: If a batch failed; those before it stay done.
        """
        users = rows = 0
        while (erased := self._uow.run(self._erase_some)) and not is_stopped():
            failpoint("retention.erased")
            users += erased
        users += erased
        for remove_some in (self._rows.remove_some, self._answers.remove_expired):
            while not is_stopped() and (removed := remove_some(now=self._clock.now(), limit=ROWS_PER_STATEMENT)):
                rows += removed
        while not is_stopped() and (forgotten := self._forget_passwords()):
            rows += forgotten
        if not is_stopped():
            self._rows.make_room()
        return Removed(users=users, rows=rows)

    def _forget_passwords(self) -> int:
        """Drop what a setting that was lowered does not want any more."""
        return self._rows.forget_passwords(remembered=self._remembered_passwords, limit=ROWS_PER_STATEMENT)

    def _erase_some(self, transaction: Transaction) -> int:
        now = self._clock.now()
        users = transaction.users.list_expired(
            deleted_before=now - self._periods.deleted,
            pending_before=now - self._periods.pending,
            now=now,
            limit=ERASED_PER_TRANSACTION,
        )
        for user in users:
            self._erase(transaction, user, now=now)
        return len(users)

    def _erase(self, transaction: Transaction, user: User, *, now: datetime) -> None:
        """Write that nothing is left of a user who has no session and is in no cache, since they cannot sign in."""
        transaction.audit.add(
            AuditEntry(
                id=AuditEntryId(self._ids.new()),
                at=now,
                action=AuditAction.USER_ERASED,
                actor=SYSTEM,
                subject=Subject.user(user.id),
            )
        )
        transaction.audit.erase_details(user.id)
        transaction.record(
            UserDeleted(id=EventId(self._ids.new()), occurred_at=now, user_id=user.id, erased=True, by=BY_RETENTION)
        )
        transaction.users.remove(user.id)
