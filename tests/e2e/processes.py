"""The processes of a deployment: servers and relays as users start them, each with its settings and its output."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

ROOT: Final = Path(__file__).parents[2]
_RATE_LIMITS: Final = Path(__file__).with_name("rate_limits.toml")
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
OURS: Final = (sys.executable, "-m", "userservice_core.cli")
"""The command of this tree; installations have their own."""


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def without_settings() -> dict[str, str]:
    """Return the environment of this process without any setting of the service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("USERSERVICE_")}


def settings_for(database: str, data_dir: Path, **others: str) -> dict[str, str]:
    """Return the environment of a small installation on *database*; names in *others* are without their prefix."""
    settings = {
        "PROFILE": "test",
        "DATABASE_URL": database,
        "DATABASE_DIRECT_URL": database,
        "DATA_DIR": str(data_dir),
        "ISSUER": "https://accounts.example.com",
        "PUBLIC_URL": "https://accounts.example.com",
        "MAIL_URL": "console:",
        "RATE_LIMITS_FILE": str(_RATE_LIMITS),
        "WORKERS": "1",
        "LOG_LEVEL": "WARNING",
        "DRAIN_DELAY_SECONDS": "0",
        "DATABASE_START_SPREAD_SECONDS": "0",
        # Only tests of overload want to see requests refused because the machine has other things to do.
        "DATABASE_WAIT_SECONDS": "5",
        "HASHING_WAIT_SECONDS": "5",
        **others,
    }
    # Has a command that does not end tell where it stands, when it is aborted.
    return {
        **without_settings(),
        "PYTHONFAULTHANDLER": "1",
        **{f"USERSERVICE_{name}": value for name, value in settings.items()},
    }


def eventually(condition: Callable[[], bool], *, what: str, seconds: float = 20.0) -> None:
    """Wait until *condition* holds, and fail naming *what* if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)


class Process:
    """A command of ours with its standard output as lines; ended, at the latest, with the block."""

    def __init__(
        self, *arguments: str, environment: Mapping[str, str], program: Sequence[str] = OURS, folder: Path = ROOT
    ) -> None:
        self._command = [*program, *arguments]
        self._folder = folder
        self._environment = dict(environment)
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        # A server that had to be killed leaves workers behind, in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def wait(self, *, seconds: float = STOP_SECONDS) -> int:
        """
        Wait for its end, and return the exit code.

        Raises:
            AssertionError: If it does not end in time, with what each of its threads was doing.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        self._process.send_signal(signal.SIGABRT)
        self._process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        raise AssertionError("\n".join((f"{self._command} did not end in {seconds:.0f} s:", *self.lines[-200:])))

    def stop(self) -> int:
        """Ask it to end as an orchestrator does (SIGTERM), and return its exit code."""
        self._process.terminate()
        return self.wait()

    def start_again(self) -> None:
        """Start the same, at the same place, once it has ended."""
        Process.__exit__(self, None, None, None)
        self.__enter__()

    def documents(self) -> list[dict[str, Any]]:
        """Return the lines printed so far that are JSON objects."""
        found = []
        for line in list(self.lines):
            with contextlib.suppress(json.JSONDecodeError):
                document = json.loads(line)
                if isinstance(document, dict):
                    found.append(document)
        return found

    def mail_to(self, address: str, *, kind: str = "verify_email") -> dict[str, Any]:
        """Wait for a mail of *kind* to *address*, and return the last one."""

        def mails() -> list[dict[str, Any]]:
            return [mail for mail in self.documents() if mail.get("to") == address and mail.get("kind") == kind]

        eventually(lambda: bool(mails()), what=f"a mail to {address}; printed was: {self.lines}")
        return mails()[-1]

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(line.rstrip("\n") for line in self._process.stdout)


class Server(Process):
    """A host under granian."""

    def __init__(
        self,
        app: str,
        *,
        environment: Mapping[str, str],
        port: int | None = None,
        folder: Path = ROOT,
        program: Sequence[str] = OURS,
    ) -> None:
        self.port = port or free_port()
        own = {"USERSERVICE_PORT": str(self.port), "USERSERVICE_METRICS_PORT": str(free_port())}
        super().__init__("serve", "--app", app, environment={**environment, **own}, program=program, folder=folder)
        self.metrics_url = f"http://127.0.0.1:{own['USERSERVICE_METRICS_PORT']}/metrics"
        self.metrics_folder = Path(environment["USERSERVICE_DATA_DIR"], f"metrics-{own['USERSERVICE_METRICS_PORT']}")

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            eventually(self._is_ready, what=f"the server to be ready; printed was: {self.lines}", seconds=START_SECONDS)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _is_ready(self) -> bool:
        assert self.is_running, f"the server has ended: {self.lines}"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health/ready", timeout=5).status_code == httpx.codes.OK
        return False
