"""A backend for dogpile.cache that is bounded and fenced; the one it comes with in memory is a dict without end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
from cachetools import Cache, LRUCache
from dogpile.cache.api import NO_VALUE, CacheBackend, CachedValue, CacheMutex

from userservice_core.errors import DeadlineExceededError
from userservice_core.infrastructure.caching.fence import NamespaceFence
from userservice_core.ports.context import current_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dogpile.cache.api import BackendFormatted, BackendSetType

NAME: Final = "userservice.lru"
LOCK_TIMEOUT_SECONDS: Final = 5.0
"""How long whoever loads a value can hold up another process that wants it."""


@attrs.frozen
class Entry:
    """
    A value as the backend keeps it.

    Attributes:
        generation: Of the namespace when the load began.
        expires_at: Point of the monotonic clock after which it is not served.
    """

    namespace: str
    key: str
    generation: int
    version: int
    expires_at: float
    value: Any = attrs.field(repr=False)


class _Entries(LRUCache[str, CachedValue]):
    """Finds an entry also without noting that it was used, which is safe without a lock."""

    def find(self, key: str) -> CachedValue | None:
        try:
            return Cache.__getitem__(self, key)
        except KeyError:
            return None


class LruBackend(CacheBackend):
    """
    At most so many entries of all namespaces together; past that, the least recently used go.

    Keys are made by :meth:`key_of`. What the fence of a namespace does not admit is dropped in silence: dogpile still
    hands it to the caller who loaded it.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._entries = _Entries(arguments["max_entries"])
        self._monotonic: Callable[[], float] = arguments.get("monotonic", time.monotonic)
        self._lock_seconds: float = arguments.get("lock_seconds", LOCK_TIMEOUT_SECONDS)
        self._fences: dict[str, NamespaceFence] = {}
        self._forgot_at = float("-inf")
        self._lock = threading.Lock()

    @staticmethod
    def key_of(namespace: str, key: str) -> str:
        """Return the key of a value in this backend."""
        return f"{namespace}\0{key}"

    # --- as dogpile sees it -----------------------------------------------------------------------------------------

    def get(self, key: str) -> BackendFormatted:
        """Return the entry in force, or NO_VALUE."""
        found = self._entries.find(key)
        if found is None:
            return NO_VALUE
        if self._monotonic() >= found.payload.expires_at:
            return NO_VALUE
        self._note_use(key)
        return found

    def get_multi(self, keys: Iterable[str]) -> Sequence[BackendFormatted]:
        """Return what :meth:`get` does, for each key."""
        return [self.get(key) for key in keys]

    def set(self, key: str, value: BackendSetType) -> None:
        """Keep an entry, if its fence admits it."""
        assert isinstance(value, CachedValue)  # noqa: S101 - the region has no serializer, so nothing else comes here
        entry: Entry = value.payload
        with self._lock:
            fence = self._fences[entry.namespace]
            if entry.generation == fence.generation and fence.admits(entry.key, entry.version, now=self._monotonic()):
                self._entries[key] = value

    def set_multi(self, mapping: Mapping[str, BackendSetType]) -> None:
        """Keep what :meth:`set` keeps, of each."""
        for key, value in mapping.items():
            self.set(key, value)

    def delete(self, key: str) -> None:
        """Drop an entry."""
        with self._lock:
            self._entries.pop(key, None)

    def delete_multi(self, keys: Iterable[str]) -> None:
        """Drop entries."""
        for key in keys:
            self.delete(key)

    def get_mutex(self, key: str) -> CacheMutex:
        """Return the lock of one key; dogpile asks once for each key in use, and shares it among the threads."""
        del key
        # Who loads may first have waited for another process, and those behind them are not to lose patience together.
        return PatientMutex(2 * self._lock_seconds)

    # --- as the cache sees it ---------------------------------------------------------------------------------------

    def require_namespace(self, namespace: str, *, longest_life_seconds: float) -> None:
        """Put up the fence of a namespace that is used for the first time."""
        if namespace in self._fences:
            return
        with self._lock:
            if namespace not in self._fences:
                fence = NamespaceFence(longest_life_seconds=longest_life_seconds)
                fence.forget_all(now=self._forgot_at)
                self._fences[namespace] = fence

    def generation_of(self, namespace: str) -> int:
        """Return the generation that a load beginning now belongs to."""
        return self._fences[namespace].generation

    def admits(self, entry: Entry) -> bool:
        """Tell whether :meth:`set` would keep the entry now."""
        with self._lock:
            fence = self._fences[entry.namespace]
            is_fresh = fence.admits(entry.key, entry.version, now=self._monotonic())
            return is_fresh and entry.generation == fence.generation

    def trusts_shared(self, namespace: str) -> bool:
        """Tell whether values that other processes have stored may be used."""
        return self._fences[namespace].trusts_shared(now=self._monotonic())

    def invalidate(self, namespace: str, key: str, version: int) -> bool:
        """Drop the value of *key* if it is below *version*, and keep none such from now on; False if told before."""
        with self._lock:
            if not self._fences[namespace].invalidate(key, version, now=self._monotonic()):
                return False
            found = self._entries.find(self.key_of(namespace, key))
            if found is not None and found.payload.version < version:
                del self._entries[self.key_of(namespace, key)]
            return True

    def forget_all(self) -> None:
        """Drop everything, and whatever is being loaded now as soon as it comes."""
        with self._lock:
            self._forgot_at = self._monotonic()
            for fence in self._fences.values():
                fence.forget_all(now=self._forgot_at)
            self._entries.clear()

    def _note_use(self, key: str) -> None:
        """Move an entry to the end of the queue to be dropped; left undone where that would mean to wait."""
        if self._lock.acquire(blocking=False):
            try:
                self._entries.get(key)
            finally:
                self._lock.release()


class PatientMutex(CacheMutex):
    """
    Lets one thread load a key while others wait: no longer than their call may last, and at most ten seconds.

    Whoever has waited that long loads on their own, since the one at work seems to be stuck; dogpile does not look at
    what :meth:`acquire` returns, so that thread's :meth:`release` must not free what another one holds.
    """

    def __init__(self, timeout_seconds: float = 2 * LOCK_TIMEOUT_SECONDS) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._timeout_seconds = timeout_seconds

    def acquire(self, wait: bool = True) -> bool:  # noqa: FBT001, FBT002 - dogpile's signature
        """Take the lock; False where it was not had in time."""
        if wait:
            left = current_call().remaining_seconds()
            is_bounded_by_call = left is not None and left < self._timeout_seconds
            seconds = left if left is not None and is_bounded_by_call else self._timeout_seconds
            got = self._lock.acquire(timeout=seconds)
            if not got and is_bounded_by_call:
                raise DeadlineExceededError
        else:
            got = self._lock.acquire(blocking=False)
        if got:
            self._owner = threading.get_ident()
        return got

    def release(self) -> None:
        """Give the lock back, if this thread holds it."""
        if self._owner == threading.get_ident():
            self._owner = None
            self._lock.release()

    def locked(self) -> bool:
        """Tell whether a thread loads."""
        return self._lock.locked()
