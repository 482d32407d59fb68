"""Processes that are killed: forks of one that has loaded everything, with their output in a file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.endurance.loaded", "tests.endurance.processes"])

KILLED: Final = -signal.SIGKILL


def fork(target: Callable[..., None], *arguments: Any, log: Path) -> ForkServerProcess:  # noqa: ANN401 - of the target
    """Start a process that runs *target*, which this module's importers can find by its name."""
    process = _CONTEXT.Process(target=_run, args=(target, arguments, str(log)), daemon=True)
    process.start()
    return process


def pipe() -> tuple[Any, Any]:
    """Return two ends of a connection between this process and one that is forked."""
    return _CONTEXT.Pipe()


def end(process: ForkServerProcess) -> int | None:
    """Ask a process to end as an orchestrator does, and return its exit code."""
    process.terminate()
    process.join(20)
    return process.exitcode


def _run(target: Callable[..., None], arguments: tuple[Any, ...], log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    target(*arguments)
