"""A PostgreSQL server of the tests: the embedded one, or the oldest supported version from the system."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.servers import installed, versions
from tests.servers.process import POLL_SECONDS, ServerFailedError
from userservice_core.infrastructure.postgres.embedded import EmbeddedPostgres, PostgresBinaries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_STOP_SECONDS = 30
# Enough for every test, and loss of power is the one fault that it does not survive.
_WITHOUT_FSYNC = {"fsync": "off", "full_page_writes": "off"}


def chosen_major_version() -> int:
    """Return the version that this run tests with: ``TEST_POSTGRES``, or the newest."""
    return int(os.environ.get("TEST_POSTGRES") or versions.NEWEST_POSTGRES)


class PostgresServer:
    """A server of a folder on loopback, owned by no process, so that the workers of a run share it."""

    def __init__(
        self,
        folder: Path,
        *,
        major_version: int | None = None,
        fsync: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """
        Name the folder and what runs in it.

        Args:
            folder: Where the cluster and its log live.
            major_version: Which PostgreSQL; without it, the one of this run.
            fsync: Whether commits reach the disk. Without it the server survives ``kill9`` all the same.
            settings: Further server settings.
        """
        self.major_version = major_version or chosen_major_version()
        self._folder = folder
        self._embedded = EmbeddedPostgres(
            folder,
            binaries=self._find_binaries(),
            settings={"max_connections": "300", **({} if fsync else _WITHOUT_FSYNC), **(settings or {})},
        )
        self._dsn = ""

    @property
    def process_id(self) -> int | None:
        """The postmaster; None when it does not run."""
        return self._embedded.process_id

    def start(self) -> None:
        """Start the server if it does not run, and wait until it answers."""
        self._dsn = self._embedded.start()
        self._embedded.disown()

    def stop(self) -> None:
        """Stop the server, which ends its clients' sessions and writes a checkpoint."""
        self._end(signal.SIGINT)

    def kill9(self) -> None:
        """End the server as a crash would; its backends notice and follow."""
        self._end(signal.SIGKILL)

    def dsn(self, database: str | None = None) -> str:
        """Return the DSN of *database*, as a superuser; without it, of a database that nothing is kept in."""
        return self._dsn if database is None else urlsplit(self._dsn)._replace(path=f"/{database}").geturl()

    def create_database(self, name: str | None = None, *, template: str = "template1") -> str:
        """Create a database as a copy of *template*, which nobody may be connected to, and return its name."""
        chosen = name or f"test_{uuid.uuid4().hex}"
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(chosen), sql.Identifier(template))
        )
        return chosen

    def drop_database(self, name: str) -> None:
        """Drop a database with the sessions in it, if it exists."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def log_tail(self) -> str:
        """Return the last lines of the server's log."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join((self._folder / "server.log").read_text(errors="replace").splitlines()[-30:])
        return "(no log)"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _find_binaries(self) -> PostgresBinaries | None:
        if self.major_version == versions.NEWEST_POSTGRES:
            return None
        return PostgresBinaries(installed.postgres_folder(self.major_version))

    def _execute(self, statement: sql.Composed) -> None:
        with contextlib.closing(psycopg.connect(self.dsn(), autocommit=True)) as connection:
            connection.execute(statement)

    def _end(self, signal_number: signal.Signals) -> None:
        process_id = self.process_id
        if process_id is None:
            return
        os.kill(process_id, signal_number)
        deadline = time.monotonic() + _STOP_SECONDS
        while self.process_id is not None:
            if time.monotonic() > deadline:
                raise ServerFailedError(f"PostgreSQL (process {process_id}) does not end:\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)
