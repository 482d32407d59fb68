"""What :class:`~userservice_core.ports.limits.RateLimiter` promises."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from userservice_core.domain.rate_limits import Limit
from userservice_core.ports.limits import Counter
from userservice_core.testing.samples import sample_event_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.ports.limits import RateLimiter


def _counter(times: int, seconds: int = 60) -> Counter:
    """Return one that nobody else uses."""
    return Counter(f"tests:{sample_event_id().hex}", Limit(times, seconds))


class RateLimiterContract:
    """For :class:`~userservice_core.ports.limits.RateLimiter`."""

    @pytest.fixture
    def limiter(self) -> RateLimiter:
        """The limiter of a process."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def other_limiter(self, limiter: RateLimiter) -> RateLimiter:
        """That of another process of the same installation."""
        return limiter

    @pytest.fixture
    def wait(self) -> Callable[[float], None]:
        """Let so many seconds pass for the limiter."""
        raise NotImplementedError("override this fixture")

    def test_as_many_as_allowed_are_let_through(self, limiter: RateLimiter) -> None:
        """The next one is told when there is room again."""
        counter = _counter(3)

        waits = [limiter.hit([counter]) for _ in range(5)]

        assert waits[:3] == [0.0, 0.0, 0.0]
        assert all(50 < wait <= 60 for wait in waits[3:])

    def test_there_is_room_when_the_oldest_has_left_the_window(
        self, limiter: RateLimiter, wait: Callable[[float], None]
    ) -> None:
        """What was refused is not counted: whoever waits as told is let through, and not only to the next border."""
        counter = _counter(2, seconds=1)
        assert limiter.hit([counter]) == 0.0
        wait(0.5)
        assert limiter.hit([counter]) == 0.0
        left = limiter.hit([counter])
        assert 0 < left <= 0.5

        wait(left + 0.01)

        assert limiter.hit([counter]) == 0.0
        assert limiter.hit([counter]) > 0

    def test_several_are_counted_at_once(self, limiter: RateLimiter) -> None:
        """Each by itself: the one that refuses says how long to wait, and the others have counted."""
        narrow, wide = _counter(1), _counter(3, seconds=600)

        waits = [limiter.hit([wide, narrow]) for _ in range(4)]

        assert waits[0] == 0.0
        assert all(50 < wait <= 60 for wait in waits[1:3])
        assert 590 < waits[3] <= 600

    def test_counting_nothing_lets_through(self, limiter: RateLimiter) -> None:
        """There is nothing to refuse it."""
        assert limiter.hit([]) == 0.0

    def test_what_is_taken_back_makes_room(self, limiter: RateLimiter) -> None:
        """One a counter, and none where nothing was counted."""
        first, second = _counter(2), _counter(1)
        limiter.hit([first, second])
        limiter.hit([first])

        limiter.take_back([first, second, _counter(1)])

        assert limiter.hit([first, second]) == 0.0
        assert limiter.hit([first]) > 0
        limiter.take_back([first])
        limiter.take_back([first])
        limiter.take_back([first])
        assert [math.ceil(limiter.hit([first])) for _ in range(3)] == [0, 0, 60]

    def test_a_limit_that_was_changed_holds_for_what_was_counted(self, limiter: RateLimiter) -> None:
        """Narrowed, what was let through before counts; widened, there is room for more."""
        key = _counter(1).key
        for _ in range(3):
            limiter.hit([Counter(key, Limit(5, 60))])

        assert limiter.hit([Counter(key, Limit(2, 60))]) > 0
        assert limiter.hit([Counter(key, Limit(5, 60))]) == 0.0

    def test_a_hundred_at_once_are_counted_exactly(self, limiter: RateLimiter, other_limiter: RateLimiter) -> None:
        """Through two processes, in either order of the counters: as many as allowed, none more, none fewer."""
        mine, all_of_them = _counter(7), _counter(40)

        def attempt(number: int) -> bool:
            asked = limiter if number % 2 else other_limiter
            counters = [mine, all_of_them] if number % 3 else [all_of_them]
            return asked.hit(counters if number % 4 else counters[::-1]) == 0.0

        with ThreadPoolExecutor(16) as threads:
            let_through = list(threads.map(attempt, range(100)))

        both = [number for number in range(100) if number % 3 and let_through[number]]
        assert len(both) <= 7
        assert limiter.hit([mine]) > 0
        assert limiter.hit([all_of_them]) > 0

    def test_of_a_hundred_at_once_as_many_as_allowed_get_through(
        self, limiter: RateLimiter, other_limiter: RateLimiter
    ) -> None:
        """Through two processes."""
        counter = _counter(10)

        def attempt(number: int) -> bool:
            return (limiter if number % 2 else other_limiter).hit([counter]) == 0.0

        with ThreadPoolExecutor(16) as threads:
            assert sum(threads.map(attempt, range(100))) == 10
