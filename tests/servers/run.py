"""
The servers of one test run, each started at most once, by whichever process of the run needs it first.

A run is one pytest, or one with its workers (``-n``): they share a folder, and with it the servers, whose state is all
in there. The process that began the run ends them; what a killed run left behind is ended by the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import psycopg

from tests.servers import installed
from tests.servers.kafka import KafkaBroker
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer
from tests.servers.redis import ClusterRedis, RedisServer, SentinelRedis
from tests.servers.replication import ReplicatedPostgres
from tests.servers.toxiproxy import Toxiproxy

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX: Final = "userservice-tests-"
_TEMPLATE: Final = "template_migrated"


class ServersOfRun:
    """The folder of a run and the servers in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def begin(cls) -> ServersOfRun:
        """Make the folder of a new run, after ending what killed runs left."""
        for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            _end_if_abandoned(left)
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        # As root, the servers that refuse to be root need to get here.
        folder.chmod(0o755)
        return cls(folder)

    def end(self) -> None:
        """Stop the servers of this run, and remove its folder."""
        if (self.folder / "kafka").exists():
            self._kafka.stop()
        if (self.folder / "toxiproxy").exists():
            self._toxiproxy.stop()
        if (self.folder / "redis").exists():
            self._redis.stop()
        if (self.folder / "valkey").exists():
            self._valkey.stop()
        if (self.folder / "redis-sentinel").exists():
            self._redis_sentinel.stop()
        if (self.folder / "redis-cluster").exists():
            self._redis_cluster.stop()
        if (self.folder / "pgbouncer").exists():
            self._pgbouncer.stop()
        if (self.folder / "postgres").exists():
            self._postgres.stop()
        if (self.folder / "replicated").exists():
            self._replicated.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kafka(self) -> KafkaBroker:
        """Return the broker of the run, started."""
        with self.locked("kafka"):
            self._kafka.start()
        return self._kafka

    def redis(self) -> RedisServer:
        """Return the Redis of the run, started."""
        with self.locked("redis"):
            self._redis.start()
        return self._redis

    def valkey(self) -> RedisServer:
        """Return the Valkey of the run, started."""
        with self.locked("valkey"):
            self._valkey.start()
        return self._valkey

    def redis_sentinel(self) -> SentinelRedis:
        """Return the Redis of the run that Sentinels watch, started."""
        with self.locked("redis-sentinel"):
            self._redis_sentinel.start()
        return self._redis_sentinel

    def redis_cluster(self) -> ClusterRedis:
        """Return the Redis Cluster of the run, started."""
        with self.locked("redis-cluster"):
            self._redis_cluster.start()
        return self._redis_cluster

    def toxiproxy(self) -> Toxiproxy:
        """Return the proxies of the run, started; each test makes its own in there."""
        with self.locked("toxiproxy"):
            self._toxiproxy.start()
        return self._toxiproxy

    def postgres(self) -> PostgresServer:
        """Return the PostgreSQL of the run, started."""
        with self.locked("postgres"):
            self._postgres.start()
        return self._postgres

    def pgbouncer(self) -> PgBouncer:
        """Return the pooler of the run in front of its PostgreSQL, both started."""
        self.postgres()
        with self.locked("pgbouncer"):
            self._pgbouncer.start()
        return self._pgbouncer

    def replicated(self) -> ReplicatedPostgres:
        """Return a PostgreSQL of the run with two replicas, all started."""
        with self.locked("replicated"):
            self._replicated.start()
        return self._replicated

    def migrated_template(self, server: PostgresServer | None = None) -> str:
        """
        Return the name of a database with the whole schema and no rows of a test, to be copied for each.

        Args:
            server: Where it is; the PostgreSQL of the run if not given.
        """
        # Alembic is loaded for the runs that migrate.
        from userservice_core.infrastructure.postgres.migrate import upgrade

        done = self.folder / ("template.done" if server is None else "replicated-template.done")
        server = server or self.postgres()
        with self.locked("template"):
            if not done.exists():
                server.drop_database(_TEMPLATE)
                server.create_database(_TEMPLATE)
                upgrade(server.dsn(_TEMPLATE))
                done.touch()
        return _TEMPLATE

    def filled(self, users: int) -> str:
        """Return the name of a database with *users* users and what comes and goes beside them; it is only read."""
        from benchmarks.dataset.in_flight import add_in_flight
        from benchmarks.dataset.loading import load
        from benchmarks.dataset.people import People

        server, name = self.postgres(), f"filled_{users}"
        done = self.folder / f"{name}.done"
        template = self.migrated_template()
        with self.locked(name):
            if not done.exists():
                server.drop_database(name)
                server.create_database(name, template=template)
                load(People(users=users, seed=1, until=datetime.now(UTC)), server.dsn(name))
                with contextlib.closing(psycopg.connect(server.dsn(name), autocommit=True)) as connection:
                    add_in_flight(connection, rows=min(users, 20_000))
                done.touch()
        return name

    @contextlib.contextmanager
    def locked(self, name: str, *, shared: bool = False) -> Iterator[None]:
        """Hold the lock *name* among the processes of this run."""
        with (self.folder / f"{name}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield

    @functools.cached_property
    def _kafka(self) -> KafkaBroker:
        return KafkaBroker(self.folder / "kafka")

    @functools.cached_property
    def _redis(self) -> RedisServer:
        return RedisServer(self.folder / "redis")

    @functools.cached_property
    def _valkey(self) -> RedisServer:
        return RedisServer(self.folder / "valkey", program=installed.valkey_server)

    @functools.cached_property
    def _redis_sentinel(self) -> SentinelRedis:
        return SentinelRedis(self.folder / "redis-sentinel")

    @functools.cached_property
    def _redis_cluster(self) -> ClusterRedis:
        return ClusterRedis(self.folder / "redis-cluster")

    @functools.cached_property
    def _toxiproxy(self) -> Toxiproxy:
        return Toxiproxy(self.folder / "toxiproxy")

    @functools.cached_property
    def _pgbouncer(self) -> PgBouncer:
        return PgBouncer(self.folder / "pgbouncer", target_dsn=self._postgres.dsn())

    @functools.cached_property
    def _replicated(self) -> ReplicatedPostgres:
        return ReplicatedPostgres(self.folder / "replicated")

    @functools.cached_property
    def _postgres(self) -> PostgresServer:
        return PostgresServer(self.folder / "postgres", fsync=False)


def _end_if_abandoned(folder: Path) -> None:
    """End the run of *folder* if it is ours and the process that began it is gone."""
    with contextlib.suppress(ValueError, FileNotFoundError):
        owner = int(folder.name.removeprefix(_PREFIX).split("-")[0])
        if folder.stat().st_uid == os.geteuid() and not psutil.pid_exists(owner):
            ServersOfRun(folder).end()
