"""How long what failed is left alone."""

from __future__ import annotations

from userservice_core.infrastructure.messaging.pauses import Pauses


class _Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _pauses(time: _Time) -> Pauses[str]:
    return Pauses[str](first_seconds=1, longest_seconds=5, monotonic=time)


def test_a_pause_doubles_with_each_failure_up_to_the_longest() -> None:
    """So something that stays broken is tried seldom, and not ever more seldom."""
    pauses = _pauses(_Time())

    assert [pauses.failed("a") for _ in range(5)] == [1, 2, 4, 5, 5]


def test_a_pause_ends_by_itself() -> None:
    """Only what failed is left alone, and only for a while."""
    time = _Time()
    pauses = _pauses(time)
    pauses.failed("a")

    during = pauses.current()
    time.now += 1

    assert (during, pauses.current()) == (frozenset({"a"}), frozenset())


def test_success_is_a_new_beginning() -> None:
    """The next failure begins with the first pause again."""
    pauses = _pauses(_Time())
    pauses.failed("a")
    pauses.failed("a")
    pauses.passed("a")

    assert (pauses.current(), pauses.failed("a")) == (frozenset(), 1)


def test_what_nobody_tries_any_more_is_forgotten() -> None:
    """Another relay may have taken it over, so the memory of it would only grow."""
    time = _Time()
    pauses = _pauses(time)
    pauses.failed("a")
    pauses.failed("a")

    time.now += 8
    pauses.current()

    assert pauses.failed("a") == 1
