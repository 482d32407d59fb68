"""So many at work, no more waiting than can be served in time, and the next one is refused at once."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from userservice_core.errors import DeadlineExceededError, OverloadedError
from userservice_core.http.bulkheads import AT_ONCE, LATE, BoundedWorkers
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.ports.context import CallContext, deadline_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from userservice_core.errors import UnavailableError

_UNLIMITED: Final = CallContext()
_BOUND: Final = 10.0


@attrs.define
class _Clock:
    """A clock that only goes when it is told to."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@attrs.frozen
class _Subject:
    """One at work, one waiting."""

    clock: _Clock = attrs.field(factory=_Clock)
    metrics: InMemoryMetrics = attrs.field(factory=InMemoryMetrics)
    workers: BoundedWorkers[object] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        workers: BoundedWorkers[object] = BoundedWorkers(
            "test", threads=1, queue=1, longest_wait_seconds=_BOUND, metrics=self.metrics, monotonic=self.clock
        )
        object.__setattr__(self, "workers", workers)

    def submit(self, work: Callable[[], object]) -> Callable[[], object]:
        """Have a thread do it; return what waits for the result."""
        submitted = self.workers.submit(work, otherwise=_as_it_is)
        return lambda: _result(submitted)

    def run(self, work: Callable[[], object], context: CallContext = _UNLIMITED) -> object:
        """Do it here."""
        return self.workers.run(work, otherwise=_as_it_is, context=context)

    def refused(self, outcome: str) -> int:
        """Return how many were counted."""
        return self.metrics.counts[("admission_test", outcome)]


def _result(submitted: object) -> object:
    return submitted.result(timeout=10) if isinstance(submitted, Future) else submitted


def _as_it_is(error: UnavailableError) -> object:
    return type(error)


@pytest.fixture
def subject() -> Iterator[_Subject]:
    """One at work, one waiting."""
    subject = _Subject()
    yield subject
    subject.workers.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What work waits for; opened at the end, so that no thread is left behind."""
    gate = threading.Event()
    yield gate
    gate.set()


def _busy(subject: _Subject, gate: threading.Event) -> Callable[[], object]:
    """Have its thread wait for the gate."""
    began = threading.Event()

    def work() -> bool:
        began.set()
        return gate.wait(timeout=10)

    result = subject.submit(work)
    assert began.wait(timeout=10)
    return result


@pytest.mark.asvs("15.2.2")
def test_work_past_the_bound_is_refused_before_it_begins(subject: _Subject, gate: threading.Event) -> None:
    """One runs, one waits, the third is told at once; and there is room again afterwards."""
    taken = [_busy(subject, gate), subject.submit(gate.wait)]

    assert subject.submit(gate.wait)() is OverloadedError
    assert subject.run(gate.wait) is OverloadedError
    assert subject.refused(AT_ONCE) == 2
    gate.set()
    assert [result() for result in taken] == [True, True]
    assert subject.run(lambda: "done") == "done"
    assert subject.refused(LATE) == 0


def test_who_has_waited_too_long_is_refused_and_nothing_is_done(subject: _Subject, gate: threading.Event) -> None:
    """When their turn comes."""
    done: list[bool] = []
    first, second = _busy(subject, gate), subject.submit(lambda: done.append(True))
    subject.clock.now += _BOUND + 1
    gate.set()

    assert (first(), second()) == (True, OverloadedError)
    assert done == []
    assert subject.refused(LATE) == 1


def test_whoever_comes_sends_those_away_who_have_waited_too_long(subject: _Subject, gate: threading.Event) -> None:
    """Though no thread is free to see it; and while nothing moves, they are refused themselves."""
    first, second = _busy(subject, gate), subject.submit(lambda: "late")
    subject.clock.now += _BOUND + 1
    third = subject.submit(lambda: "hopeless")

    assert (second(), third()) == (OverloadedError, OverloadedError)
    assert (subject.refused(LATE), subject.refused(AT_ONCE)) == (1, 1)
    gate.set()
    assert first()
    assert subject.run(lambda: "done") == "done"


def test_waiting_for_a_place_ends_with_the_deadline(subject: _Subject, gate: threading.Event) -> None:
    """A request does not wait longer than it may last."""
    _busy(subject, gate)

    with deadline_after(0.05) as context:
        assert subject.run(gate.wait, context) is DeadlineExceededError


def test_waiting_for_a_place_ends_with_the_bound(gate: threading.Event) -> None:
    """In a thread of the host's, which cannot be sent away by others."""
    metrics = InMemoryMetrics()
    workers: BoundedWorkers[object] = BoundedWorkers(
        "test", threads=1, queue=1, longest_wait_seconds=0.05, metrics=metrics
    )
    first = workers.submit(gate.wait, otherwise=_as_it_is)

    assert workers.run(gate.wait, otherwise=_as_it_is, context=_UNLIMITED) is OverloadedError
    assert metrics.counts[("admission_test", LATE)] == 1
    gate.set()
    assert _result(first) is True
    workers.close()


