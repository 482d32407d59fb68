"""Time, ids and entropy: what the domain must not reach for by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class Clock(Protocol):
    """Wall-clock time, for what is stored or sent; never for measuring a duration."""

    def now(self) -> datetime:
        """Return the present, aware, in UTC, to the microsecond."""
        ...


class IdGenerator(Protocol):
    """Makes row and event ids. Safe to call from many threads."""

    def new(self) -> UUID:
        """Return a fresh UUIDv7 (RFC 9562 §5.7): later ids of one process sort after earlier ones."""
        ...


class Entropy(Protocol):
    """A cryptographically secure source of random bytes. Safe to call from many threads."""

    def token_bytes(self, length: int) -> bytes:
        """Return *length* unpredictable bytes."""
        ...
