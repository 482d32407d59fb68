"""Processes that are killed: forks of one that has loaded everything, with their output in a file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.endurance.loaded", "tests.endurance.processes"])

KILLED: Final = -signal.SIGKILL

# To start a process asks how the others are, and of two threads that ask at once one is told nonsense (exit code 255).
_LOCK: Final = threading.Lock()
_POLL_SECONDS: Final = 0.01
_END_SECONDS: Final = 20.0


def fork(target: Callable[..., None], *arguments: Any, log: Path) -> ForkServerProcess:  # noqa: ANN401 - of the target
    """Start a process that runs *target*, which this module's importers can find by its name."""
    process = _CONTEXT.Process(target=_run, args=(target, arguments, str(log)), daemon=True)
    with _LOCK:
        process.start()
    return process


def ended(process: ForkServerProcess, *, within_seconds: float) -> int | None:
    """Wait for the end of a process, and return its exit code; None if it still runs."""
    deadline = time.monotonic() + within_seconds
    while True:
        with _LOCK:
            code = process.exitcode
        if code is not None or time.monotonic() >= deadline:
            return code
        time.sleep(_POLL_SECONDS)


def pipe() -> tuple[Any, Any]:
    """Return two ends of a connection between this process and one that is forked."""
    return _CONTEXT.Pipe()


def end(process: ForkServerProcess) -> int | None:
    """Ask a process to end as an orchestrator does, and return its exit code."""
    with _LOCK:
        process.terminate()
    return ended(process, within_seconds=_END_SECONDS)


def kill(process: ForkServerProcess) -> int | None:
    """`kill -9` a process, and return how it ended."""
    with _LOCK:
        process.kill()
    return ended(process, within_seconds=_END_SECONDS)


def _run(target: Callable[..., None], arguments: tuple[Any, ...], log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    target(*arguments)
