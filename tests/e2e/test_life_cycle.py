"""Instances that come and go while requests do not stop."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import attrs
import httpx
import pytest

from tests.e2e.flow import PASSWORD
from tests.e2e.processes import Process, Server, eventually, settings_for
from tests.servers.nginx import Nginx

if TYPE_CHECKING:
    from pathlib import Path

_REQUESTS: Final = 10_000
_CLIENTS: Final = 6
_CREDENTIALS: Final = {"email": "ada@example.com", "password": PASSWORD}


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


@attrs.frozen
class _Traffic:
    """Requests of several clients through the balancer, reads and writes; each answered or counted."""

    port: int
    token: str
    failed: list[str] = attrs.field(factory=list)
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count)
    _sent: list[int] = attrs.field(factory=list)

    @property
    def sent(self) -> int:
        return len(self._sent)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set() or self.sent < _REQUESTS:
            number = next(self._numbers)
            try:
                status = self._send(number)
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
            self._sent.append(number)
            if status != 200:
                self.failed.append(f"{number}: {status}")

    def _send(self, number: int) -> int | str:
        # A connection each, so that no client holds one that the balancer closes when it changes its instances.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Authorization": f"Bearer {self.token}", "Connection": "close"}
        try:
            if number % 20:
                connection.request("GET", "/users/me", headers=headers)
            else:
                headers["Content-Type"] = "application/merge-patch+json"
                body = json.dumps({"displayName": f"Ada {number}"})
                connection.request("PATCH", "/users/me/profile", body, headers)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()


def test_a_rolling_restart_fails_no_request(database: str, tmp_path: Path) -> None:
    """Three instances of both hosts behind nginx, one after the other taken out, ended, started and put back."""
    environment = settings_for(database, tmp_path, DRAIN_DELAY_SECONDS="0.5")
    with contextlib.ExitStack() as running:
        relay = running.enter_context(Process("relay", environment=environment))
        servers = [
            running.enter_context(Server(app, environment=environment)) for app in ("starlette", "flask", "starlette")
        ]
        _roll(servers, relay, tmp_path)


def _roll(servers: list[Server], relay: Process, folder: Path) -> None:
    token = _signed_in(servers[0], relay)["accessToken"]
    balancer = Nginx(folder / "nginx")
    balancer.balance(server.port for server in servers)
    stop = threading.Event()
    with balancer, ThreadPoolExecutor(_CLIENTS) as clients:
        traffic = _Traffic(balancer.port, token)
        sending = [clients.submit(traffic.run, stop) for _ in range(_CLIENTS)]
        try:
            for server in servers:
                served = traffic.sent
                eventually(lambda: traffic.sent > served + 200, what="traffic between two restarts")  # noqa: B023
                balancer.balance(other.port for other in servers if other is not server)
                assert server.stop() == 0
                server.start_again()
                balancer.balance(other.port for other in servers)
        finally:
            stop.set()
        for outcome in sending:
            outcome.result(120)
    assert traffic.sent >= _REQUESTS
    assert traffic.failed == []


def _signed_in(server: Server, relay: Process) -> Any:  # noqa: ANN401 - JSON
    assert httpx.post(f"{server.url}/auth/register", json=_CREDENTIALS).status_code == 201
    mailed = relay.mail_to("ada@example.com")["token"]
    assert httpx.post(f"{server.url}/auth/verify-email", json={"token": mailed}).status_code == 200
    answer = httpx.post(f"{server.url}/auth/login", json=_CREDENTIALS)
    assert answer.status_code == 200
    return answer.json()
