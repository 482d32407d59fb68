"""
How long requests wait for a processor: the formulas of Erlang, and what is added to them for service times that vary.

Sources: A. K. Erlang, "Solution of some problems in the theory of probabilities of significance in automatic telephone
exchanges" (1917), for the probabilities; A. O. Allen, "Probability, Statistics, and Queueing Theory" (2nd edition,
1990), §5.3, for the factor (1 + Cs²) / 2 by which waiting grows with the variation of service times (Allen-Cunneen).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

_SATURATED: Final = 1 - 1e-9
_NEARLY_NOTHING: Final = 1e-9


def erlang_b(servers: int, load: float) -> float:
    """
    Return the share of requests that find all *servers* busy and go away (M/M/c/c).

    Args:
        servers: At least 0.
        load: Arrivals a second times the seconds of service, in erlangs; at least 0.
    """
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = load * blocked / (server + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """
    Return the share of requests that have to wait (M/M/c): 1 where *load* is all that *servers* can do, or more.

    Args:
        servers: At least 1.
        load: In erlangs, at least 0.
    """
    if load >= servers * _SATURATED:
        return 1.0
    blocked = erlang_b(servers, load)
    return servers * blocked / (servers - load * (1 - blocked))


def refused_share(servers: int, load: float, places: int) -> float:
    """
    Return the share of requests that find *servers* busy and all *places* to wait taken (M/M/c/K, K = c + places).

    It follows from Erlang's B: from the state in which all servers are busy, each further place is taken with the
    utilization as its ratio to the one before.

    Args:
        servers: At least 1.
        load: In erlangs, at least 0.
        places: At least 0.
    """
    blocked, utilization = erlang_b(servers, load), load / servers
    if blocked == 0.0:
        return 0.0
    if utilization > 1:  # counted from the full queue down, so that nothing overflows
        shrinking = 1 / utilization
        return 1 / (_sum_of_powers(shrinking, places) + shrinking**places * (1 / blocked - 1))
    return utilization**places / (_sum_of_powers(utilization, places) + 1 / blocked - 1)


def _sum_of_powers(ratio: float, highest: int) -> float:
    """Return 1 + ratio + ratio² … up to the power *highest*, for a ratio of at most 1."""
    if 1 - ratio < _NEARLY_NOTHING:
        return highest + 1.0
    return (1 - ratio ** (highest + 1)) / (1 - ratio)


@attrs.frozen(kw_only=True)
class Service:
    """
    What requests take of a processor.

    Attributes:
        mean_seconds: Of processor time.
        variation: The square of the coefficient of variation, Cs²: 0 where all take the same, 1 for exponential times.
    """

    mean_seconds: float
    variation: float

    @classmethod
    def of_mix(cls, parts: Iterable[tuple[float, float]]) -> Service:
        """
        Return the service of a mix of kinds, each of which always takes the same.

        Args:
            parts: Requests a second and seconds of each kind; at least one of them above 0.
        """
        known = [(rate, seconds) for rate, seconds in parts if rate > 0]
        total = sum(rate for rate, _ in known)
        mean = sum(rate * seconds for rate, seconds in known) / total
        square = sum(rate * seconds**2 for rate, seconds in known) / total
        return cls(mean_seconds=mean, variation=max(0.0, square / mean**2 - 1))


def waiting_seconds(servers: int, rate: float, service: Service, *, quantile: float) -> float:
    """
    Return how long requests wait at the *quantile*; infinite where there are more than *servers* can do.

    For M/M/c the waiting time is 0 for all but Erlang's C, and exponential for those; for other service times it is
    stretched by Allen and Cunneen's factor.
    """
    load = rate * service.mean_seconds
    if load >= servers * _SATURATED:
        return math.inf
    waiting = erlang_c(servers, load)
    if waiting <= 1 - quantile:
        return 0.0
    spare = (servers - load) / service.mean_seconds
    return math.log(waiting / (1 - quantile)) / spare * (1 + service.variation) / 2


def mean_waiting_seconds(servers: int, rate: float, service: Service) -> float:
    """Return how long requests wait on average; infinite where there are more than *servers* can do."""
    load = rate * service.mean_seconds
    if load >= servers * _SATURATED:
        return math.inf
    return erlang_c(servers, load) * service.mean_seconds / (servers - load) * (1 + service.variation) / 2
