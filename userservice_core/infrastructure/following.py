"""How a process follows what the database holds for all of them: it reads again and again, and keeps what it read."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from userservice_core.errors import UserServiceError
from userservice_core.ports.context import deadline_after

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_READ_TIMEOUT_SECONDS: Final = 2.0
_FIRST_SECONDS: Final = 0.1
"""Between two reads while nothing was read: the process is not ready, so it tries again soon."""


class Follower(Generic[T]):
    """
    Reads something every few seconds, and at once when it is told to, in a thread of its own. Safe for many threads.

    Without a thread, whoever uses what was read asks before (:meth:`read_if_older`). While it cannot be read, what was
    read last stays in use.
    """

    def __init__(
        self,
        load: Callable[[], T],
        take: Callable[[T], None],
        *,
        what: str,
        log: Any,  # noqa: ANN401 - structlog's loggers have no type
        thread_name: str,
        background: bool,
        poll_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Prepare; nothing is read yet.

        Args:
            load: Reads what is there.
            take: Told of what was read, each time, and never by two threads at once. If it raises, that counts as not
                read.
            what: For the log, in the plural.
            log: Where it is said that reading fails, and that it succeeds again.
            thread_name: Of the thread.
            background: Whether :meth:`start` begins a thread that reads.
            poll_seconds: Between two reads of the thread.
            monotonic: The clock that ages are measured with.
        """
        self._load = load
        self._take = take
        self._what = what
        self._log = log
        self._background = background
        self._poll_seconds = poll_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._tried_at = float("-inf")
        self._is_failing = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=thread_name, daemon=True)
        self.is_loaded = False
        """Whether it was read and taken at least once."""

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
        self._tried_at = float("-inf")
        self._wake.set()

    def was_tried_within(self, seconds: float) -> bool:
        """Whether the last try to read began less than so long ago."""
        return self._monotonic() - self._tried_at < seconds

    def read_if_older(self, seconds: float) -> None:
        """Read, if there is no thread that does and the last try is so long ago; never raises."""
        if not self._background and not self.was_tried_within(seconds):
            self.read(wait=not self.is_loaded)

    def read(self, *, wait: bool) -> bool:
        """
        Read now, and tell whether that succeeded; never raises.

        Args:
            wait: Whether to wait for a read that is under way, and read after it; otherwise nothing is done then.
        """
        if not self._lock.acquire(blocking=wait):
            return False
        try:
            self._tried_at = self._monotonic()
            with deadline_after(_READ_TIMEOUT_SECONDS):
                found = self._load()
            self._take(found)
        except Exception as error:  # noqa: BLE001 - whatever it is, what was read before stays in use
            if not self._is_failing:
                self._is_failing = True
                reason = error.code if isinstance(error, UserServiceError) else repr(error)
                self._log.warning(f"{self._what} cannot be read", error=reason)
            return False
        else:
            self.is_loaded = True
            if self._is_failing:
                self._is_failing = False
                self._log.info(f"{self._what} are read again")
            return True
        finally:
            self._lock.release()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self.read(wait=True)
            self._wake.wait(self._poll_seconds if self.is_loaded else min(self._poll_seconds, _FIRST_SECONDS))
