"""The cache: dogpile's region over a bounded memory of this process, in front of Redis where there is one."""

from __future__ import annotations

import itertools
import random
import time
from typing import TYPE_CHECKING, Final, TypeVar

from dogpile.cache import CacheRegion, register_backend
from dogpile.cache.api import CachedValue

from userservice_core.infrastructure.caching import lru_backend
from userservice_core.infrastructure.caching.lru_backend import LOCK_TIMEOUT_SECONDS, Entry, LruBackend
from userservice_core.infrastructure.caching.redis_client import TIMEOUT_SECONDS
from userservice_core.infrastructure.caching.redis_values import RedisValues, SharedValue
from userservice_core.ports.context import require_patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.ports.cache import Codec, Namespace, Versioned
    from userservice_core.ports.metrics import Metrics

V = TypeVar("V")

_JITTER: Final = 0.1
HITS_A_COUNT: Final = 100
"""Hits are counted by so many: a hit takes a microsecond, and so does counting it."""

register_backend(lru_backend.NAME, lru_backend.__name__, LruBackend.__name__)  # type: ignore[no-untyped-call]


class DogpileCache:
    """
    Implements :class:`~userservice_core.ports.cache.Cache`.

    A value lives in this process's memory and, with *redis_url*, in Redis for the other processes. How long it lives is
    decided once, when it is loaded, so the two layers do not add up. dogpile lets one thread load a key while the
    others wait; in front of Redis, a lock there does the same among processes. What may be kept at all is decided by
    :mod:`~userservice_core.infrastructure.caching.fence`.

    Args:
        max_entries: In memory, of all namespaces together; the least recently used go first.
        redis_url: Of the shared layer, a :class:`~userservice_core.ports.cache_address.CacheAddress`; None for none.
        timeout_seconds: Of each exchange with the shared layer.
        lock_seconds: How long whoever loads a value can hold up others that want it.
        monotonic: The clock by which values expire, in seconds.
    """

    name = "cache"

    def __init__(
        self,
        *,
        max_entries: int,
        redis_url: str | None,
        metrics: Metrics,
        timeout_seconds: float = TIMEOUT_SECONDS,
        lock_seconds: float = LOCK_TIMEOUT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._monotonic = monotonic
        self._shared = (
            None
            if redis_url is None
            else RedisValues(redis_url, metrics=metrics, timeout_seconds=timeout_seconds, lock_seconds=lock_seconds)
        )
        self._region = CacheRegion().configure(
            lru_backend.NAME,
            arguments={"max_entries": max_entries, "monotonic": monotonic, "lock_seconds": lock_seconds},
        )
        self._hits: dict[str, itertools.count[int]] = {}
        self._memory: LruBackend = self._region.actual_backend
        self._random = random.SystemRandom()

    def get(self, namespace: Namespace[V], key: str, load: Callable[[], Versioned[V]]) -> V:
        name = namespace.name
        hits = self._hits.get(name) or self._require(namespace)
        local_key = LruBackend.key_of(name, key)
        found = self._memory.get(local_key)
        if isinstance(found, CachedValue):
            entry: Entry = found.payload
            # Counts without a lock, and loses none.
            if not next(hits) % HITS_A_COUNT:
                self._metrics.count("cache_hit", outcome=name, times=HITS_A_COUNT)
        else:
            require_patience()
            entry = self._region.get_or_create(local_key, lambda: self._fill(namespace, key, load))
        value: V = entry.value
        return value

    def peek(self, namespace: Namespace[V], key: str) -> V | None:
        found = self._memory.get(LruBackend.key_of(namespace.name, key))
        if not isinstance(found, CachedValue):
            return None
        value: V = found.payload.value
        return value

    def invalidate(self, namespace: Namespace[V], key: str, version: int) -> None:
        self._require(namespace)
        is_news = self._memory.invalidate(namespace.name, key, version)
        if is_news and self._shared is not None and namespace.codec is not None:
            self._shared.invalidate(namespace.name, key, version, life_seconds=namespace.ttl_seconds)

    def clear(self) -> None:
        self._memory.forget_all()

    def ping(self) -> None:
        """
        Ask the shared layer for an answer; there is nothing to ask without one.

        Raises:
            Exception: If it gives none.
        """
        if self._shared is not None:
            self._shared.ping()

    def close(self) -> None:
        """Close the connections to the shared layer."""
        if self._shared is not None:
            self._shared.close()

    def _require(self, namespace: Namespace[V]) -> itertools.count[int]:
        """Have a namespace be known, and return what counts its hits."""
        self._memory.require_namespace(namespace.name, longest_life_seconds=namespace.ttl_seconds)
        return self._hits.setdefault(namespace.name, itertools.count(1))

    # --- misses -----------------------------------------------------------------------------------------------------

    def _fill(self, namespace: Namespace[V], key: str, load: Callable[[], Versioned[V]]) -> Entry:
        """Get a value that memory does not hold; one thread of the process at a time for each key."""
        shared, codec = self._shared, namespace.codec
        if shared is None or codec is None:
            return self._load(namespace, key, load)
        found = self._find_shared(shared, namespace, codec, key)
        if found is not None:
            return found
        with shared.loading(namespace.name, key):
            # Whoever held the lock before has probably stored what is looked for.
            found = self._find_shared(shared, namespace, codec, key)
            return found if found is not None else self._load_and_share(shared, namespace, codec, key, load)

    def _load(self, namespace: Namespace[V], key: str, load: Callable[[], Versioned[V]]) -> Entry:
        # Both are taken before the load: what it reads is as old as its beginning.
        generation = self._memory.generation_of(namespace.name)
        expires_at = self._monotonic() + namespace.ttl_seconds * (1 - _JITTER * self._random.random())
        loaded = load()
        self._metrics.count("cache_load", outcome=namespace.name)
        return Entry(namespace.name, key, generation, loaded.version, expires_at, loaded.value)

    def _load_and_share(
        self, shared: RedisValues, namespace: Namespace[V], codec: Codec[V], key: str, load: Callable[[], Versioned[V]]
    ) -> Entry:
        entry = self._load(namespace, key, load)
        if self._memory.admits(entry):
            seconds_left = entry.expires_at - self._monotonic()
            shared.store(namespace.name, key, SharedValue(entry.version, seconds_left, codec.encode(entry.value)))
        return entry

    def _find_shared(self, shared: RedisValues, namespace: Namespace[V], codec: Codec[V], key: str) -> Entry | None:
        if not self._memory.trusts_shared(namespace.name):
            return None
        generation = self._memory.generation_of(namespace.name)
        now = self._monotonic()
        found = shared.find(namespace.name, key)
        if found is None:
            return None
        try:
            value = codec.decode(found.payload)
        except ValueError:
            self._metrics.count("shared_cache", outcome="garbage")
            return None
        expires_at = now + min(found.seconds_left, namespace.ttl_seconds)
        entry = Entry(namespace.name, key, generation, found.version, expires_at, value)
        return entry if self._memory.admits(entry) else None
