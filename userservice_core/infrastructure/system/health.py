"""The background probe: asks each resource about once a second, and remembers what it said."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from userservice_core.errors import UserServiceError
from userservice_core.ports.context import deadline_after
from userservice_core.ports.health import HealthReport, HealthStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from userservice_core.ports.health import Ping
    from userservice_core.ports.metrics import Metrics

_log = structlog.get_logger("userservice.health")


class HealthProbe:
    """
    Implements :class:`~userservice_core.ports.health.Health`.

    Ready means that *is_loaded* says that what it must know is in memory, and that every resource was asked once. A
    resource that does not answer degrades it. It is broken where the probe itself does not run, as in a process that
    was forked after the start. It drains once it is told to, here or by *is_told_to_drain*.
    """

    def __init__(
        self,
        pings: Iterable[Ping],
        *,
        is_loaded: Callable[[], bool],
        metrics: Metrics,
        interval_seconds: float = 1.0,
        timeout_seconds: float = 1.0,
        is_told_to_drain: Callable[[], bool] = lambda: False,
    ) -> None:
        self._pings = tuple(pings)
        self._is_loaded = is_loaded
        self._metrics = metrics
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._resources: dict[str, str] = {ping.name: "not asked yet" for ping in self._pings}
        self._asking: tuple[str, float] | None = None
        self._asked = False
        self._has_started = False
        self._has_drained = False
        self._is_told_to_drain = is_told_to_drain
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="userservice-health", daemon=True)

    @property
    def is_draining(self) -> bool:
        return self._has_drained or self._is_told_to_drain()

    def report(self) -> HealthReport:
        resources = self._present_resources()
        return HealthReport(self._status(resources), resources)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()
        self._has_started = True

    def drain(self) -> None:
        """Say from now on that no more requests should come."""
        self._has_drained = True

    def close(self) -> None:
        """Stop asking."""
        self.drain()
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _present_resources(self) -> dict[str, str]:
        """Return the last words; a resource that has kept the probe waiting past its time-out does not answer."""
        resources = dict(self._resources)
        asking = self._asking
        if asking is not None and time.monotonic() - asking[1] > 2 * self._timeout_seconds:
            resources[asking[0]] = "no answer"
        return resources

    def _status(self, resources: Mapping[str, str]) -> HealthStatus:
        if self.is_draining:
            return HealthStatus.DRAINING
        if self._has_started and not self._thread.is_alive():
            return HealthStatus.BROKEN
        if not self._asked or not self._is_loaded():
            return HealthStatus.STARTING
        is_well = all(word == "ok" for word in resources.values())
        return HealthStatus.READY if is_well else HealthStatus.DEGRADED

    def _run(self) -> None:
        # Asks more often until the first good word, so that a start is not slower than its resources.
        while True:
            for ping in self._pings:
                self._ask(ping)
            self._asked = True
            is_settled = self._status(self._resources) is not HealthStatus.STARTING
            if self._stop.wait(self._interval_seconds if is_settled else self._interval_seconds / 20):
                return

    def _ask(self, ping: Ping) -> None:
        self._asking = (ping.name, time.monotonic())
        try:
            with deadline_after(self._timeout_seconds):
                ping.ping()
            word = "ok"
        except UserServiceError as error:
            word = error.code
        except Exception as error:  # noqa: BLE001 - whatever it is, the resource does not answer
            word = type(error).__name__
        self._asking = None
        if word != self._resources[ping.name]:
            _log.info("resource changed", resource=ping.name, before=self._resources[ping.name], now=word)
        self._resources[ping.name] = word
        self._metrics.gauge(f"resource_up_{ping.name}", float(word == "ok"))


class AssumedHealth:
    """
    Implements :class:`~userservice_core.ports.health.Health` without asking anybody.

    For platforms that freeze a process between requests: they ask for no readiness, and a probe would not run.
    """

    @property
    def is_draining(self) -> bool:
        return False

    def report(self) -> HealthReport:
        return HealthReport(HealthStatus.READY, {})
