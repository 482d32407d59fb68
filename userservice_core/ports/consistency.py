"""
Which copy of the data a request may read: one that holds at least what its caller has written before.

Like the deadline, that travels in a context variable: use cases and their readers need not know that there are copies.
Nothing of this is in use, and nothing costs anything, where there is one copy.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen(order=False)
class Position:
    """
    A point in the history of the data.

    Attributes:
        system_id: Of the database; its copies share it.
        timeline: Of the histories that begin where a copy took over, each has its own, with a higher number.
        offset: Bytes of the log; two of them can be compared within a timeline only.
    """

    system_id: int
    timeline: int
    offset: int

    def is_on(self, other: Position) -> bool:
        """Whether both are points of the same history."""
        return (self.system_id, self.timeline) == (other.system_id, other.timeline)

    def includes(self, other: Position) -> bool:
        """Whether everything up to *other* is in the data that has come so far."""
        return self.is_on(other) and self.offset >= other.offset


UNKNOWN_OFFSET = 2**63 - 1
"""Stands for a write whose position could not be had: no copy includes it, so the primary is read."""


@attrs.define(kw_only=True)
class Reading:
    """
    What one request may read; used by one thread at a time.

    Attributes:
        allows_replicas: Whether its reads may be served by a replica at all; its first write ends that.
        at_least: What a replica has to hold to serve it, None where a bound on its age is enough.
        written: Where the last write of the request is, None if there was none.
    """

    allows_replicas: bool = False
    at_least: Position | None = None
    written: Position | None = None

    def pin(self) -> None:
        """Read the primary from here on."""
        self.allows_replicas = False


_current: ContextVar[Reading | None] = ContextVar("userservice_reading", default=None)


def current_reading() -> Reading | None:
    """Return what the request that this thread serves may read, None outside one and where there is one copy."""
    return _current.get()


@contextmanager
def reading_as(reading: Reading) -> Iterator[None]:
    """Have the reads within the block follow *reading*."""
    token = _current.set(reading)
    try:
        yield
    finally:
        _current.reset(token)


class PositionSigner(Protocol):
    """Makes tokens of positions, which clients carry. Safe for many threads."""

    def sign(self, position: Position) -> str:
        """Return a token that only the service can make, of letters, digits, dots, dashes and underscores."""
        ...

    def verify(self, token: str) -> Position | None:
        """Return the position in a token, None if the service did not make it, or its key is gone."""
        ...


class PositionSource(Protocol):
    """Knows where the primary is. Safe for many threads."""

    def current(self) -> Position:
        """
        Ask the primary; everything that was committed before the call is included.

        Where it does not answer, the position is one that no copy is known to include.
        """
        ...


class PositionMemory(Protocol):
    """Remembers, for all processes, where somebody wrote last. Safe for many threads; best effort."""

    def remember(self, writer: str, position: Position) -> None:
        """Keep the position for as long as a replica may lack it; one that is further on is not replaced."""
        ...

    def recall(self, writer: str) -> Position | None:
        """
        Return where *writer* wrote last, None if that is too long ago to matter.

        Raises:
            UnavailableError: If the memory does not answer.
        """
        ...
