"""PgBouncer in transaction mode in front of a PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import psycopg

from tests.servers import installed
from tests.servers.process import LoopbackServer, ServerFailedError, unprivileged_user

if TYPE_CHECKING:
    from pathlib import Path

_ADMINISTER_SECONDS: Final = 30.0


class PgBouncer(LoopbackServer):
    """A pooler that lends a server connection for one transaction at a time."""

    name = "PgBouncer"

    def __init__(self, folder: Path, *, target_dsn: str, pool_size: int = 10, max_clients: int = 500) -> None:
        """
        Name what is pooled.

        Args:
            folder: Where the configuration and the log go.
            target_dsn: The server behind; any database of it can be asked for.
            pool_size: How many server connections a database gets at most.
            max_clients: How many clients it takes at once.
        """
        super().__init__(folder)
        self.user = unprivileged_user()
        self._target = urlsplit(target_dsn)
        self._pool_size = pool_size
        self._max_clients = max_clients

    def dsn(self, database: str | None = None) -> str:
        """Return the DSN through the pooler, of *database* or the one of the target."""
        path = self._target.path if database is None else f"/{database}"
        return f"postgresql://{self._target.username}:{self._target.password}@127.0.0.1:{self.port}{path}"

    def command(self) -> list[str]:
        users = self.folder / "users.txt"
        users.write_text(f'"{self._target.username}" "{self._target.password}"\n')
        configuration = self.folder / "pgbouncer.ini"
        configuration.write_text(
            "\n".join(
                (
                    "[databases]",
                    f"* = host={self._target.hostname} port={self._target.port}",
                    "[pgbouncer]",
                    "listen_addr = 127.0.0.1",
                    f"listen_port = {self.port}",
                    "unix_socket_dir =",
                    "auth_type = scram-sha-256",
                    f"auth_file = {users}",
                    "pool_mode = transaction",
                    f"default_pool_size = {self._pool_size}",
                    f"max_client_conn = {self._max_clients}",
                    f"admin_users = {self._target.username}",
                    "",
                )
            )
        )
        for file in (users, configuration):
            file.chmod(0o600)
            if self.user is not None:
                shutil.chown(file, self.user)
        return [installed.pgbouncer(), str(configuration)]

    def answers(self) -> bool:
        try:
            psycopg.connect(self.dsn(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def administer(self, command: str) -> None:
        """Run a command of the admin console, like ``PAUSE``."""
        with self._console() as console:
            line = socket.socket(fileno=os.dup(console.fileno()))
            # The driver waits for as long as it takes: a pause takes until the last transaction has ended.
            patience = threading.Timer(_ADMINISTER_SECONDS, line.shutdown, (socket.SHUT_RDWR,))
            patience.start()
            try:
                console.execute(command.encode())
            except psycopg.OperationalError as error:
                raise ServerFailedError(
                    f"{self.name} did not {command}:\n{self._state()}\n{self.log_tail()}"
                ) from error
            finally:
                patience.cancel()
                patience.join()
                line.close()

    def _state(self) -> str:
        """Return whom it serves, and by which connections."""
        with self._console() as console:
            shown = [row for what in (b"SHOW CLIENTS", b"SHOW SERVERS") for row in console.execute(what)]
        return "\n".join(str(row) for row in shown)

    def _console(self) -> psycopg.Connection:
        # It speaks the simple protocol only and knows no transactions.
        return psycopg.connect(
            self.dsn("pgbouncer"), autocommit=True, cursor_factory=psycopg.ClientCursor, connect_timeout=10
        )
