"""How a server's parent process tells its workers that no more requests should come: one byte that they share."""

from __future__ import annotations

import mmap
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FILE_VARIABLE: Final = "_USERSERVICE_DRAIN_NOTICE"


@contextmanager
def drain_notice(folder: Path) -> Iterator[Callable[[], None]]:
    """
    Let the processes that are started within the block be told to drain.

    The byte is in a file, because a worker may be forked, spawned, or started again after another died; each finds it
    by a variable of its environment.

    Args:
        folder: Where the file is kept meanwhile.

    Yields:
        What tells them; it may be called from a signal handler, and more than once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="drain-") as file:
        file.write(b"\0")
        file.flush()
        with mmap.mmap(file.fileno(), 1) as shared:
            before = os.environ.get(_FILE_VARIABLE)
            os.environ[_FILE_VARIABLE] = file.name
            try:
                yield lambda: shared.__setitem__(0, 1)
            finally:
                if before is None:
                    del os.environ[_FILE_VARIABLE]
                else:
                    os.environ[_FILE_VARIABLE] = before


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
    return lambda: shared[0] == 1


def _never() -> bool:
    return False
