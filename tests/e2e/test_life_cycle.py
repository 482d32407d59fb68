"""Instances that come and go while requests do not stop."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from tests.e2e.processes import Server, eventually, settings_for
from tests.endurance.rolling import restarted, upgraded
from tests.endurance.versions import checked_out, earlier_commits

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.postgres import PostgresServer

_REQUESTS: Final = 10_000


@pytest.mark.parametrize("app", ["starlette", "flask"])
def test_a_server_told_to_end_serves_until_balancers_have_noticed(app: str, database: str, tmp_path: Path) -> None:
    """Not ready at once, each connection closed after its answer, nothing refused; then it ends with 0."""
    environment = settings_for(database, tmp_path, DRAIN_DELAY_SECONDS="2", WORKERS="2")
    with Server(app, environment=environment) as server, httpx.Client(base_url=server.url) as client:
        before = client.get("/.well-known/jwks.json")
        server.send_signal(signal.SIGTERM)
        eventually(lambda: client.get("/health/ready").status_code == 503, what="the readiness to turn", seconds=2)

        readiness, others = client.get("/health/ready"), [client.get("/.well-known/jwks.json") for _ in range(20)]

        assert server.wait() == 0
    assert "connection" not in before.headers
    assert (readiness.status_code, readiness.json()["status"]) == (503, "draining")
    assert {(other.status_code, other.headers.get("connection")) for other in others} == {(200, "close")}


@pytest.mark.parametrize("numbers", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]], ids=["twice", "Ctrl-C"])
def test_who_cannot_wait_need_not(numbers: list[int], database: str, tmp_path: Path) -> None:
    """A second signal ends the delay, and Ctrl-C has none: far longer than the test takes, it would be."""
    environment = settings_for(database, tmp_path, DRAIN_DELAY_SECONDS="300")
    with Server("starlette", environment=environment) as server:
        for number in numbers:
            server.send_signal(number)
            if len(numbers) > 1:
                eventually(lambda: not _is_ready(server), what="the signal to be taken")

        assert server.wait() == 0


def _is_ready(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/health/ready", timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def test_a_rolling_restart_fails_no_request(database: str, tmp_path: Path) -> None:
    """Three instances of both hosts behind nginx, one after the other taken out, ended, started and put back."""
    tally = restarted(database, tmp_path, requests=_REQUESTS)

    tally.require_clean()
    assert (tally.trials or 0) >= _REQUESTS


def test_an_upgrade_and_its_rollback_fail_no_request(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """
    The schema is expanded below the newest version that needs less; instances are replaced, and replaced back.

    Both read what either wrote, and their events hold against the schemas of both.
    """
    found = next(earlier_commits(), None)
    if found is None:
        pytest.skip("the history of the repository has the earlier version, and is not here")
    database = postgres_server.create_database()
    earlier = checked_out(*found, tmp_path / "earlier")

    tally = upgraded(postgres_server.dsn(database), tmp_path, earlier, requests=_REQUESTS)

    postgres_server.drop_database(database)
    tally.require_clean()
    assert (tally.trials or 0) >= _REQUESTS
