"""Evening out by the recent past."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from userservice_core.ports.context import require_patience

if TYPE_CHECKING:
    from collections.abc import Callable

_REMEMBERED: Final = 100
_NEARLY_ALL: Final = 0.95


class RecentPacer:
    """
    Implements :class:`~userservice_core.ports.pacing.Pacer`: waits for the 95th percentile of the last hundred.

    What takes longer than that is not hidden, so a difference that shows in every case shows in one of twenty at most.
    """

    def __init__(
        self,
        *,
        longest_wait_seconds: float = 0.005,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._longest_wait_seconds = longest_wait_seconds
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._recent: dict[str, deque[float]] = {}

    def start(self) -> float:
        return self._monotonic()

    def hold(self, what: str, *, since: float) -> None:
        require_patience()
        taken = self._monotonic() - since
        wait = min(self._usual(what, taken) - taken, self._longest_wait_seconds)
        if wait > 0:
            self._sleep(wait)

    def _usual(self, what: str, taken: float) -> float:
        """Remember how long it took, and return how long nearly all took."""
        with self._lock:
            recent = self._recent.setdefault(what, deque(maxlen=_REMEMBERED))
            recent.append(taken)
            return sorted(recent)[int(_NEARLY_ALL * (len(recent) - 1))]
