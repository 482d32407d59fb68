"""One server of a folder: what all servers have in common."""

from __future__ import annotations

import abc
import contextlib
import functools
import os
import pwd
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

POLL_SECONDS: Final = 0.02
_LOG_TAIL_LINES: Final = 30
_STOP_SECONDS: Final = 30

# A server may outlive the process that started it, when workers of one run share it; the handles are kept, since a
# handle that is collected complains of a child still running.
_CHILDREN: Final[list[subprocess.Popen[bytes]]] = []


class ServerFailedError(Exception):
    """A server did not start or stop as it should; the message ends with the last lines of its log."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(port: int) -> bool:
    """Whether something listens on *port* of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def unprivileged_user() -> str | None:
    """Return whom to run a server as that refuses to run as root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _has_ended(process: psutil.Process) -> bool:
    """Whether only the status of *process* is left: its first thread may end before those that have its ports."""
    return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1


class LoopbackServer(abc.ABC):
    """
    A server program with its data, log, ports and process id in one folder.

    All state is in the folder, so that any process of a test run which knows it can use, kill, start and stop the
    server. A subclass says how the program is started and when it answers.
    """

    name: str
    start_timeout_seconds: float = 30
    user: str | None = None
    environment: Mapping[str, str] | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "server.log"
        self._pid_file = self.folder / "server.pid"

    @abc.abstractmethod
    def command(self) -> list[str]:
        """Write the configuration, and return the command that starts the server."""

    @abc.abstractmethod
    def answers(self) -> bool:
        """Whether the server does its work now."""

    @functools.cached_property
    def port(self) -> int:
        """The port that clients connect to; the same after every restart."""
        return self.reserve_port("port")

    def reserve_port(self, name: str) -> int:
        """Return the port kept in the file *name* of the folder, chosen at the first call."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / name
        if not file.exists():
            file.write_text(str(free_port()))
        return int(file.read_text())

    @property
    def process(self) -> psutil.Process | None:
        """The running process of this folder, whoever started it; never another that was given its number later."""
        try:
            process_id, created_at = self._pid_file.read_text().split()
            process = psutil.Process(int(process_id))
            is_ours = repr(process.create_time()) == created_at and not _has_ended(process)
        except (FileNotFoundError, ValueError, psutil.Error):
            return None
        return process if is_ours else None

    def start(self) -> None:
        """Start the server if it does not run, and wait until it answers."""
        if self.process is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._launch()
        deadline = time.monotonic() + self.start_timeout_seconds
        while not self.answers():
            if self.process is None:
                raise ServerFailedError(f"{self.name} ended while it started:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerFailedError(
                    f"{self.name} did not answer in {self.start_timeout_seconds} s:\n{self.log_tail()}"
                )
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Ask the server to end, and wait until it has; by force when it does not."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """End the server as a crash would."""
        self._end(signal.SIGKILL)

    def log_tail(self) -> str:
        """Return the last lines of the server's log."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
        return "(no log)"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self) -> None:
        command = self.command()
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
                start_new_session=True,
                user=self.user,
                extra_groups=None if self.user is None else [],
            )
        self._pid_file.write_text(f"{child.pid} {psutil.Process(child.pid).create_time()!r}")
        _CHILDREN.append(child)

    def _end(self, signal_number: signal.Signals) -> None:
        process = self.process
        if process is None:
            return
        for number in (signal_number, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                # It leads a process group, in which are the programs that it started itself.
                os.killpg(process.pid, number)
            if self._has_ended_within(_STOP_SECONDS):
                return
        raise ServerFailedError(f"{self.name} (process {process.pid}) does not end:\n{self.log_tail()}")

    def _has_ended_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.process is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        for child in _CHILDREN:
            child.poll()
        return True
