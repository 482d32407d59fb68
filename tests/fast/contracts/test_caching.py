"""The contract of the cache with memory alone."""

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
    """Without a shared layer."""

    @pytest.fixture
    def cache(self) -> Iterator[DogpileCache]:
        """An empty one."""
        with contextlib.closing(DogpileCache(max_entries=100, redis_url=None, metrics=InMemoryMetrics())) as cache:
            yield cache
