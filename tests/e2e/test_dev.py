"""One command runs everything on one machine, and what it stored is there the next time."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from tests.e2e.flow import PASSWORD
from tests.e2e.processes import Process, eventually, free_port, without_settings

if TYPE_CHECKING:
    from pathlib import Path


def _ready(dev: Process) -> bool:
    assert dev.is_running, dev.lines
    return any(line.startswith("Ready on http://127.0.0.1:") for line in dev.lines)


def _administrators(dev: Process) -> list[dict[str, Any]]:
    return [document for document in dev.documents() if "oneTimePassword" in document]


def _roles_seen_by(dev: Process, url: str, administrator: str) -> list[str]:
    """Have the administrator choose a password by mail, sign in, and list the roles."""
    assert httpx.post(f"{url}/auth/request-password-reset", json={"email": administrator}).status_code == 202
    chosen = {"token": dev.mail_to(administrator, kind="reset_password")["token"], "password": PASSWORD}
    assert httpx.post(f"{url}/auth/reset-password", json=chosen).status_code == 200
    signed_in = httpx.post(f"{url}/auth/login", json={"email": administrator, "password": PASSWORD}).json()
    bearer = {"Authorization": f"Bearer {signed_in['accessToken']}"}
    return [role["name"] for role in httpx.get(f"{url}/admin/roles", headers=bearer).json()["data"]]


def test_the_data_of_a_first_run_is_found_by_the_second(tmp_path: Path) -> None:
    """
    The first run prints the administrator's one-time password, the second one does not; who registered can sign in.

    Ctrl-C ends every process that was begun.
    """
    arguments = ("dev", "--port", str(port := free_port()), "--data-dir", str(tmp_path / "data"))
    url = f"http://127.0.0.1:{port}"
    credentials = {"email": "ada@example.com", "password": PASSWORD}

    with Process(*arguments, environment=without_settings()) as first:
        eventually(lambda: _ready(first), what="the first run", seconds=60)
        [administrator] = _administrators(first)
        issued = {"email": administrator["administrator"], "password": administrator["oneTimePassword"]}
        refused = httpx.post(f"{url}/auth/login", json=issued)
        roles = _roles_seen_by(first, url, issued["email"])
        assert httpx.post(f"{url}/auth/register", json=credentials).status_code == 201
        mail = first.mail_to("ada@example.com")
        inspected = httpx.get(mail["link"])
        assert httpx.post(f"{url}/auth/verify-email", json={"token": mail["token"]}).status_code == 200
        children = psutil.Process(first.pid).children(recursive=True)
        first.send_signal(signal.SIGINT)
        assert first.wait() == 0
    with Process(*arguments, environment=without_settings()) as second:
        eventually(lambda: _ready(second), what="the second run", seconds=60)
        signed_in = httpx.post(f"{url}/auth/login", json=credentials)
        assert _administrators(second) == []
        second.send_signal(signal.SIGINT)
        assert second.wait() == 0

    assert roles == ["administrator", "user"]
    # The password that was issued is right, and good for nothing but being replaced.
    assert refused.status_code == 403
    assert refused.json()["type"].endswith(":password-change-required")
    assert inspected.json() == {"purpose": "verify_email", "valid": True}
    assert signed_in.status_code == 200
    assert len(children) >= 3, "the server, its worker and the database"
    assert [child for child in children if child.is_running()] == []


def test_a_taken_port_is_told_at_once(tmp_path: Path) -> None:
    """Nothing is begun, and the line says what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        data = tmp_path / "data"
        with Process("dev", "--port", port, "--data-dir", str(data), environment=without_settings()) as dev:
            assert dev.wait() == 78

    [line] = dev.lines
    assert line.startswith(f"userservice: port {port} cannot be used")
    assert "PORT=" in line
    assert not data.exists()
