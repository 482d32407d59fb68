"""The cache of one process keeps what the port promises."""

from __future__ import annotations

import pytest

from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.testing.contracts.cache import CacheContract


class TestDogpileCache(CacheContract):
    """Without a shared layer."""

    @pytest.fixture
    def cache(self) -> DogpileCache:
        """One with room for a hundred values."""
        return DogpileCache(max_entries=100, redis_url=None, metrics=InMemoryMetrics())
