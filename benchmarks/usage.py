"""Processor time: of this machine, and of what this run has started."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable


def seconds_of(process: psutil.Process) -> float:
    """Return what a process, and all that it has started, have used; what has ended counts once it is waited for."""
    used = 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


def watch_others() -> Callable[[], float]:
    """Begin to watch, and return what tells how many processors other programs than this run's have used since."""
    run = psutil.Process()
    began, busy, own = time.perf_counter(), busy_seconds(), seconds_of(run)

    def used() -> float:
        of_others = (busy_seconds() - busy) - (seconds_of(run) - own)
        return max(0.0, of_others / (time.perf_counter() - began))

    return used


def busy_seconds() -> float:
    """Return what all processors of this machine together have been busy since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.irq + times.softirq)
