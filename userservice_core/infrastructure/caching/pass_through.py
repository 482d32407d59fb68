"""No cache, for processes that could not hear what they have to forget."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.ports.cache import Namespace, Versioned

V = TypeVar("V")


class PassThroughCache:
    """
    Stands where a :class:`~userservice_core.ports.cache.Cache` does, and keeps nothing: each answer is a load.

    A platform that freezes a process between requests leaves it no thread to read invalidations with.
    """

    def get(self, namespace: Namespace[V], key: str, load: Callable[[], Versioned[V]]) -> V:
        del namespace, key
        return load().value

    def peek(self, namespace: Namespace[V], key: str) -> V | None:
        del namespace, key
        return None

    def invalidate(self, namespace: Namespace[V], key: str, version: int) -> None:
        del namespace, key, version

    def clear(self) -> None:
        """There is nothing to forget."""
