"""Caching what is read often and changes seldom, without ever keeping what an invalidation has outdated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs

V = TypeVar("V")


@attrs.frozen
class Versioned(Generic[V]):
    """A value and the version of the data it was read with, from the primary and in the data's own statement."""

    version: int
    value: V


@attrs.frozen
class Codec(Generic[V]):
    """
    How a value is written into a shared cache.

    Attributes:
        encode: Turns a value into bytes.
        decode: The reverse; raises ValueError on anything it does not understand, which counts as a miss.
    """

    encode: Callable[[V], bytes]
    decode: Callable[[bytes], V]


@attrs.frozen(kw_only=True)
class Namespace(Generic[V]):
    """
    One kind of cached value.

    Attributes:
        name: Unique among the namespaces of the service.
        ttl_seconds: The backstop: no value is served for longer, less up to a tenth by random, however often it is
            read.
        codec: How values are written into a shared cache; None for what must not leave the memory of a process.
    """

    name: str
    ttl_seconds: float
    codec: Codec[V] | None


class Cache(Protocol):
    """
    Values by namespace and key, each fenced by a version.

    An invalidation is never overtaken: a load that began before it and finishes after it does not store what it read.
    A cache that is down, slow, flushed or holds garbage costs loads, never a wrong answer. Safe for many threads.
    """

    def get(self, namespace: Namespace[V], key: str, load: Callable[[], Versioned[V]]) -> V:
        """
        Return the cached value, or what *load* returns.

        Concurrent misses of one key in one process share one load; with a shared cache, in all processes.

        Raises:
            Exception: Whatever *load* raises; nothing is stored then.
        """
        ...

    def peek(self, namespace: Namespace[V], key: str) -> V | None:
        """Return the value if this process's memory holds it, else None; no load, no lock, no socket."""
        ...

    def invalidate(self, namespace: Namespace[V], key: str, version: int) -> None:
        """Refuse from now on every value of *key* with a version below *version*, stored or still being loaded."""
        ...

    def clear(self) -> None:
        """Forget every value in this process's memory; for when it is not known what was invalidated."""
        ...
