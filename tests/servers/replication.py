"""A PostgreSQL server and those that follow it by streaming replication."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.servers.postgres import PostgresServer
from tests.servers.process import POLL_SECONDS, ServerFailedError
from userservice_core.infrastructure.postgres.embedded import PostgresBinaries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

_PATIENCE_SECONDS = 30
_SETTINGS = {
    "max_wal_senders": "8",
    "wal_keep_size": "256MB",
    "wal_receiver_status_interval": "1",
    "wal_retrieve_retry_interval": "200ms",
}


class PostgresReplica(PostgresServer):
    """A server that was copied from another and replays what that one writes, until it is promoted."""

    def __init__(
        self, folder: Path, *, primary: PostgresServer, slot: str, settings: Mapping[str, str] | None = None
    ) -> None:
        """
        Name the folder, and whom to follow; nothing is copied yet.

        Args:
            folder: Where the copy lives.
            primary: The server to copy; it runs when this one is first started.
            slot: Of the primary, which keeps what this one has not got yet.
            settings: Further server settings.
        """
        super().__init__(folder, major_version=primary.major_version, fsync=False, settings=settings)
        self._folder = folder
        self._primary = primary
        self._slot = slot

    def start(self) -> None:
        """Start the server, after copying its primary if there is nothing to start yet."""
        if not (self._folder / "data").exists():
            self._copy()
        super().start()

    def follow(self, primary: PostgresServer) -> None:
        """Follow another server from now on."""
        self._change("SELECT pg_create_physical_replication_slot(%s)", self._slot, dsn=primary.dsn())
        conninfo = f"{primary.dsn()}?application_name={self._slot}"
        with contextlib.closing(psycopg.connect(self.dsn(), autocommit=True)) as connection:
            connection.execute(f"ALTER SYSTEM SET primary_conninfo = '{conninfo}'".encode())
            connection.execute("SELECT pg_reload_conf()")

    def pause_replay(self) -> None:
        """Replay nothing until :meth:`resume_replay`; what arrives is kept."""
        self._change("SELECT pg_wal_replay_pause()")
        self._wait_until("SELECT pg_get_wal_replay_pause_state() = 'paused'")

    def resume_replay(self) -> None:
        """Replay what has come meanwhile, and go on."""
        self._change("SELECT pg_wal_replay_resume()")

    @contextlib.contextmanager
    def replay_paused(self) -> Iterator[None]:
        """Replay nothing within the block."""
        self.pause_replay()
        try:
            yield
        finally:
            self.resume_replay()

    def promote(self) -> None:
        """Become a primary, and return once it takes writes."""
        self._change("SELECT pg_promote(wait => true)")
        self._wait_until("SELECT NOT pg_is_in_recovery()")

    def wait_for(self, lsn: str) -> None:
        """Wait until everything up to *lsn* is replayed."""
        self._wait_until("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", lsn)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes within the block: connections stay, and nothing answers."""
        if self.process_id is None:
            raise ServerFailedError("A server that does not run cannot be frozen.")
        postmaster = psutil.Process(self.process_id)
        # First of all, so that there are no more children than are found.
        postmaster.suspend()
        processes = [postmaster, *postmaster.children(recursive=True)]
        try:
            for process in processes:
                process.suspend()
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
            # Who gave up connecting meanwhile may keep the socket until then, and the server waits for a password.
            gc.collect()

    def _copy(self) -> None:
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        dsn = self._primary.dsn()
        password = str(conninfo_to_dict(dsn)["password"])
        (self._folder / "password").write_text(password)
        binaries = self._find_binaries() or PostgresBinaries.from_wheel()
        unfinished = self._folder / "data.new"
        command = [
            binaries.path("pg_basebackup"),
            f"--dbname={dsn}?application_name={self._slot}",
            f"--pgdata={unfinished}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--wal-method=stream",
            "--create-slot",
            f"--slot={self._slot}",
            "--no-sync",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_SECONDS)
        if done.returncode:
            raise ServerFailedError(f"pg_basebackup failed:\n{done.stderr}")
        unfinished.chmod(0o700)
        unfinished.rename(self._folder / "data")

    def _change(self, statement: str, *params: str, dsn: str | None = None) -> None:
        with contextlib.closing(psycopg.connect(dsn or self.dsn(), autocommit=True)) as connection:
            connection.execute(statement.encode(), params)

    def _wait_until(self, question: str, *params: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with contextlib.closing(psycopg.connect(self.dsn(), autocommit=True)) as connection:
            while connection.execute(question.encode(), params).fetchone() != (True,):
                if time.monotonic() > deadline:
                    raise ServerFailedError(f"Not true within {_PATIENCE_SECONDS} s: {question}\n{self.log_tail()}")
                time.sleep(POLL_SECONDS)


class ReplicatedPostgres:
    """A primary and its replicas."""

    def __init__(self, folder: Path, *, replicas: int = 2, settings: Mapping[str, str] | None = None) -> None:
        """
        Name the folder; nothing is started yet.

        Args:
            folder: Where all of them live.
            replicas: How many follow the primary.
            settings: Further settings of each server.
        """
        given: dict[str, Any] = {**_SETTINGS, **(settings or {})}
        self._folder = folder
        self.primary = PostgresServer(folder / "primary", fsync=False, settings=given)
        self.replicas = tuple(
            PostgresReplica(
                folder / f"replica-{number}", primary=self.primary, slot=f"replica_{number}", settings=given
            )
            for number in range(1, replicas + 1)
        )

    def start(self) -> None:
        """Start all of them, the replicas as copies of the primary."""
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.primary.start()
        with ThreadPoolExecutor() as threads:
            list(threads.map(PostgresReplica.start, self.replicas))

    def stop(self) -> None:
        """Stop all of them."""
        for server in (*self.replicas, self.primary):
            server.stop()

    def catch_up(self, *replicas: PostgresReplica) -> None:
        """Wait until these replicas, or all, have replayed what the primary has written by now."""
        with contextlib.closing(psycopg.connect(self.primary.dsn(), autocommit=True)) as connection:
            # An idle primary's last record may end at a page whose header is not written yet.
            connection.execute("SELECT pg_switch_wal()")
            (lsn,) = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone() or ("0/0",)
        for replica in replicas or self.replicas:
            replica.wait_for(lsn)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
