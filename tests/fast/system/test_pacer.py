"""Evening out how long things take."""

from __future__ import annotations

import pytest

from userservice_core.infrastructure.system.pacer import RecentPacer


class _Time:
    """Goes on only by work and sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time() -> _Time:
    """A time of the test's own."""
    return _Time()


@pytest.fixture
def pacer(time: _Time) -> RecentPacer:
    """One that waits in it."""
    return RecentPacer(monotonic=time.monotonic, sleep=time.pass_by)


def _seconds(pacer: RecentPacer, time: _Time, *, work: float, what: str = "sign-in") -> float:
    began = pacer.start()
    time.pass_by(work)
    pacer.hold(what, since=began)
    return time.now - began


def test_the_faster_takes_as_long_as_the_slower(pacer: RecentPacer, time: _Time) -> None:
    """Once both have been seen."""
    for _ in range(10):
        _seconds(pacer, time, work=0.018)
        _seconds(pacer, time, work=0.016)

    assert _seconds(pacer, time, work=0.016) == pytest.approx(0.018)
    assert _seconds(pacer, time, work=0.018) == pytest.approx(0.018)


def test_a_rare_delay_slows_nobody_else(pacer: RecentPacer, time: _Time) -> None:
    """Since one of twenty may be left out."""
    for number in range(100):
        _seconds(pacer, time, work=0.5 if number % 25 == 0 else 0.016)

    assert _seconds(pacer, time, work=0.016) == pytest.approx(0.016)


def test_the_wait_is_bounded(pacer: RecentPacer, time: _Time) -> None:
    """However long the others took."""
    for _ in range(100):
        _seconds(pacer, time, work=2.0)

    assert _seconds(pacer, time, work=0.016) == pytest.approx(0.021)


def test_each_kind_has_its_own_past(pacer: RecentPacer, time: _Time) -> None:
    """One is not slowed down by another."""
    _seconds(pacer, time, work=0.020, what="reset")

    assert _seconds(pacer, time, work=0.016) == pytest.approx(0.016)
