"""Processes with a share of a processor, by control groups of Linux, version 1 or 2."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PERIOD_MICROSECONDS: Final = 100_000
_VERSION_1: Final = Path("/sys/fs/cgroup/cpu")
_VERSION_2: Final = Path("/sys/fs/cgroup")
_EMPTY_SECONDS: Final = 10.0


@contextlib.contextmanager
def processor_quota(name: str, processors: float) -> Iterator[tuple[str, ...]]:
    """
    Make a control group that gets at most *processors* within the block.

    Yields:
        What goes before a command so that it and all that it starts are in the group.

    Raises:
        OSError: If this machine does not let us: no control groups, or no right to make one.
    """
    is_first = (_VERSION_1 / "cpu.cfs_quota_us").exists()
    folder = (_VERSION_1 if is_first else _VERSION_2) / f"userservice-{os.getpid()}-{name}"
    folder.mkdir()
    try:
        quota = round(processors * _PERIOD_MICROSECONDS)
        if is_first:
            (folder / "cpu.cfs_period_us").write_text(str(_PERIOD_MICROSECONDS))
            (folder / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (folder / "cpu.max").write_text(f"{quota} {_PERIOD_MICROSECONDS}")
        yield "sh", "-c", f'echo $$ > "{folder}/cgroup.procs" && exec "$@"', "in-quota"
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a group, once its processes are gone."""
    deadline = time.monotonic() + _EMPTY_SECONDS
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
