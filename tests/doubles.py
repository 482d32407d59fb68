"""Doubles of ports that tests drive or read; each is complete."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

NOON = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


class SetClock:
    """A clock that stands still until it is set."""

    def __init__(self, now: datetime = NOON) -> None:
        self.at = now

    def now(self) -> datetime:
        """Return the time it is set to."""
        return self.at

    def advance(self, seconds: float) -> None:
        """Move on by *seconds*, or back."""
        self.at += timedelta(seconds=seconds)


class RecordingMetrics:
    """Remembers what was counted, as (what, outcome)."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, str]] = []
        self.levels: dict[str, float] = {}

    def request_began(self, operation: str) -> Callable[[int], None]:
        """Count the status under the operation."""
        return lambda status: self.counted.append((operation, str(status)))

    def timing(self, what: str) -> AbstractContextManager[None]:
        """Count the block."""
        self.counted.append((what, "timed"))
        return nullcontext()

    def count(self, what: str, *, outcome: str = "ok", times: int = 1) -> None:
        """Count it."""
        self.counted += [(what, outcome)] * times

    def gauge(self, what: str, value: float) -> None:
        """Remember the last value."""
        self.levels[what] = value

    def render(self) -> tuple[bytes, str]:
        """Return nothing: it is read through its attributes."""
        return b"", "text/plain"
