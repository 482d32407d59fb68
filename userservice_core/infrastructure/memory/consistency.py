"""Positions of a history in memory, which moves on when it is told to."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import attrs

from userservice_core.ports.consistency import Position

if TYPE_CHECKING:
    from collections.abc import Callable

_BEGINNING = Position(1, 1, 0)


class InMemoryPositionSource:
    """A `ports.consistency.PositionSource` of whoever calls :meth:`advance` for each commit."""

    def __init__(self) -> None:
        self._position = _BEGINNING
        self._lock = threading.Lock()

    def current(self) -> Position:
        return self._position

    def advance(self) -> Position:
        """Move on, and return where it is then."""
        with self._lock:
            self._position = attrs.evolve(self._position, offset=self._position.offset + 1)
            return self._position


class InMemoryPositions:
    """A `ports.consistency.PositionMemory` of one process."""

    def __init__(self, *, life_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._life_seconds = life_seconds
        self._monotonic = monotonic
        self._held: dict[str, tuple[float, Position]] = {}
        self._lock = threading.Lock()

    def remember(self, writer: str, position: Position) -> None:
        now = self._monotonic()
        with self._lock:
            self._held = {other: held for other, held in self._held.items() if held[0] > now}
            _, held_position = self._held.get(writer, (0.0, position))
            self._held[writer] = (now + self._life_seconds, _further(held_position, position))

    def recall(self, writer: str) -> Position | None:
        ends_at, position = self._held.get(writer, (0.0, _BEGINNING))
        return position if ends_at > self._monotonic() else None


def _further(one: Position, other: Position) -> Position:
    """Return the one that is further on; the other if they are of different systems."""
    is_comparable = one.system_id == other.system_id
    return max(one, other, key=lambda each: (each.timeline, each.offset)) if is_comparable else other
