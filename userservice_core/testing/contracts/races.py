"""Threads that meet where it matters."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

T = TypeVar("T")

PATIENCE_SECONDS: Final = 20.0
"""How long anything may take that is going to happen."""

_LOOK_SECONDS: Final = 0.1


class Meeting:
    """
    A point where threads wait for each other for a moment, then go on with or without them.

    An implementation that runs one transaction at a time never lets them meet, and that is fine too.
    """

    def __init__(self, parties: int) -> None:
        self._barrier = threading.Barrier(parties)

    def wait(self) -> None:
        """Wait for the others, but not for long."""
        with contextlib.suppress(threading.BrokenBarrierError):
            self._barrier.wait(timeout=_LOOK_SECONDS)


def race(works: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Run *works* at the same time, a thread each, and return what each returned or raised."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T | Exception:
        start.wait(PATIENCE_SECONDS)
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - what is raised is an outcome of the race
            return error

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(run, works))


def contend(uow: UnitOfWork, hold: Callable[[Transaction], object], rival: Callable[[], T]) -> T:
    """
    Start *rival* amid a transaction, see that it waits for the commit, and return what it returned.

    Args:
        hold: All that the transaction does; the rival is started before what it wrote is committed.
        rival: Whatever has to wait for what *hold* read.
    """

    def work(transaction: Transaction) -> Future[T]:
        hold(transaction)
        started = threads.submit(rival)
        done, _ = wait([started], timeout=_LOOK_SECONDS)
        assert not done, "the rival did not wait for the transaction"
        return started

    with ThreadPoolExecutor(1) as threads:
        return uow.run(work).result(PATIENCE_SECONDS)


def eventually(condition: Callable[[], T]) -> T:
    """Return the first true value of *condition*; fail if none comes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.005)
    return value


def sole(outcomes: Sequence[object], kind: type) -> bool:
    """Tell whether exactly one of *outcomes* is no *kind*, as when one of many rivals wins."""
    return sum(not isinstance(outcome, kind) for outcome in outcomes) == 1
