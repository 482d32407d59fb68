"""Counters of this process."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from userservice_core.ports.clock import Clock
    from userservice_core.ports.limits import Counter

MAX_COUNTERS: Final = 100_000
"""The one that was used the longest ago is forgotten first."""


class InMemoryRateLimiter:
    """Exact within the process; a `ports.limits.RateLimiter`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hits: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def hit(self, counters: Sequence[Counter]) -> float:
        with self._lock:
            now = self._clock.now()
            return max((self._hit(counter, now) for counter in counters), default=0.0)

    def take_back(self, counters: Sequence[Counter]) -> None:
        with self._lock:
            for counter in counters:
                if hits := self._hits.get(counter.key):
                    hits.popleft()

    def _hit(self, counter: Counter, now: datetime) -> float:
        """Look at the hit that has to be too old by now for another one; the newest is in front."""
        times, window = counter.limit.times, timedelta(seconds=counter.limit.seconds)
        hits = self._hits.setdefault(counter.key, deque())
        self._hits.move_to_end(counter.key)
        if len(hits) >= times and hits[times - 1] + window > now:
            return (hits[times - 1] + window - now).total_seconds()
        hits.appendleft(now)
        while len(hits) > times:
            hits.pop()
        if len(self._hits) > MAX_COUNTERS:
            self._hits.popitem(last=False)
        return 0.0
