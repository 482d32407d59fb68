"""The servers that are measured, each as its users start it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import psutil

from benchmarks.limit_app import DSN_VARIABLE, FOLDER_VARIABLE, READY, THREADS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FORM: Final = "application/x-www-form-urlencoded"

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 20.0
_ANSWER_SECONDS: Final = 60.0
_LAST_CHARACTERS: Final = 4_000


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def service(settings: Mapping[str, str], app: str, *, log: Path, prefix: tuple[str, ...] = ()) -> Iterator[int]:
    """Serve by `userservice serve` within the block, *prefix* before the command, and give its port."""
    port = free_port()
    settings = {
        "USERSERVICE_METRICS_PORT": str(free_port()),
        **settings,
        "USERSERVICE_PORT": str(port),
        "USERSERVICE_DATA_DIR": str(log.with_suffix("")),
    }
    command = (*prefix, sys.executable, "-m", "userservice_core.cli", "serve", "--app", app)
    with running(command, settings, log=log) as server:
        wait_for("/health/ready", server, port=port, log=log)
        yield port


@contextlib.contextmanager
def limit(dsn: str, *, workers: int, threads: int, log: Path, folder: Path) -> Iterator[int]:
    """
    Serve the limits by the same server with the same number of workers and threads, and give the port.

    Args:
        folder: Where what they answer is.
    """
    port = free_port()
    command = (
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(workers), "--http", "1", "--no-ws", "--no-access-log", "benchmarks.limit_app:app"),
    )
    settings = {DSN_VARIABLE: dsn, THREADS_VARIABLE: str(threads), FOLDER_VARIABLE: str(folder)}
    with running(command, settings, log=log) as server:
        wait_for(READY, server, port=port, log=log)
        yield port


def ask(port: int, method: str, path: str, body: object = None, *, token: str | None = None) -> dict[str, Any]:
    """
    Send one request, and return the JSON of the answer.

    Args:
        body: What becomes JSON, or the text of a form.

    Raises:
        RuntimeError: If it is not answered with 2xx.
    """
    headers = {"Content-Type": FORM if isinstance(body, str) else "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    content = body if isinstance(body, str) else None if body is None else json.dumps(body)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)) as connection:
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        answer = response.read()
    if not http.client.OK <= response.status < http.client.MULTIPLE_CHOICES:
        raise RuntimeError(f"{method} {path} was answered with {response.status}: {answer.decode()}")
    found: dict[str, Any] = json.loads(answer) if answer else {}
    return found


def server_on(port: int) -> psutil.Process:
    """
    Return the process started by this one that serves *port*, or the parent of those that do.

    Raises:
        LookupError: If there is none.
    """
    for process in psutil.Process().children(recursive=False):
        if any(
            one.laddr.port == port and one.status == psutil.CONN_LISTEN
            for member in (process, *process.children(recursive=True))
            for one in member.net_connections(kind="tcp")
        ):
            return process
    raise LookupError(f"nobody serves port {port}")


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables here with these settings of the service, and no others."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("USERSERVICE_")}
    return {**others, **settings}


@contextlib.contextmanager
def running(command: tuple[str, ...], settings: Mapping[str, str], *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with these settings of the service, and no others, within the block."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment(settings), stdout=output, stderr=subprocess.STDOUT)
        try:
            yield server
        finally:
            server.terminate()
            try:
                server.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for(path: str, server: subprocess.Popen[bytes], *, port: int, log: Path) -> None:
    """
    Return when a server answers *path* with 200.

    Raises:
        RuntimeError: If it ends before, or takes too long.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", path)
            if connection.getresponse().status == http.client.OK:
                return
        time.sleep(0.05)
    raise RuntimeError(f"A server does not answer; its log ends with:\n{log.read_text()[-_LAST_CHARACTERS:]}")
