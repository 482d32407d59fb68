"""The places of a pool: who gets one, how many are taken, and whether there are too few or too many."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

import attrs

SECONDS_OF_A_WORD: Final = 300.0
"""Between two looks at whether a pool fits."""

_FEWEST_LENDINGS: Final = 1_000
_TOLERATED_SHARE: Final = 0.01
# An hour without need, so that a quiet moment does not count.
_IDLE_LOOKS: Final = 12
_SMALLEST_POOL: Final = 2


@attrs.frozen(kw_only=True)
class Usage:
    """
    How a pool was used since the last time somebody asked.

    Attributes:
        lent: How often a place was given.
        waited: How many of those had to wait for it.
        refused: How many got none in time.
        most_taken: How many were taken at once, at most.
        most_waiting: How many waited at once, at most.
    """

    lent: int = 0
    waited: int = 0
    refused: int = 0
    most_taken: int = 0
    most_waiting: int = 0

    def then(self, later: Usage) -> Usage:
        """Return both together."""
        return Usage(
            lent=self.lent + later.lent,
            waited=self.waited + later.waited,
            refused=self.refused + later.refused,
            most_taken=max(self.most_taken, later.most_taken),
            most_waiting=max(self.most_waiting, later.most_waiting),
        )


class Slots:
    """A number of places, counted. Safe for many threads; whoever came first is served first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        # Each waits for a lock of its own, which is released by who hands a place over.
        self._queue: deque[threading.Lock] = deque()
        self._taken = 0
        self._lent = 0
        self._waited = 0
        self._refused = 0
        self._most_taken = 0
        self._most_waiting = 0

    @property
    def waiting(self) -> int:
        """How many wait at present."""
        return len(self._queue)

    def take_free(self) -> bool:
        """Take a place if one is free, which none is while somebody waits; never blocks."""
        with self._lock:
            if self._taken >= self.size:
                return False
            self._taken += 1
            self._give()
            return True

    def take(self, *, patience_seconds: float) -> bool:
        """Wait for a place, and tell whether there was one in time."""
        turn = threading.Lock()
        turn.acquire()
        with self._lock:
            if self._taken < self.size:
                self._taken += 1
                self._give()
                return True
            self._queue.append(turn)
            self._most_waiting = max(self._most_waiting, len(self._queue))
        is_in_time = turn.acquire(timeout=max(0.0, patience_seconds))
        with self._lock:
            if not is_in_time and turn in self._queue:
                self._queue.remove(turn)
                self._refused += 1
                return False
            self._waited += 1
            return True

    def give_back(self) -> None:
        """Give a place back, to who has waited longest if anybody does."""
        with self._lock:
            if self._queue:
                self._give()
                self._queue.popleft().release()
            else:
                self._taken -= 1

    def _give(self) -> None:
        self._lent += 1
        self._most_taken = max(self._most_taken, self._taken)

    def usage(self) -> Usage:
        """Return how the places were used since the last call."""
        with self._lock:
            found = Usage(
                lent=self._lent,
                waited=self._waited,
                refused=self._refused,
                most_taken=self._most_taken,
                most_waiting=self._most_waiting,
            )
            self._lent = self._waited = self._refused = 0
            self._most_taken, self._most_waiting = self._taken, len(self._queue)
            return found


class PoolAdviser:
    """Looks from time to time whether a pool fits what is asked of it. For one thread."""

    def __init__(self, size: int, *, now: float, seconds: float = SECONDS_OF_A_WORD) -> None:
        """
        Begin to look.

        Args:
            size: Of the pool.
            now: By the monotonic clock.
            seconds: Between two looks.
        """
        self._size = size
        self._seconds = seconds
        self._looks_at = now + seconds
        self._seen = Usage()
        self._idle: list[Usage] = []
        self._said: str | None = None

    def look(self, usage: Usage, *, now: float) -> str | None:
        """
        Take *usage* into account, and return what should be done about the size if that was not said last.

        Args:
            usage: Since the last call.
            now: By the monotonic clock.
        """
        self._seen = self._seen.then(usage)
        if now < self._looks_at:
            return None
        seen, self._seen, self._looks_at = self._seen, Usage(), now + self._seconds
        advice = self._too_small(seen) or self._too_large(seen)
        if advice is None or advice == self._said:
            self._said = advice
            return None
        self._said = advice
        return advice

    def _too_small(self, seen: Usage) -> str | None:
        asked = seen.lent + seen.refused
        had_to_wait = seen.waited + seen.refused
        if asked < _FEWEST_LENDINGS or had_to_wait < asked * _TOLERATED_SHARE:
            return None
        self._idle.clear()
        return (
            f"too small: calls wait for one of its {self._size} connections."
            " Raise USERSERVICE_DATABASE_POOL_SIZE if the server has processors to spare."
        )

    def _too_large(self, seen: Usage) -> str | None:
        self._idle.append(seen)
        del self._idle[:-_IDLE_LOOKS]
        most = max(each.most_taken for each in self._idle)
        lent = sum(each.lent for each in self._idle)
        if len(self._idle) < _IDLE_LOOKS or lent < _FEWEST_LENDINGS or self._size <= max(_SMALLEST_POOL, 2 * most):
            return None
        return (
            f"too large: no more than {most} of its {self._size} connections were in use at once for an hour."
            " Lower USERSERVICE_DATABASE_POOL_SIZE if other processes lack connections."
        )
