"""Counting how often something is tried, exactly, wherever it is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from userservice_core.domain.rate_limits import Limit

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.frozen
class Counter:
    """
    One thing that is counted.

    Attributes:
        key: Its name, the same in every process; holds nothing of a user in plain text.
        limit: How often it may happen.
    """

    key: str
    limit: Limit


class RateLimiter(Protocol):
    """
    Counters that all processes of an installation share. Safe for many threads.

    Of each counter, at most `limit.times` tries are let through within any `limit.seconds`, however many ask at once: a
    try is checked and counted in one step. Time is that of the place that keeps the counters, never of who asks. What
    is refused is not counted in the counter that refuses it, so that waiting helps.
    """

    def hit(self, counters: Sequence[Counter]) -> float:
        """
        Count one try in each of the counters that has room for it, in one exchange.

        Returns:
            0.0 if all had; else the seconds after which the last of them has room, more than 0.

        Raises:
            UnavailableError: If it cannot be told.
        """
        ...

    def take_back(self, counters: Sequence[Counter]) -> None:
        """
        Forget the newest try of each counter: it turned out to be none that counts.

        Raises:
            UnavailableError: If that could not be done; it stays counted.
        """
        ...
