"""The cache over Redis and Valkey, however they stand together, keeps what the port promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.testing.contracts.cache import CacheContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.redis import ClusterRedis, RedisServer, SentinelRedis


def _cache(url: str) -> Iterator[DogpileCache]:
    """One with room for a hundred values; what it shares is under names that no other test has."""
    cache = DogpileCache(max_entries=100, redis_url=url, metrics=InMemoryMetrics(), timeout_seconds=5)
    yield cache
    cache.close()


class TestDogpileCacheOverRedis(CacheContract):
    """With a shared layer."""

    @pytest.fixture
    def cache(self, redis_url: str) -> Iterator[DogpileCache]:
        """On one server."""
        yield from _cache(redis_url)


class TestDogpileCacheOverValkey(CacheContract):
    """Which speaks the same."""

    @pytest.fixture
    def cache(self, valkey_server: RedisServer) -> Iterator[DogpileCache]:
        """On one server, by the scheme that has its name."""
        yield from _cache(valkey_server.url().replace("redis://", "valkey://"))


class TestDogpileCacheBehindSentinels(CacheContract):
    """Which name the primary."""

    @pytest.fixture
    def cache(self, redis_sentinel: SentinelRedis) -> Iterator[DogpileCache]:
        """On two servers."""
        yield from _cache(redis_sentinel.url())


class TestDogpileCacheOverACluster(CacheContract):
    """Whose nodes have each a part of the keys."""

    @pytest.fixture
    def cache(self, redis_cluster: ClusterRedis) -> Iterator[DogpileCache]:
        """On three servers."""
        yield from _cache(redis_cluster.url())
