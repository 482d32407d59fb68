"""Who is let in, by a clock that only the test moves."""

from __future__ import annotations

from typing import Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.errors import OverloadedError
from userservice_core.http.admission import ADMITTED_SHARE, LONGEST_RETRY_SECONDS, Admission

_BOUND: Final = 0.8
_NO_LIMIT: Final = 100_000


@attrs.define
class _Queue:
    """
    Threads that take who waits in turn, each for as long as the work takes now.

    Attributes:
        waited: How long each has waited who was served, in their order.
        told: The Retry-After of each who was refused.
    """

    threads: int = 2
    length: int = _NO_LIMIT
    seconds: float = 0.02
    now: float = 1_000.0
    waited: list[float] = attrs.field(factory=list)
    told: list[int] = attrs.field(factory=list)
    late: int = 0
    _waiting: list[float] = attrs.field(factory=list)
    _at_work: list[tuple[float, float]] = attrs.field(factory=list)
    _admission: Admission = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._admission = Admission(threads=self.threads, queue=self.length, longest_wait_seconds=_BOUND)

    @property
    def expected(self) -> float:
        return self._admission.expected_wait_seconds()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        return not self._at_work

    def come(self) -> bool:
        """Let somebody come; tell whether they were let in."""
        try:
            self._admission.come(self.now)
        except OverloadedError as error:
            self.told.append(error.retry_after_seconds)
            return False
        self._waiting.append(self.now)
        self._take()
        return True

    def pass_time(self, seconds: float) -> None:
        """Have the threads work for so long."""
        until = self.now + seconds
        while self._at_work and min(self._at_work)[0] <= until:
            done = min(self._at_work)
            self._at_work.remove(done)
            self.now = max(self.now, done[0])
            self._admission.end(self.now, began=done[1])
            self._take()
        self.now = until

    def _take(self) -> None:
        while self._waiting and len(self._at_work) < self.threads:
            since = self._waiting.pop(0)
            try:
                self._admission.begin(self.now, since=since)
            except OverloadedError as error:
                self.told.append(error.retry_after_seconds)
                self.late += 1
                continue
            self.waited.append(self.now - since)
            self._at_work.append((self.now + self.seconds, self.now))


def _warm(queue: _Queue) -> _Queue:
    """Let it measure what its work takes."""
    for _ in range(50):
        assert queue.come()
        queue.pass_time(queue.seconds)
    return queue


def test_a_burst_that_is_over_in_time_is_let_through() -> None:
    """All of it, and nobody late."""
    queue = _warm(_Queue())
    in_time = int(ADMITTED_SHARE * _BOUND / queue.seconds * queue.threads)

    assert all(queue.come() for _ in range(in_time))
    queue.pass_time(_BOUND)
    assert queue.is_idle
    assert (queue.late, queue.told) == (0, [])
    assert max(queue.waited) <= ADMITTED_SHARE * _BOUND + 1e-6


def test_past_the_wait_that_is_bearable_whoever_comes_is_refused() -> None:
    """However much room the queue has."""
    queue = _warm(_Queue())
    admitted = sum(queue.come() for _ in range(1_000))
    queue.pass_time(10)

    waiting = ADMITTED_SHARE * _BOUND / queue.seconds * queue.threads
    assert admitted == pytest.approx(waiting + queue.threads, abs=1)
    assert queue.late == 0


def test_the_length_is_bounded_also_where_work_is_quick() -> None:
    """Those who wait are memory."""
    queue = _warm(_Queue(length=5, seconds=0.000_001))

    assert sum(queue.come() for _ in range(100)) == 5 + queue.threads


def test_slow_work_shrinks_the_queue() -> None:
    """Ten times as slow, a tenth of them wait; and those who were let in before, too many then, are late."""
    queue = _warm(_Queue())
    before = sum(queue.come() for _ in range(200))
    queue.seconds *= 10
    queue.pass_time(10)
    late = _warm(queue).late
    after = sum(queue.come() for _ in range(200))
    queue.pass_time(10)

    assert late > 0
    assert after == pytest.approx(before / 10, abs=3)
    assert queue.late == late
    assert max(queue.waited) <= _BOUND + 1e-6


