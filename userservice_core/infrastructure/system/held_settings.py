"""The settings of the database as a process follows them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

from userservice_core.errors import UserServiceError
from userservice_core.ports.context import deadline_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.domain.settings import StoredSettings

POLL_SECONDS: Final = 5.0
"""Between two reads; whoever hears of a change reads at once."""

_READ_TIMEOUT_SECONDS: Final = 2.0
_FIRST_SECONDS: Final = 0.1
"""Between two reads while nothing was read: the process is not ready, so it tries again soon."""

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
        self._load = load
        self._apply = apply
        self._background = background
        self._poll_seconds = poll_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._version: int | None = None
        self._read_at = float("-inf")
        self._is_failing = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="userservice-settings", daemon=True)

    @property
    def is_loaded(self) -> bool:
        """Whether what the database says was read and done at least once."""
        return self._version is not None

    def start(self) -> None:
        """Begin to read; returns at once."""
        if self._background:
            self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def refresh_soon(self) -> None:
        """Have the thread read at once; without one, the next use reads."""
        self._read_at = float("-inf")
        self._wake.set()

    def refresh_if_due(self) -> None:
        """Read, if there is no thread that does and the last read is old; never raises."""
        if not self._background and self._monotonic() - self._read_at >= self._poll_seconds:
            self._try_to_read(wait=not self.is_loaded)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self._try_to_read(wait=True)
            self._wake.wait(self._poll_seconds if self.is_loaded else min(self._poll_seconds, _FIRST_SECONDS))

    def _try_to_read(self, *, wait: bool) -> None:
        if not self._lock.acquire(blocking=wait):
            return
        try:
            self._read_at = self._monotonic()
            with deadline_after(_READ_TIMEOUT_SECONDS):
                stored = self._load()
            # Another one, not only a later one: a database that was restored says something else, too.
            if stored.version != self._version:
                self._apply(stored)
                self._version = stored.version
        except Exception as error:  # noqa: BLE001 - whatever it is, what was read before stays in use
            if not self._is_failing:
                self._is_failing = True
                reason = error.code if isinstance(error, UserServiceError) else repr(error)
                _log.warning("settings cannot be read", error=reason)
        else:
            if self._is_failing:
                self._is_failing = False
                _log.info("settings are read again")
        finally:
            self._lock.release()
