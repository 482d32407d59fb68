"""The contract of counters over PostgreSQL and Redis, and what happens while Redis is away."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
import redis

from userservice_core.domain.rate_limits import Limit
from userservice_core.errors import UnavailableError
from userservice_core.infrastructure.caching.redis_limits import RedisRateLimiter
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.limits import PostgresRateLimiter
from userservice_core.infrastructure.postgres.retention import PostgresExpiredRows
from userservice_core.infrastructure.system.clock import SystemClock
from userservice_core.infrastructure.system.fallback_limiter import FallbackRateLimiter
from userservice_core.ports.limits import Counter
from userservice_core.testing.contracts.rate_limiter import RateLimiterContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.postgres import PostgresServer
    from tests.servers.redis import ClusterRedis, RedisServer, SentinelRedis
    from tests.servers.run import ServersOfRun


@pytest.fixture(scope="module")
def dsn(postgres_server: PostgresServer, servers_of_run: ServersOfRun) -> Iterator[str]:
    """A database for all tests of the module."""
    name = postgres_server.create_database(template=servers_of_run.migrated_template())
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


@pytest.fixture
def pool(dsn: str) -> Iterator[Database]:
    """The connections of a process."""
    with contextlib.closing(Database(dsn)) as opened:
        yield opened


def _patient(url: str) -> RedisRateLimiter:
    """One that a busy machine does not drive to the database."""
    return RedisRateLimiter(url, timeout_seconds=5)


class _InRealTime(RateLimiterContract):
    @pytest.fixture
    def wait(self) -> Callable[[float], None]:
        """Wait: the clock is the server's."""
        return time.sleep


class TestPostgres(_InRealTime):
    """One statement a hit."""

    @pytest.fixture
    def limiter(self, pool: Database) -> PostgresRateLimiter:
        """That of one process."""
        return PostgresRateLimiter(pool)

    @pytest.fixture
    def other_limiter(self, dsn: str) -> Iterator[PostgresRateLimiter]:
        """That of another one, with connections of its own."""
        with contextlib.closing(Database(dsn)) as opened:
            yield PostgresRateLimiter(opened)


class TestRedis(_InRealTime):
    """One script a hit."""

    @pytest.fixture
    def limiter(self, redis_url: str) -> Iterator[RedisRateLimiter]:
        """That of one process."""
        with contextlib.closing(_patient(redis_url)) as opened:
            yield opened

    @pytest.fixture
    def other_limiter(self, redis_url: str) -> Iterator[RedisRateLimiter]:
        """That of another one."""
        with contextlib.closing(_patient(redis_url)) as opened:
            yield opened


class TestValkey(_InRealTime):
    """Which runs the same script."""

    @pytest.fixture
    def limiter(self, valkey_server: RedisServer) -> Iterator[RedisRateLimiter]:
        """That of one process."""
        with contextlib.closing(_patient(valkey_server.url())) as opened:
            yield opened

    @pytest.fixture
    def other_limiter(self, valkey_server: RedisServer) -> Iterator[RedisRateLimiter]:
        """That of another one."""
        with contextlib.closing(_patient(valkey_server.url())) as opened:
            yield opened


class TestRedisBehindSentinels(_InRealTime):
    """Which name the primary."""

    @pytest.fixture
    def limiter(self, redis_sentinel: SentinelRedis) -> Iterator[RedisRateLimiter]:
        """That of one process."""
        with contextlib.closing(_patient(redis_sentinel.url())) as opened:
            yield opened

    @pytest.fixture
    def other_limiter(self, redis_sentinel: SentinelRedis) -> Iterator[RedisRateLimiter]:
        """That of another one."""
        with contextlib.closing(_patient(redis_sentinel.url())) as opened:
            yield opened


class TestRedisCluster(_InRealTime):
    """One script a counter, each at the node that has it."""

    @pytest.fixture
    def limiter(self, redis_cluster: ClusterRedis) -> Iterator[RedisRateLimiter]:
        """That of one process."""
        with contextlib.closing(_patient(redis_cluster.url())) as opened:
            yield opened

    @pytest.fixture
    def other_limiter(self, redis_cluster: ClusterRedis) -> Iterator[RedisRateLimiter]:
        """That of another one."""
        with contextlib.closing(_patient(redis_cluster.url())) as opened:
            yield opened


@pytest.mark.parametrize("garbage", ["text", "hash", "words", "infinity", "tomorrow"])
def test_garbage_in_the_place_of_a_counter_counts_as_nothing(redis_url: str, garbage: str) -> None:
    """It is replaced, and the limit holds from then on."""
    counter, other = Counter("tests:garbage", Limit(2, 60)), Counter("tests:good", Limit(5, 60))
    key = f"userservice:limit:{counter.key}"
    with (
        contextlib.closing(_patient(redis_url)) as limiter,
        redis.Redis.from_url(redis_url, socket_timeout=5) as client,
    ):
        match garbage:
            case "text":
                client.set(key, "\x00garbage")
            case "hash":
                client.hset(key, "a", "b")
            case "words":
                client.rpush(key, "a", "b", "c")
            case "infinity":
                client.rpush(key, "inf", "9e99", "nan")
            case _:
                client.rpush(key, *[int((time.time() + 86_400) * 1_000_000)] * 3)
        limiter.take_back([counter])
        waits = [limiter.hit([counter, other]) for _ in range(6)]

    assert [wait == 0.0 for wait in waits] == [True, True, False, False, False, False]
    assert all(wait <= 60 for wait in waits)


def test_without_redis_the_database_counts(pool: Database) -> None:
    """Nobody gets in without being counted, and whoever operates the service can see it."""
    metrics = InMemoryMetrics()
    counter = Counter("tests:fallback", Limit(2, 60))
    with contextlib.closing(RedisRateLimiter("redis://127.0.0.1:9/0")) as nowhere:
        with pytest.raises(UnavailableError):
            nowhere.hit([counter])
        limiter = FallbackRateLimiter(nowhere, PostgresRateLimiter(pool), metrics=metrics)

        waits = [limiter.hit([counter]) for _ in range(6)]
        limiter.take_back([counter])
        waits.append(limiter.hit([counter]))

    assert [wait == 0.0 for wait in waits] == [True, True, False, False, False, False, True]
    assert metrics.counts["rate_limiter", "fallback"] == 7


def test_counters_go_when_they_are_of_no_use(pool: Database) -> None:
    """A row is kept as long as its newest try counts."""
    limiter = PostgresRateLimiter(pool)
    limiter.hit([Counter("tests:short", Limit(1, 1)), Counter("tests:long", Limit(1, 600))])
    time.sleep(1.05)

    removed = PostgresExpiredRows(pool).remove_some(now=SystemClock().now(), limit=1_000)

    assert removed >= 1
    assert limiter.hit([Counter("tests:short", Limit(1, 1))]) == 0.0
    assert limiter.hit([Counter("tests:long", Limit(1, 600))]) > 0
