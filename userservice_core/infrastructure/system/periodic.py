"""Work that is done again and again, beside the work that a process is there for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

_log = structlog.get_logger("userservice.periodic")


def run_periodically(
    work: Callable[[], object], *, name: str, stop: threading.Event, first_seconds: float, interval_seconds: float
) -> None:
    """
    Do *work* until *stop* is set; what fails is logged, and tried again at its next turn.

    Args:
        work: Ends soon once *stop* is set.
        name: For the log.
        stop: Ends the waiting, too.
        first_seconds: Before the first turn.
        interval_seconds: Between the end of a turn and the beginning of the next.
    """
    seconds = first_seconds
    while not stop.wait(seconds):
        try:
            _log.info("done", work=name, result=str(work()))
        except Exception:  # noqa: BLE001 - whatever it is, the next turn may succeed
            _log.warning("failed", work=name, exc_info=True)
        seconds = interval_seconds