def test_while_nothing_moves_nobody_is_let_in() -> None:
    """All threads have hung for longer than anybody may wait; the first that is free lets the next one in."""
    queue = _warm(_Queue())
    queue.seconds = 60
    assert [queue.come() for _ in range(queue.threads)] == [True] * queue.threads
    queue.pass_time(_BOUND + 0.01)
    assert not queue.come()

    queue.pass_time(60)
    assert queue.come()


def test_one_thing_that_took_long_is_soon_forgotten() -> None:
    """What the others take counts."""
    queue = _warm(_Queue())
    queue.seconds = 5
    assert queue.come()
    queue.pass_time(5)
    queue.seconds = 0.02
    for _ in range(60):
        assert queue.come()
        queue.pass_time(0.02)

    assert sum(queue.come() for _ in range(100)) >= 50


@pytest.mark.parametrize("times", [2, 5, 10])
def test_under_overload_no_thread_is_idle_and_nobody_waits_too_long(times: int) -> None:
    """Goodput is all that there is, whatever comes; and a moment after it all are let in again."""
    queue = _warm(_Queue())
    capacity = queue.threads / queue.seconds
    queue.waited.clear()
    for _ in range(int(10 * capacity * times)):
        queue.come()
        queue.pass_time(1 / (capacity * times))

    assert len(queue.waited) >= 0.98 * 10 * capacity
    assert queue.late == 0
    assert max(queue.waited) <= _BOUND
    queue.pass_time(_BOUND)
    assert queue.is_idle
    assert queue.expected == 0.0
    assert queue.come()


def test_those_who_are_refused_are_told_to_come_one_after_the_other() -> None:
    """As many in each second as can be served in it, and a few more."""
    queue = _warm(_Queue())
    for _ in range(600):
        queue.come()
    returning = [queue.told.count(second) for second in range(2, 5)]

    assert min(queue.told) == 1
    assert all(100 <= number <= 125 for number in returning)


def test_nobody_is_told_to_stay_away_for_long() -> None:
    """However many are refused; and those who are told the most do not come all at once."""
    queue = _warm(_Queue())
    for _ in range(20_000):
        queue.come()
    last = queue.told[-1_000:]

    assert min(queue.told) == 1
    assert LONGEST_RETRY_SECONDS / 2 <= min(last) <= max(last) <= LONGEST_RETRY_SECONDS + 1
    assert len(set(last)) >= 14


def test_what_was_told_is_forgotten_with_the_time() -> None:
    """The next overload begins anew."""
    queue = _warm(_Queue())
    for _ in range(20_000):
        queue.come()
    queue.pass_time(LONGEST_RETRY_SECONDS + 1)
    told = len(queue.told)
    for _ in range(100):
        queue.come()

    assert max(queue.told[told:]) <= 2


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(1, 60)),
        st.tuples(st.just("pass"), st.floats(0, 2)),
        st.tuples(st.just("take"), st.floats(0.000_1, 3)),
    ),
    max_size=40,
)


@given(threads=st.integers(1, 8), length=st.integers(0, 100), steps=_STEPS)
def test_whatever_comes_nobody_is_served_late_and_it_recovers(
    threads: int, length: int, steps: list[tuple[str, float]]
) -> None:
    """
    Who is served has waited no longer than the bound; who finds a thread free is let in; no more wait than may.

    And whatever was before, once all is done the next one is let in, and what is told is a sensible time.
    """
    queue = _Queue(threads=threads, length=length)
    for step, value in steps:
        if step == "come":
            for _ in range(int(value)):
                had_room = len(queue._at_work) < threads  # noqa: SLF001 - what the test itself keeps
                assert queue.come() or not had_room
        elif step == "pass":
            queue.pass_time(value)
        else:
            queue.seconds = value
        assert queue.waiting <= length
    queue.pass_time(1_000)

    assert all(waited <= _BOUND for waited in queue.waited)
    assert all(1 <= seconds <= LONGEST_RETRY_SECONDS + 1 for seconds in queue.told)
    assert queue.is_idle
    assert queue.expected == 0.0
    assert queue.come()
