"""
Fixtures of real servers; each is started once per run, when the first test asks for it.

With ``pytest -n`` the workers share the servers. A test that kills or restarts one of them is marked ``exclusive``, and
runs while no other test does.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import pytest
import redis

from tests.servers.installed import MissingServerError
from tests.servers.run import ServersOfRun
from tests.servers.smtp import SmtpSink

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tests.servers.kafka import KafkaBroker
    from tests.servers.pgbouncer import PgBouncer
    from tests.servers.postgres import PostgresServer
    from tests.servers.redis import ClusterRedis, RedisServer, SentinelRedis
    from tests.servers.replication import ReplicatedPostgres
    from tests.servers.toxiproxy import Toxiproxy

_T = TypeVar("_T")
_RUN: Final = pytest.StashKey[ServersOfRun]()


def started(start: Callable[[], _T]) -> _T:
    """Start a server; one that is not installed skips the test, and fails it where nothing may be skipped."""
    try:
        return start()
    except MissingServerError as missing:
        if os.environ.get("CI"):
            pytest.fail(f"not installed here: {missing}", pytrace=False)
        pytest.skip(str(missing))


# --- the run ----------------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Begin a run, or join that of the process that started this worker."""
    worker = getattr(config, "workerinput", None)
    config.stash[_RUN] = ServersOfRun.begin() if worker is None else ServersOfRun(Path(worker["servers_folder"]))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: pytest.Session) -> None:
    """Tell a worker which run it belongs to."""
    vars(node)["workerinput"]["servers_folder"] = str(node.config.stash[_RUN].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what this process began; workers have ended by then."""
    if not hasattr(config, "workerinput"):
        config.stash[_RUN].end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keep a test marked ``exclusive`` apart from those of the other workers."""
    is_shared = item.get_closest_marker("exclusive") is None
    has_others = hasattr(item.config, "workerinput")
    with item.config.stash[_RUN].locked("tests", shared=is_shared) if has_others else nullcontext():
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses PostgreSQL, so that it can be run again on another version."""
    for item in items:
        if {"postgres_server", "replicated_postgres"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.postgres)


@pytest.fixture(scope="session")
def servers_of_run(request: pytest.FixtureRequest) -> ServersOfRun:
    """The servers that the processes of this run share."""
    return request.config.stash[_RUN]


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_server(servers_of_run: ServersOfRun) -> PostgresServer:
    """The PostgreSQL of the run; ``TEST_POSTGRES`` chooses its major version."""
    return started(servers_of_run.postgres)


@pytest.fixture
def empty_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The DSN of a database of this test with nothing in it."""
    name = postgres_server.create_database()
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


@pytest.fixture
def database(postgres_server: PostgresServer, servers_of_run: ServersOfRun) -> Iterator[str]:
    """The DSN of a database of this test with the whole schema, as migrations leave it."""
    name = postgres_server.create_database(template=servers_of_run.migrated_template())
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def replicated_postgres(servers_of_run: ServersOfRun) -> ReplicatedPostgres:
    """A PostgreSQL of the run with two streaming replicas."""
    return started(servers_of_run.replicated)


@pytest.fixture
def replicated_database(replicated_postgres: ReplicatedPostgres, servers_of_run: ServersOfRun) -> Iterator[str]:
    """
    The name of a database of this test with the whole schema, on the primary and on all replicas.

    No other test uses these servers meanwhile; whoever disturbs them leaves them as they were.
    """
    primary = replicated_postgres.primary
    with servers_of_run.locked("replicated-in-use"):
        name = primary.create_database(template=servers_of_run.migrated_template(primary))
        replicated_postgres.catch_up()
        yield name
        primary.drop_database(name)


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: PostgresServer, servers_of_run: ServersOfRun) -> PgBouncer:
    """A pooler in transaction mode in front of the PostgreSQL of the run, with its users."""
    del postgres_server  # asked for, so that the test counts as one of PostgreSQL
    return started(servers_of_run.pgbouncer)


# --- the others -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def kafka_broker(servers_of_run: ServersOfRun) -> KafkaBroker:
    """The broker of the run; topics are shared by its tests, so each names its own."""
    return started(servers_of_run.kafka)


@pytest.fixture(scope="session")
def redis_server(servers_of_run: ServersOfRun) -> RedisServer:
    """The Redis of the run."""
    return started(servers_of_run.redis)


@pytest.fixture(scope="session")
def redis_database(worker_id: str) -> int:
    """The number of the database that this worker uses of whichever Redis."""
    return 0 if worker_id == "master" else 1 + int(worker_id.removeprefix("gw"))


@pytest.fixture
def redis_url(redis_server: RedisServer, redis_database: int) -> Iterator[str]:
    """The URL of an empty database of Redis, of this test alone."""
    url = redis_server.url(redis_database)
    yield url
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        client.flushdb()


@pytest.fixture(scope="session")
def valkey_server(servers_of_run: ServersOfRun) -> RedisServer:
    """The Valkey of the run."""
    return started(servers_of_run.valkey)


@pytest.fixture(scope="session")
def redis_sentinel(servers_of_run: ServersOfRun) -> SentinelRedis:
    """Two servers and three Sentinels, of the run; whose keys a test makes up, since they are dropped by nobody."""
    return started(servers_of_run.redis_sentinel)


@pytest.fixture(scope="session")
def redis_cluster(servers_of_run: ServersOfRun) -> ClusterRedis:
    """A Cluster of the run; whose keys a test makes up, since they are dropped by nobody."""
    return started(servers_of_run.redis_cluster)


@pytest.fixture(scope="session")
def toxiproxy(servers_of_run: ServersOfRun) -> Toxiproxy:
    """Lines between a client and a server that a test can slow down, cut, and mend."""
    return started(servers_of_run.toxiproxy)


@pytest.fixture
def smtp_sink() -> Iterator[SmtpSink]:
    """An SMTP server that keeps what it is sent."""
    with SmtpSink() as sink:
        yield sink
