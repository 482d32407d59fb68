"""Time, ids and entropy that a test decides about, so that what it sees can be told in advance."""

from __future__ import annotations

import itertools
import random
import threading
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

NOON: Final = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
"""When tests happen unless they say otherwise."""

_MAX_SERIES: Final = (1 << 12) - 1


class FakeClock:
    """
    A :class:`~userservice_core.ports.clock.Clock` that stands still until it is told to move.

    Args:
        now: Where it stands at first, aware.
    """

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now.astimezone(UTC)

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Move on, or back, and return the new time."""
        self._now += by
        return self._now

    def set(self, now: datetime) -> None:
        """Move to *now*, aware."""
        self._now = now.astimezone(UTC)


class SequentialIds:
    """
    An :class:`~userservice_core.ports.clock.IdGenerator` that counts: valid UUIDv7, each after the one before.

    Args:
        begin_at: The time that all of them carry, aware.
        series: From 0 to 4095; generators of different series never make the same id.
    """

    def __init__(self, begin_at: datetime = NOON, *, series: int = 0) -> None:
        if not 0 <= series <= _MAX_SERIES:
            raise ValueError(f"a series is between 0 and {_MAX_SERIES}")
        milliseconds = int(begin_at.timestamp() * 1000)
        # RFC 9562 §5.7: 48 bits of time, 4 of version, 12 free, 2 of variant, 62 free.
        self._first = (milliseconds << 80) | (0x7 << 76) | (series << 64) | (0b10 << 62)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def new(self) -> UUID:
        with self._lock:
            return UUID(int=self._first + next(self._numbers))


class SeededEntropy:
    """
    An :class:`~userservice_core.ports.clock.Entropy` that says the same bytes in each run; only for testing.

    Whoever knows the seed knows every secret made of it.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - that it can be predicted is what it is for
        self._lock = threading.Lock()

    def token_bytes(self, length: int) -> bytes:
        with self._lock:
            return self._random.randbytes(length)
