"""The real servers of a part, and databases in them."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.run import ServersOfRun

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def servers() -> Iterator[ServersOfRun]:
    """Give servers that are started when they are asked for, and stopped with the block."""
    run = ServersOfRun.begin()
    try:
        yield run
    finally:
        run.end()


@contextlib.contextmanager
def database(run: ServersOfRun) -> Iterator[str]:
    """Give the DSN of a database with the whole schema, for the block."""
    server = run.postgres()
    name = server.create_database(template=run.migrated_template())
    try:
        yield server.dsn(name)
    finally:
        server.drop_database(name)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Give an empty folder for the block."""
    with tempfile.TemporaryDirectory(prefix="userservice-soak-") as name:
        yield Path(name)
