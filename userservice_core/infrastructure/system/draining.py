"""What a server's parent process and its workers tell each other: two bytes that they share."""

from __future__ import annotations

import mmap
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FILE_VARIABLE: Final = "_USERSERVICE_DRAIN_NOTICE"
_DRAIN: Final = 0
_START: Final = 1


class WorkerNotice:
    """The parent's side; see :func:`worker_notice`."""

    def __init__(self, shared: mmap.mmap) -> None:
        self._shared = shared

    def drain(self) -> None:
        """Tell the workers to drain; also from a signal handler, and more than once."""
        self._shared[_DRAIN] = 1

    def has_new_start(self) -> bool:
        """Tell whether a worker has started since this was asked the last time."""
        has_started = self._shared[_START] == 1
        self._shared[_START] = 0
        return has_started


@contextmanager
def worker_notice(folder: Path) -> Iterator[WorkerNotice]:
    """
    Let the processes that are started within the block be told to drain, and tell that they have started.

    The bytes are in a file, because a worker may be forked, spawned, or started again after another died; each finds it
    by a variable of its environment.

    Args:
        folder: Where the file is kept meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="drain-") as file:
        file.write(b"\0\0")
        file.flush()
        with mmap.mmap(file.fileno(), 2) as shared:
            before = os.environ.get(_FILE_VARIABLE)
            os.environ[_FILE_VARIABLE] = file.name
            try:
                yield WorkerNotice(shared)
            finally:
                if before is None:
                    del os.environ[_FILE_VARIABLE]
                else:
                    os.environ[_FILE_VARIABLE] = before


def tell_start() -> None:
    """Tell the parent process, if there is one that wants to know, that this one has started."""
    name = os.environ.get(_FILE_VARIABLE)
    if name is not None:
        with suppress(OSError), Path(name).open("r+b") as file:
            file.seek(_START)
            file.write(b"\1")


def inherited_notice() -> Callable[[], bool]:
    """
    Return what tells whether the parent process wants this one to drain.

    Never, where there is no such parent: under a server that was not started by `userservice serve`, and where the
    parent is gone, with its file.
    """
    name = os.environ.get(_FILE_VARIABLE)
    if name is None:
        return _never
    try:
        with Path(name).open("rb") as file:
            shared = mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_READ)
    except OSError:
        return _never
    return lambda: shared[_DRAIN] == 1


def _never() -> bool:
    return False
