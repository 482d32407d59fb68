"""The probe: what it says of the process, from memory, whatever the resources do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.fast.system.doubles import wait_until
from userservice_core.errors import DatabaseUnavailableError
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.infrastructure.system.health import HealthProbe
from userservice_core.ports.context import current_call
from userservice_core.ports.health import HealthStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _FakePing:
    def __init__(self, name: str = "postgres") -> None:
        self.name = name
        self.failure: Exception | None = None
        self.hangs: threading.Event | None = None
        self.deadlines: list[float | None] = []

    def ping(self) -> None:
        self.deadlines.append(current_call().remaining_seconds())
        if self.hangs is not None:
            assert self.hangs.wait(30)
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def probes() -> Iterator[Callable[..., HealthProbe]]:
    """Start a probe that asks every few milliseconds; all are stopped at the end."""
    started: list[HealthProbe] = []

    def start(
        *pings: _FakePing, is_loaded: Callable[[], bool] = lambda: True, timeout_seconds: float = 5.0
    ) -> HealthProbe:
        probe = HealthProbe(
            pings,
            is_loaded=is_loaded,
            metrics=InMemoryMetrics(),
            interval_seconds=0.01,
            timeout_seconds=timeout_seconds,
        )
        started.append(probe)
        probe.start()
        return probe

    yield start
    for probe in started:
        probe.close()


def _status(probe: HealthProbe) -> HealthStatus:
    return probe.report().status


def test_it_is_ready_when_everything_answers_and_is_loaded(probes: Callable[..., HealthProbe]) -> None:
    """Before that it is starting; each resource is asked with a deadline."""
    loaded = threading.Event()
    ping = _FakePing()
    probe = probes(ping, is_loaded=loaded.is_set)
    wait_until(lambda: len(ping.deadlines) >= 2)
    before = probe.report()
    loaded.set()

    assert before.status is HealthStatus.STARTING
    assert not before.status.takes_requests
    assert _status(probe) is HealthStatus.READY
    assert dict(probe.report().resources) == {"postgres": "ok"}
    assert all(left is not None and 0 < left <= 5 for left in ping.deadlines)


@pytest.mark.parametrize(
    ("failure", "word"),
    [(DatabaseUnavailableError("secret address"), "database-unavailable"), (OSError("10.0.0.1"), "OSError")],
)
def test_a_lost_resource_degrades_and_comes_back(
    probes: Callable[..., HealthProbe], failure: Exception, word: str
) -> None:
    """It still takes requests: a lost database must not empty the load balancer. No address is shown."""
    lost, other = _FakePing(), _FakePing("cache")
    probe = probes(lost, other)
    wait_until(lambda: _status(probe) is HealthStatus.READY)
    lost.failure = failure
    wait_until(lambda: _status(probe) is HealthStatus.DEGRADED)
    degraded = probe.report()
    lost.failure = None
    wait_until(lambda: _status(probe) is HealthStatus.READY)

    assert degraded.status.takes_requests
    assert dict(degraded.resources) == {"postgres": word, "cache": "ok"}


def test_a_resource_that_keeps_the_probe_waiting_does_not_answer(probes: Callable[..., HealthProbe]) -> None:
    """The report does not wait with it."""
    ping = _FakePing()
    probe = probes(ping, timeout_seconds=0.01)
    wait_until(lambda: _status(probe) is HealthStatus.READY)
    ping.hangs = threading.Event()
    try:
        wait_until(lambda: _status(probe) is HealthStatus.DEGRADED)
        word = probe.report().resources["postgres"]
    finally:
        ping.hangs.set()

    assert word == "no answer"


def test_draining_is_told_at_once_and_for_good(probes: Callable[..., HealthProbe]) -> None:
    """Whatever the resources do."""
    probe = probes(_FakePing())
    wait_until(lambda: _status(probe) is HealthStatus.READY)
    probe.drain()
    drained = _status(probe)
    probe.close()

    assert (drained, _status(probe)) == (HealthStatus.DRAINING, HealthStatus.DRAINING)


def test_a_probe_that_does_not_run_is_a_broken_process(
    probes: Callable[..., HealthProbe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a process that was forked after the start: its last word would never change again."""
    probe = probes(_FakePing())
    wait_until(lambda: _status(probe) is HealthStatus.READY)
    monkeypatch.setattr(threading.Thread, "is_alive", lambda _: False)
    status = _status(probe)
    monkeypatch.undo()

    assert status is HealthStatus.BROKEN
    assert not status.takes_requests
