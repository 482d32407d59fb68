"""The settings of the database as a process follows them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from userservice_core.infrastructure.following import Follower

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.domain.settings import StoredSettings

POLL_SECONDS: Final = 5.0
"""Between two reads; whoever hears of a change reads at once."""

_log = structlog.get_logger("userservice.settings")


class HeldSettings:
    """
    Has a process do by what the database says. Safe for many threads.

    With a thread of its own it reads every few seconds, and at once when it is told of a change. Without, it reads
    before use when the last read is some seconds old. While the database is away, what was read last stays in use.
    """

    def __init__(
        self,
        load: Callable[[], StoredSettings],
        apply: Callable[[StoredSettings], None],
        *,
        background: bool,
        poll_seconds: float = POLL_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Prepare; nothing is read yet.

        Args:
            load: Reads what is there.
            apply: Told of what was read where its version is another than before; never by two threads at once. If it
                raises, what counted before still does, and the next read tells it again.
            background: Whether :meth:`start` begins a thread that reads.
            poll_seconds: Between two reads.
            monotonic: The clock that ages are measured with.
        """
        self._apply = apply
        self._poll_seconds = poll_seconds
        self._version: int | None = None
        self._follower = Follower(
            load,
            self._take,
            what="settings",
            log=_log,
            thread_name="userservice-settings",
            background=background,
            poll_seconds=poll_seconds,
            monotonic=monotonic,
        )

    @property
    def is_loaded(self) -> bool:
        """Whether what the database says was read and done at least once."""
        return self._follower.is_loaded

    def start(self) -> None:
        """Begin to read; returns at once."""
        self._follower.start()

    def close(self) -> None:
        """Stop reading."""
        self._follower.close()

    def refresh_soon(self) -> None:
        """Have the thread read at once; without one, the next use reads."""
        self._follower.refresh_soon()

    def refresh_if_due(self) -> None:
        """Read, if there is no thread that does and the last read is old; never raises."""
        self._follower.read_if_older(self._poll_seconds)

    def _take(self, stored: StoredSettings) -> None:
        # Another one, not only a later one: a database that was restored says something else, too.
        if stored.version != self._version:
            self._apply(stored)
            self._version = stored.version
