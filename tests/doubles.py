"""What tests put in the place of the machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
