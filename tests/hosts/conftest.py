"""Fixtures of the host suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.held_connections import HeldConnections
from tests.hosts.installation import HOSTS, Installation
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import PipelineClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.testing.host import HostClient


@pytest.fixture(autouse=True)
def _nobody_holds_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is asked here of any route, nobody hashes or calls out within a transaction."""
    held = HeldConnections(monkeypatch)
    yield
    assert held.wrong == []


@pytest.fixture
def clock() -> FakeClock:
    """The clock of the service."""
    return FakeClock()


@pytest.fixture
def installation(clock: FakeClock) -> Installation:
    """A service in memory with nobody in it."""
    return Installation.begin(clock)


@pytest.fixture
def pipeline_client(installation: Installation) -> PipelineClient:
    """The service without a host."""
    return PipelineClient(installation.service.pipeline)


@pytest.fixture(params=HOSTS)
def client(request: pytest.FixtureRequest, installation: Installation) -> HostClient:
    """The service behind each host in turn, and without any."""
    return HOSTS[request.param](installation.service)


@pytest.fixture(params=[name for name in HOSTS if name != "pipeline"])
def host(request: pytest.FixtureRequest, installation: Installation) -> HostClient:
    """The service behind each host in turn."""
    return HOSTS[request.param](installation.service)
