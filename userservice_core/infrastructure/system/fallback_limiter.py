"""Counting elsewhere while the usual place is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.ports.limits import Counter, RateLimiter
    from userservice_core.ports.metrics import Metrics


class FallbackRateLimiter:
    """
    A `ports.limits.RateLimiter` that asks a second one where the first cannot tell.

    Each is exact by itself, so while the first comes and goes, up to twice the limit is let through, and never more.
    """

    def __init__(self, first: RateLimiter, second: RateLimiter, *, metrics: Metrics) -> None:
        self._first = first
        self._second = second
        self._metrics = metrics

    def hit(self, counters: Sequence[Counter]) -> float:
        try:
            return self._first.hit(counters)
        except UnavailableError:
            self._metrics.count("rate_limiter", outcome="fallback")
            return self._second.hit(counters)

    def take_back(self, counters: Sequence[Counter]) -> None:
        try:
            self._first.take_back(counters)
        except UnavailableError:
            self._second.take_back(counters)
