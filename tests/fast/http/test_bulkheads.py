"""So many at work, so many waiting, and the next one is refused at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from userservice_core.errors import DeadlineExceededError, OverloadedError
from userservice_core.http.bulkheads import BoundedWorkers
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.ports.context import CallContext, deadline_after

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNLIMITED = CallContext()


@pytest.fixture
def workers() -> Iterator[BoundedWorkers]:
    """One at work, one waiting."""
    workers = BoundedWorkers("test", threads=1, queue=1)
    yield workers
    workers.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What work waits for; opened at the end, so that no thread is left behind."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.mark.asvs("15.2.2")
def test_work_past_the_bound_is_refused_before_it_begins(workers: BoundedWorkers, gate: threading.Event) -> None:
    """One runs, one waits, the third is told at once; and there is room again afterwards."""
    taken = [workers.submit(gate.wait), workers.submit(gate.wait)]

    with pytest.raises(OverloadedError):
        workers.submit(gate.wait)
    with pytest.raises(OverloadedError):
        workers.run(gate.wait, context=_UNLIMITED)
    gate.set()
    assert [future.result(timeout=10) for future in taken] == [True, True]
    assert workers.run(lambda: "done", context=_UNLIMITED) == "done"


def test_waiting_for_a_place_ends_with_the_deadline(workers: BoundedWorkers, gate: threading.Event) -> None:
    """A request does not wait longer than it may last."""
    workers.submit(gate.wait)

    with deadline_after(0.05) as context, pytest.raises(DeadlineExceededError):
        workers.run(gate.wait, context=context)


def test_waiting_is_timed_from_the_admission_to_the_place(gate: threading.Event) -> None:
    """For both kinds of hosts, and also where no place is had in time; the work itself is not in it."""
    metrics = InMemoryMetrics()
    workers = BoundedWorkers("test", threads=1, queue=2, waiting=lambda: metrics.timing("wait"))
    first, second = workers.submit(gate.wait), workers.submit(lambda: len(metrics.seconds["wait"]))
    with deadline_after(0.05) as context, pytest.raises(DeadlineExceededError):
        workers.run(gate.wait, context=context)
    gate.set()

    assert first.result(timeout=10)
    assert second.result(timeout=10) == 3
    assert sorted(seconds >= 0.04 for seconds in metrics.seconds["wait"]) == [False, True, True]
    workers.close()


def test_a_place_is_given_back_whatever_happens(workers: BoundedWorkers) -> None:
    """Work that raises does not use the place up."""
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            workers.run(lambda: 1 // 0, context=_UNLIMITED)
        assert isinstance(workers.submit(lambda: 1 // 0).exception(timeout=10), ZeroDivisionError)
    assert workers.run(lambda: "done", context=_UNLIMITED) == "done"


def test_stopped_workers_refuse() -> None:
    """What arrives after the end is refused like anything there is no room for."""
    workers = BoundedWorkers("test", threads=1, queue=0)
    workers.close()

    with pytest.raises(OverloadedError):
        workers.submit(lambda: None)
