"""The servers that are measured, each as its users start it."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from benchmarks.limit_app import DSN_VARIABLE, FOLDER_VARIABLE, READY, THREADS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 20.0
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
        **settings,
        "USERSERVICE_PORT": str(port),
        "USERSERVICE_METRICS_PORT": str(free_port()),
        "USERSERVICE_DATA_DIR": str(log.with_suffix("")),
    }
    command = (*prefix, sys.executable, "-m", "userservice_core.cli", "serve", "--app", app)
    with running(command, settings, log=log) as server:
        _wait_for("/health/ready", server, port=port, log=log)
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
        _wait_for(READY, server, port=port, log=log)
        yield port


@contextlib.contextmanager
def running(command: tuple[str, ...], settings: Mapping[str, str], *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with these settings of the service, and no others, within the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("USERSERVICE_")}
    with log.open("wb") as output:
        server = subprocess.Popen(command, env={**environment, **settings}, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield server
        finally:
            server.terminate()
            try:
                server.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(path: str, server: subprocess.Popen[bytes], *, port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", path)
            if connection.getresponse().status == http.client.OK:
                return
        time.sleep(0.05)
    raise RuntimeError(f"A server does not answer; its log ends with:\n{log.read_text()[-_LAST_CHARACTERS:]}")
