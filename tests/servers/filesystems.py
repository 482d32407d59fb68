"""A file system of its own, which a test can fill without filling the machine's."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from tests.servers.installed import MissingServerError

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen
class FileSystem:
    """A file system of a few megabytes, in memory."""

    folder: Path

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave no byte free for the block; what is freed meanwhile may be used again."""
        filler = self.folder / "filler"
        with filler.open("wb") as file:
            free = os.statvfs(self.folder)
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
        try:
            yield
        finally:
            filler.unlink()


@contextlib.contextmanager
def file_system(folder: Path, *, megabytes: int) -> Iterator[FileSystem]:
    """
    Mount one on *folder* for the block.

    Raises:
        MissingServerError: If this process may not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
    if mounted.returncode:
        raise MissingServerError("a file system of its own: run as root, so that a tmpfs can be mounted")
    try:
        yield FileSystem(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
