"""What the world agrees on: time zones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection


class TimeZones(Protocol):
    """The database of time zones. Safe to use from many threads."""

    def names(self) -> Collection[str]:
        """Return every name of a zone in the IANA database, old names included; membership is told at once."""
        ...
