"""Whether the process can serve, and whether its resources answer."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Protocol

import attrs


class HealthStatus(enum.StrEnum):
    """
    What the process can do.

    READY and DEGRADED take requests: a lost database must not empty the load balancer, so it degrades, and only the
    routes that need it refuse. STARTING, DRAINING and BROKEN (something local does not work) take none.
    """

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    DRAINING = "draining"
    BROKEN = "broken"

    @property
    def takes_requests(self) -> bool:
        """Whether a load balancer should send requests here."""
        return self in {HealthStatus.READY, HealthStatus.DEGRADED}


@attrs.frozen
class HealthReport:
    """The status and, by name of the resource, `ok` or in a few words what is wrong; never an address or a secret."""

    status: HealthStatus
    resources: Mapping[str, str]


class Health(Protocol):
    """The last word of the background probe. Safe for many threads."""

    @property
    def is_draining(self) -> bool:
        """Whether the process is about to end, so that no connection should be kept for another request."""
        ...

    def report(self) -> HealthReport:
        """Return it from memory; asks nothing and never blocks."""
        ...


class Ping(Protocol):
    """One resource, asked by the background probe and never on a request."""

    @property
    def name(self) -> str:
        """What the resource is called in the answer of the readiness route."""
        ...

    def ping(self) -> None:
        """
        Return if the resource answers within the call's deadline.

        Raises:
            Exception: Any, if it does not.
        """
        ...
