"""The places of a pool, and the word about whether they are too few or too many."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from userservice_core.infrastructure.postgres.slots import PoolAdviser, Slots, Usage
from userservice_core.testing.contracts.races import eventually

_LOOK: Final = 300.0
_QUIET: Final = Usage(lent=10_000, most_taken=2)
_BUSY: Final = Usage(lent=9_000, waited=400, refused=100, most_taken=8, most_waiting=20)


def test_no_more_are_taken_than_there_are() -> None:
    """However many threads want one; and all are free in the end."""
    slots, taken, most = Slots(3), [0], [0]
    lock = threading.Lock()

    def work(_: int) -> None:
        assert slots.take_free() or slots.take(patience_seconds=10)
        with lock:
            taken[0] += 1
            most[0] = max(most[0], taken[0])
        with lock:
            taken[0] -= 1
        slots.give_back()

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(2_000)))

    usage = slots.usage()
    assert (usage.lent, usage.refused) == (2_000, 0)
    assert most[0] <= usage.most_taken <= 3
    assert all(slots.take_free() for _ in range(3))
    assert not slots.take_free()


def test_nobody_who_does_not_wait_goes_before_those_who_do() -> None:
    """A place that has become free is theirs."""
    slots = Slots(1)
    assert slots.take_free()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(slots.take, patience_seconds=10)
        eventually(lambda: slots.waiting == 1)
        slots.give_back()

        assert waiting.result(10)
        assert not slots.take_free()


def test_patience_ends() -> None:
    """And leaves nobody behind who would be waited for."""
    slots = Slots(1)
    assert slots.take_free()
    assert not slots.take(patience_seconds=0.01)
    slots.give_back()

    assert slots.take_free()
    assert slots.usage() == Usage(lent=2, refused=1, most_taken=1, most_waiting=1)
    assert slots.usage() == Usage(most_taken=1)


def _words(size: int, *usages: Usage) -> list[str | None]:
    adviser = PoolAdviser(size, now=0.0)
    return [adviser.look(usage, now=_LOOK * number) for number, usage in enumerate(usages, start=1)]


def test_a_pool_for_which_calls_wait_is_too_small() -> None:
    """It is said once, and again when it was well in between."""
    first, second, third, fourth = _words(8, _BUSY, _BUSY, Usage(lent=5_000, most_taken=5), _BUSY)

    assert first is not None
    assert first.startswith("too small")
    assert "USERSERVICE_DATABASE_POOL_SIZE" in first
    assert (second, third) == (None, None)
    assert fourth == first


def test_a_few_who_wait_say_nothing() -> None:
    """Nor does a pool that hardly anybody asks."""
    few = Usage(lent=10_000, waited=50, most_taken=8)

    assert _words(8, few, Usage(lent=20, waited=10, most_taken=8)) == [None, None]


def test_a_pool_of_which_most_was_idle_for_an_hour_is_too_large() -> None:
    """Not sooner, and not one that was busy once within the hour."""
    words = _words(8, *[_QUIET] * 13)

    assert words[:11] == [None] * 11
    assert words[11] is not None
    assert words[11].startswith("too large: no more than 2 of its 8")
    assert words[12] is None
    assert _words(8, *[_QUIET] * 6, Usage(lent=9_000, most_taken=6), *[_QUIET] * 6) == [None] * 13
    assert _words(2, *[Usage(lent=10_000, most_taken=1)] * 13) == [None] * 13


def test_between_two_looks_nothing_is_said_and_nothing_forgotten() -> None:
    """What happened meanwhile counts at the next look."""
    adviser = PoolAdviser(8, now=0.0)

    assert [adviser.look(Usage(lent=100, waited=10, most_taken=8), now=float(second)) for second in range(299)] == [
        None
    ] * 299
    assert adviser.look(Usage(), now=_LOOK) is not None
