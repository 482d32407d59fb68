"""The contract of the cache with Redis behind the memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.testing.contracts.cache import CacheContract

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestDogpileCache(CacheContract):
    """Memory in front of a real Redis."""

    @pytest.fixture
    def cache(self, redis_url: str) -> Iterator[DogpileCache]:
        """An empty one."""
        with contextlib.closing(DogpileCache(max_entries=100, redis_url=redis_url, metrics=InMemoryMetrics())) as cache:
            yield cache
