"""The background probe: asks each resource about once a second, and remembers what it said."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from userservice_core.errors import UserServiceError
from userservice_core.ports.context import deadline_after
from userservice_core.ports.health import HealthReport, HealthStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from userservice_core.ports.health import Ping
    from userservice_core.ports.metrics import Metrics

_log = structlog.get_logger("userservice.health")


class HealthProbe:
    """
    Implements :class:`~userservice_core.ports.health.Health`.

    Ready means that *is_loaded* says that what it must know is in memory, and that every resource was asked once. A
    resource that does not answer degrades it; a broken machine of its own would be told by *is_loaded* never coming
    true.
    """

    def __init__(
        self,
        pings: Iterable[Ping],
        *,
        is_loaded: Callable[[], bool],
        metrics: Metrics,
        interval_seconds: float = 1.0,
        timeout_seconds: float = 1.0,
    ) -> None:
        self._pings = tuple(pings)
        self._is_loaded = is_loaded
        self._metrics = metrics
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._resources: dict[str, str] = {ping.name: "not asked yet" for ping in self._pings}
        self._asked = False
        self._draining = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="userservice-health", daemon=True)

    def report(self) -> HealthReport:
        return HealthReport(self._status(), dict(self._resources))

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def drain(self) -> None:
        """Say from now on that no more requests should come."""
        self._draining = True

    def close(self) -> None:
        """Stop asking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _status(self) -> HealthStatus:
        if self._draining:
            return HealthStatus.DRAINING
        if not self._asked or not self._is_loaded():
            return HealthStatus.STARTING
        if all(word == "ok" for word in self._resources.values()):
            return HealthStatus.READY
        return HealthStatus.DEGRADED

    def _run(self) -> None:
        # Asks more often until the first good word, so that a start is not slower than its resources.
        while True:
            for ping in self._pings:
                self._ask(ping)
            self._asked = True
            is_settled = self._status() is not HealthStatus.STARTING
            if self._stop.wait(self._interval_seconds if is_settled else self._interval_seconds / 20):
                return

    def _ask(self, ping: Ping) -> None:
        try:
            with deadline_after(self._timeout_seconds):
                ping.ping()
            word = "ok"
        except UserServiceError as error:
            word = error.code
        except Exception as error:  # noqa: BLE001 - whatever it is, the resource does not answer
            word = type(error).__name__
        if word != self._resources[ping.name]:
            _log.info("resource changed", resource=ping.name, before=self._resources[ping.name], now=word)
        self._resources[ping.name] = word
        self._metrics.gauge(f"resource_up_{ping.name}", float(word == "ok"))
