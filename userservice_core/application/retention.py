"""What is kept for a while only: deleted accounts, accounts that nobody confirmed, and rows that are of no use."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.domain.audit import SYSTEM, AuditAction, AuditEntry, Subject
from userservice_core.domain.events import UserDeleted
from userservice_core.domain.ids import AuditEntryId, EventId
from userservice_core.errors import UserServiceError
from userservice_core.ports.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.domain.users import User
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.idempotency import AnswerStore
    from userservice_core.ports.retention import ExpiredRows, PurgeLease
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

ERASED_PER_TRANSACTION: Final = 50
"""Users who are erased at once, so that no transaction holds locks for long."""

ROWS_PER_STATEMENT: Final = 1_000

LEASE_SECONDS: Final = 30.0
"""How long others wait for a run that died; taken anew with each batch, which takes far less."""

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
    """
    How much a run has removed.

    Attributes:
        rows: Of no use.
        is_whole: Whether nothing that was due is left; False where the run was stopped, or somebody else is at it.
    """

    users: int = 0
    rows: int = 0
    is_whole: bool = True


class Retention:
    """
    Erases what has been kept long enough, in batches, each in a transaction of its own.

    It may be stopped or killed at any point. A lease has one run at a time; where two hold it nevertheless, each batch
    is done once, by one of them. No account is erased that could be used, so the last administrator is never among
    them.
    """

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        rows: ExpiredRows,
        answers: AnswerStore,
        lease: PurgeLease,
        holder: str,
        clock: Clock,
        ids: IdGenerator,
        periods: RetentionPeriods,
        remembered_passwords: int,
    ) -> None:
        """Hold *lease* by the name of *holder*; runs of the same name share the work."""
        self._lease = lease
        self._holder = holder
        self._uow = uow
        self._rows = rows
        self._answers = answers
        self._clock = clock
        self._ids = ids
        self._periods = periods
        self._remembered_passwords = remembered_passwords

    def apply(self, *, is_stopped: Callable[[], bool] = lambda: False, rest_seconds: float = 0.0) -> Removed:
        """
        Erase all that is due, or as much as there is time for.

        Args:
            is_stopped: Asked after each batch; True ends the run.
            rest_seconds: After the end of a whole run of anybody's, in which there is no other.

        Raises:
            UnavailableError: If a batch failed; those before it stay done.
        """
        if not self._lease.take(holder=self._holder, seconds=LEASE_SECONDS, rest_seconds=rest_seconds):
            return Removed(is_whole=False)
        removed = Removed(is_whole=False)
        try:
            removed = self._apply(lambda: is_stopped() or not self._goes_on())
        finally:
            # It ends by itself, too, if the database does not answer.
            with contextlib.suppress(UserServiceError):
                self._lease.give_back(holder=self._holder, is_done=removed.is_whole)
        return removed

    def _goes_on(self) -> bool:
        """Hold the lease for another while; False where a run that was thought dead has woken up too late."""
        return self._lease.take(holder=self._holder, seconds=LEASE_SECONDS)

    def _apply(self, is_over: Callable[[], bool]) -> Removed:
        users = rows = 0
        while erased := self._uow.run(self._erase_some):
            failpoint("retention.erased")
            users += erased
            if is_over():
                return Removed(users=users, rows=rows, is_whole=False)
        steps = (self._remove_rows, self._remove_answers, self._forget_passwords)
        for step in steps:
            while removed := step():
                rows += removed
                if is_over():
                    return Removed(users=users, rows=rows, is_whole=False)
        self._rows.make_room()
        return Removed(users=users, rows=rows)

    def _remove_rows(self) -> int:
        return self._rows.remove_some(now=self._clock.now(), limit=ROWS_PER_STATEMENT)

    def _remove_answers(self) -> int:
        return self._answers.remove_expired(now=self._clock.now(), limit=ROWS_PER_STATEMENT)

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
