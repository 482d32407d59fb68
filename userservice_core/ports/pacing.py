"""Taking as long for one thing as for another, so that a stopwatch tells nothing."""

from __future__ import annotations

from typing import Protocol


class Pacer(Protocol):
    """Evens out how long things take that must look alike. Safe for many threads."""

    def start(self) -> float:
        """Return the present for :meth:`hold`, in seconds of a clock that only goes forward."""
        ...

    def hold(self, what: str, *, since: float) -> None:
        """
        Return when as long has passed since the start as nearly all recent ones of this kind took.

        It hides small differences, such as a row that was written or not, and not those of different work. The wait is
        bounded to a few milliseconds, so that an overloaded process does not slow itself down further.

        Args:
            what: The kind; one of a few fixed names.
            since: What :meth:`start` returned.
        """
        ...
