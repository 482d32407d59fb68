"""What failed is left alone for a while, longer each time, so that it costs little and holds nothing else up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")


@attrs.frozen
class _Pause:
    seconds: float
    ends_at: float


class Pauses(Generic[K]):
    """The pauses of things of one kind; not for several threads."""

    def __init__(
        self, *, first_seconds: float, longest_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Begin without any.

        Args:
            first_seconds: After the first failure; each further one doubles it.
            longest_seconds: At most.
            monotonic: Tells the time.
        """
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._monotonic = monotonic
        self._pauses: dict[K, _Pause] = {}

    def __bool__(self) -> bool:
        """Whether anything is remembered to have failed."""
        return bool(self._pauses)

    def failed(self, what: K) -> float:
        """Begin the next pause of *what*, and return its length in seconds."""
        earlier = self._pauses.get(what)
        seconds = self._first_seconds if earlier is None else min(earlier.seconds * 2, self._longest_seconds)
        self._pauses[what] = _Pause(seconds, self._monotonic() + seconds)
        return seconds

    def passed(self, what: K) -> None:
        """Forget that *what* ever failed."""
        self._pauses.pop(what, None)

    def current(self) -> frozenset[K]:
        """Return what is to be left alone now; what nobody has tried for long after its pause is forgotten."""
        now = self._monotonic()
        for what in [what for what, pause in self._pauses.items() if pause.ends_at + self._longest_seconds < now]:
            del self._pauses[what]
        return frozenset(what for what, pause in self._pauses.items() if now < pause.ends_at)