def test_waiting_is_timed_from_the_admission_to_the_place(gate: threading.Event) -> None:
    """For both kinds of hosts, and also where no place is had in time; the work itself is not in it."""
    metrics = InMemoryMetrics()
    workers: BoundedWorkers[object] = BoundedWorkers(
        "test", threads=1, queue=2, longest_wait_seconds=_BOUND, metrics=metrics, timed_as="wait"
    )
    first = workers.submit(gate.wait, otherwise=_as_it_is)
    second = workers.submit(lambda: len(metrics.seconds["wait"]), otherwise=_as_it_is)
    with deadline_after(0.05) as context:
        assert workers.run(gate.wait, otherwise=_as_it_is, context=context) is DeadlineExceededError
    gate.set()

    assert _result(first)
    assert _result(second) == 3
    assert sorted(seconds >= 0.04 for seconds in metrics.seconds["wait"]) == [False, True, True]
    workers.close()


def test_a_place_is_given_back_whatever_happens(subject: _Subject) -> None:
    """Work that raises does not use the place up."""
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            subject.run(lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            subject.submit(lambda: 1 // 0)()
    assert subject.run(lambda: "done") == "done"


def test_who_has_gone_is_not_served(subject: _Subject, gate: threading.Event) -> None:
    """A host cancels what nobody waits for."""
    done: list[bool] = []
    first = _busy(subject, gate)
    future = subject.workers.submit(lambda: done.append(True), otherwise=_as_it_is)
    assert isinstance(future, Future)
    assert future.cancel()
    gate.set()

    assert first()
    assert subject.submit(lambda: "done")() == "done"
    assert done == []


def test_what_is_to_be_expected_is_shown(subject: _Subject, gate: threading.Event) -> None:
    """While somebody waits; and 0 once nobody does."""

    def takes_a_second() -> None:
        subject.clock.now += 1

    subject.run(takes_a_second)
    level = "admission_wait_seconds_test"
    first, second = _busy(subject, gate), subject.submit(lambda: None)
    assert subject.run(lambda: None) is OverloadedError
    assert subject.metrics.gauges[level] == pytest.approx(2.0)
    gate.set()
    first(), second()
    subject.workers.close()

    assert subject.metrics.gauges[level] == 0.0


def test_many_threads_leave_nothing_behind() -> None:
    """Each is answered once, and all places are free in the end."""
    workers: BoundedWorkers[object] = BoundedWorkers(
        "test", threads=3, queue=5, longest_wait_seconds=5.0, metrics=InMemoryMetrics()
    )
    answers: list[object] = []

    def call() -> None:
        for _ in range(50):
            answers.append(workers.run(lambda: "done", otherwise=_as_it_is, context=_UNLIMITED))
            answers.append(_result(workers.submit(lambda: "done", otherwise=_as_it_is)))

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 12 * 100
    assert set(answers) <= {"done", OverloadedError}
    assert answers.count("done") > 0
    together = threading.Barrier(4)
    held = [workers.submit(together.wait, otherwise=_as_it_is) for _ in range(3)]
    together.wait(timeout=10)
    assert {_result(future) for future in held} <= {0, 1, 2, 3}
    workers.close()


def test_stopped_workers_refuse(subject: _Subject) -> None:
    """What arrives after the end is refused like anything there is no room for."""
    subject.workers.close()

    assert subject.submit(lambda: None)() is OverloadedError
