"""
One transaction: reads that lock, then all writes in one round trip with their COMMIT.

The order in which rows are locked is the same everywhere, whatever order the use cases write in: first the lock over
who may do what, where that is changed, then login states, then users, then the rest. So transactions of one user wait
for each other instead of blocking one another.
"""

from __future__ import annotations

import contextlib
import enum
import time
from typing import TYPE_CHECKING, Final, NoReturn, Self

from sqlalchemy import text

from userservice_core.errors import DeadlineExceededError, OutcomeUnknownError, ProgrammingError
from userservice_core.infrastructure.postgres.errors import ConnectionLostError, translated
from userservice_core.infrastructure.postgres.positions import WRITTEN, written_position
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.ports.consistency import current_reading
from userservice_core.ports.context import current_call
from userservice_core.ports.failpoints import failpoint, failpoints_are_installed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from userservice_core.infrastructure.postgres.database import Cursor, Database, Link
    from userservice_core.infrastructure.postgres.statements import Step

_BEGIN: Final = Statement(text("BEGIN"))
_COMMIT: Final = Statement(text("COMMIT"))
# The server keeps the deadline too. A process that is frozen in a transaction, as Lambda does, must not hold its locks.
_LIMITS: Final = Statement(
    text(
        "SELECT set_config('statement_timeout', :timeout, true), set_config('lock_timeout', :timeout, true),"
        " set_config('idle_in_transaction_session_timeout', :idle_timeout, true)"
    )
)
_SET_LOCK_TIMEOUT: Final = Statement(text("SELECT set_config('lock_timeout', :timeout, true)"))
_SAVEPOINT: Final = Statement(text("SAVEPOINT joined"))
_ROLL_BACK: Final = Statement(text("ROLLBACK TO SAVEPOINT joined"))
_RELEASE: Final = Statement(text("RELEASE SAVEPOINT joined"))
_IDLE_MILLISECONDS: Final = 1000
_LEAST_PATIENCE_MILLISECONDS: Final = 10


class WriteOrder(enum.IntEnum):
    """When a write has its turn at the flush."""

    LOGIN_STATE_COUNTER = enum.auto()
    LOGIN_STATE = enum.auto()
    USER_COUNTER = enum.auto()
    USER = enum.auto()
    OTHER = enum.auto()
    OUTBOX = enum.auto()
    # An event of what is removed takes its number from the row that goes.
    REMOVAL = enum.auto()
    ERASURE = enum.auto()


