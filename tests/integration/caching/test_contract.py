"""The cache over Redis keeps what the port promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.testing.contracts.cache import CacheContract

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestDogpileCacheOverRedis(CacheContract):
    """With a shared layer."""

    @pytest.fixture
    def cache(self, redis_url: str) -> Iterator[DogpileCache]:
        """One with room for a hundred values."""
        cache = DogpileCache(max_entries=100, redis_url=redis_url, metrics=InMemoryMetrics())
        yield cache
        cache.close()
