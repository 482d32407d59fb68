"""A cache in a dict."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from userservice_core.ports.cache import Versioned
from userservice_core.ports.context import require_patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.ports.cache import Namespace

V = TypeVar("V")


@attrs.define
class _Entry:
    """One key: its value with an end, the least version it may have, and the lock that its loads share."""

    value: Versioned[Any] | None = None
    expires_at: float = 0.0
    least_version: int = -1
    loading: threading.Lock = attrs.field(factory=threading.Lock)


class InMemoryCache:
    """A :class:`~userservice_core.ports.cache.Cache` without a bound, of one process."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._generation = 0

    def get(self, namespace: Namespace[V], key: str, load: Callable[[], Versioned[V]]) -> V:
        entry = self._entry(namespace.name, key)
        found = self._fresh(entry)
        if found is not None:
            value: V = found.value
            return value
        require_patience()
        with entry.loading:
            found = self._fresh(entry)
            if found is not None:
                return found.value  # type: ignore[no-any-return]
            # Both before the load: what it reads is as old as its beginning.
            generation, expires_at = self._generation, self._monotonic() + namespace.ttl_seconds
            loaded = load()
            self._keep(entry, loaded, generation=generation, expires_at=expires_at)
            return loaded.value

    def peek(self, namespace: Namespace[V], key: str) -> V | None:
        entry = self._entries.get((namespace.name, key))
        found = None if entry is None else self._fresh(entry)
        return None if found is None else found.value

    def invalidate(self, namespace: Namespace[V], key: str, version: int) -> None:
        entry = self._entry(namespace.name, key)
        with self._lock:
            self._generation += 1
            entry.least_version = max(entry.least_version, version)
            if entry.value is not None and entry.value.version < entry.least_version:
                entry.value = None

    def clear(self) -> None:
        with self._lock:
            self._generation += 1
            for entry in self._entries.values():
                entry.value = None

    def _entry(self, namespace: str, key: str) -> _Entry:
        with self._lock:
            return self._entries.setdefault((namespace, key), _Entry())

    def _fresh(self, entry: _Entry) -> Versioned[Any] | None:
        with self._lock:
            return entry.value if self._monotonic() < entry.expires_at else None

    def _keep(self, entry: _Entry, loaded: Versioned[V], *, generation: int, expires_at: float) -> None:
        with self._lock:
            if generation == self._generation and loaded.version >= entry.least_version:
                entry.value, entry.expires_at = loaded, expires_at