class OpenTransaction:
    """One attempt at a transaction; it takes a connection when it has to, so none is held before the first read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._resources = contextlib.ExitStack()
        self._link: Link | None = None
        self._writes: list[tuple[WriteOrder, Step]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Undo what is not committed, and give the connection back."""
        if self._link is not None and not self._link.is_lost:
            self._link.roll_back()
        self._resources.__exit__(kind, error, trace)

    @property
    def is_lost(self) -> bool:
        """Whether its connection is of no use any more."""
        return self._link is not None and self._link.is_lost

    def read_locked(self, lock: Step, read: Step) -> tuple[Cursor, Cursor]:
        """
        Lock rows, then read: two statements in one round trip.

        A statement that locks and joins at once would return the joined rows as they were before it waited for the
        lock; a second statement sees what was committed meanwhile.

        Raises:
            ProgrammingError: If something was written before.
        """
        *_, locked, found = self._read(lock, read)
        return locked, found

    def read(self, step: Step) -> Cursor:
        """
        Read without a lock: what does not change while another lock is held, or may.

        Raises:
            ProgrammingError: If something was written before.
        """
        return self._read(step)[-1]

    def _read(self, *steps: Step) -> Sequence[Cursor]:
        if self._writes:
            raise ProgrammingError("A transaction reads before it writes.")
        link, head = self._begun()
        cursors = link.run_all((*head, *steps))
        if head:
            failpoint("uow.begun")
        return cursors

    def run(self, step: Step) -> Cursor:
        """Run one statement at once."""
        link, head = self._begun()
        *_, cursor = link.run_all((*head, step))
        return cursor

    def run_patiently(self, step: Step, *, seconds: float) -> Cursor:
        """
        Run one statement at once, which waits for a lock for *seconds* at most, and for less than the call has left.

        Raises:
            DeadlineExceededError: If the lock was not had by then.
        """
        link, head = self._begun()
        left = _remaining_milliseconds()
        patience = max(_LEAST_PATIENCE_MILLISECONDS, min(int(seconds * 1000), left // 2))
        hasty, usual = (_SET_LOCK_TIMEOUT(timeout=str(max(1, timeout))) for timeout in (patience, left))
        *_, cursor, _ = link.run_all((*head, hasty, step, usual))
        if head:
            failpoint("uow.begun")
        return cursor

    def write(self, step: Step, *, order: WriteOrder = WriteOrder.OTHER) -> None:
        """Put a write aside until the commit."""
        self._writes.append((order, step))

    def flush(self) -> Link:
        """
        Send the writes without COMMIT, so that whatever rule they break is told now; return the connection.

        Raises:
            UserServiceError: What :func:`~.errors.translated` says.
        """
        link, head = self._begun()
        steps = [*head, *self._ordered_writes()]
        self._writes.clear()
        failpoint("uow.flushing")
        if steps:
            link.run_all(steps)
        return link

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what the block does, and nothing before it, if it raises."""
        link, head = self._begun()
        link.run_all((*head, _SAVEPOINT()))
        try:
            yield
        except BaseException:
            self._writes.clear()
            if not link.is_lost:
                link.run_all((_ROLL_BACK(), _RELEASE()))
            raise
        link.run_all((_RELEASE(),))

    def commit(self) -> None:
        """
        Send the writes and COMMIT together.

        Raises:
            OutcomeUnknownError: If it cannot be told whether COMMIT took effect.
            UserServiceError: If it did not: what :func:`~.errors.translated` says.
        """
        if self._link is None and not self._writes:
            return
        link, head = self._begun()
        if head:
            failpoint("uow.begun")
        steps = [*head, *self._ordered_writes()]
        failpoint("uow.flushing")
        if failpoints_are_installed():
            link.run_all(steps)
            failpoint("uow.before-commit")
            steps = []
        self._send_commit(link, [*steps, _COMMIT()])
        failpoint("uow.committed")

    def _ordered_writes(self) -> Iterator[Step]:
        return (step for _, step in sorted(self._writes, key=lambda write: write[0]))

    def _begun(self) -> tuple[Link, tuple[Step, ...]]:
        """Return the connection, and what is to be sent first on it."""
        if self._link is not None:
            return self._link, ()
        reading = current_reading()
        if reading is not None:
            reading.pin()
        self._link = self._resources.enter_context(self._database.lend())
        milliseconds = max(1, _remaining_milliseconds())  # none at all would be for ever
        limits = _LIMITS(timeout=str(milliseconds), idle_timeout=str(milliseconds + _IDLE_MILLISECONDS))
        return self._link, (_BEGIN(), limits)

    def _send_commit(self, link: Link, steps: Sequence[Step]) -> None:
        """
        Send *steps*, of which the last one is COMMIT, and make sure of what became of it.

        Where there are replicas, the server is asked in the same round trip up to where it has written.

        COMMIT was not even sent unless all others were, and the server skips it after a failed one. So only a broken
        connection leaves the outcome open, unless the server still answered one of the others by saying that it ends
        the connection.
        """
        if _remaining_milliseconds() <= 0:
            raise DeadlineExceededError
        link.connection.warnings.clear()
        sent = link.send_all([*steps, WRITTEN()] if self._database.tells_positions else steps)
        others, committed = sent.cursors[: len(steps) - 1], sent.cursors[len(steps) - 1 :]
        if committed and committed[0].statusmessage == "COMMIT":
            link.is_lost = sent.error is not None and isinstance(translated(sent.error), ConnectionLostError)
            # Cancelled while it waits for a synchronous standby, COMMIT succeeds with a warning: what it wrote may be
            # lost with the primary.
            if link.connection.warnings:
                self._give_up(link, sent.error)
            self._note_written(link, committed[1:])
            return
        if sent.error is None:
            self._give_up(link, None)
        is_refused = len(others) < len(steps) - 1 or any(cursor.failure is not None for cursor in others)
        if not is_refused and isinstance(translated(sent.error), ConnectionLostError):
            self._give_up(link, sent.error)
        raise link.translated(sent.error) from sent.error

    def _note_written(self, link: Link, told: Sequence[Cursor]) -> None:
        """Tell the request where its transaction was written, or that this is not known."""
        reading = current_reading()
        if reading is None:
            return
        row = told[0].fetchone() if told and told[0].failure is None and told[0].description else None
        reading.written = written_position(row, link.connection.state)

    def _give_up(self, link: Link, error: BaseException | None) -> NoReturn:
        link.is_lost = True
        # Whoever wants to see what became of it has to look at the primary.
        self._note_written(link, ())
        self._database.count("uow_commit", outcome="unknown")
        raise OutcomeUnknownError from error


def _remaining_milliseconds() -> int:
    deadline = current_call().deadline
    if deadline is None:
        raise ProgrammingError("A transaction is begun within Database.retrying, which sets a deadline.")
    return max(0, int((deadline - time.monotonic()) * 1000))
