"""
The end of patience with a server that does not answer.

A statement is cancelled at its call's deadline. A server that does not react to that either, since it is frozen or gone
without a word, loses the connection a moment later: the socket is shut from outside, which wakes whoever reads from it.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE_SECONDS: Final = 0.2
"""From the cancellation to the end of the connection."""

# Nobody is waited for while there are no deadlines; the thread looks up from time to time all the same.
_LONGEST_SLEEP_SECONDS: Final = 60.0


class Interruptible(Protocol):
    """A connection that another thread may interrupt."""

    def cancel_statement(self, *, timeout_seconds: float) -> None:
        """Ask the server to cancel what it is doing; may fail."""
        ...

    def shut_socket(self) -> None:
        """End the connection under the hands of whoever uses it."""
        ...


class Guard:
    """The watch over one use of a connection; `fired` tells whether the deadline has passed."""

    __slots__ = ("connection", "due_at", "fired")

    def __init__(self, connection: Interruptible, due_at: float) -> None:
        self.connection = connection
        self.due_at = due_at
        self.fired = False


class Watchdog:
    """
    One thread that watches all connections of a pool.

    It is told of a deadline only when that comes before the one it sleeps for, so watching costs no switch of threads:
    deadlines lie seconds ahead, and most statements have ended long before the thread looks.
    """

    def __init__(self, *, changed: threading.Condition | None = None) -> None:
        """
        Watch nothing yet.

        Args:
            changed: What the thread sleeps on; tests count its signals.
        """
        self._changed = threading.Condition(threading.Lock()) if changed is None else changed
        self._guards: dict[int, Guard] = {}
        self._wakes_at = -math.inf
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def watch(self, connection: Interruptible, due_at: float) -> Guard:
        """
        Begin to watch *connection*.

        Args:
            due_at: The deadline as a point of the monotonic clock.
        """
        guard = Guard(connection, due_at)
        with self._changed:
            self._guards[id(guard)] = guard
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="userservice-db-watchdog", daemon=True)
                self._thread.start()
            elif due_at < self._wakes_at:
                self._wakes_at = due_at
                self._changed.notify()
        return guard

    def release(self, guard: Guard) -> None:
        """Stop watching; from now on the connection is left alone, though a cancellation may be on its way."""
        with self._changed:
            self._guards.pop(id(guard), None)

    def interrupt_all(self) -> None:
        """End all connections that are watched now, as if their deadlines had long passed."""
        with self._changed:
            for guard in self._guards.values():
                guard.fired = True
                guard.due_at = math.inf
                guard.connection.shut_socket()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._is_closed:
                now = time.monotonic()
                for guard in [guard for guard in self._guards.values() if guard.due_at <= now]:
                    _interrupt(guard, now)
                # What it was woken for may have ended already. It sleeps for that all the same: looking once in vain
                # costs less than to be woken again by the next one.
                asked_for = self._wakes_at if self._wakes_at > now else math.inf
                self._wakes_at = min((guard.due_at for guard in self._guards.values()), default=asked_for)
                self._changed.wait(min(self._wakes_at - now, _LONGEST_SLEEP_SECONDS))


def _interrupt(guard: Guard, now: float) -> None:
    """Take the next step against what *guard* watches; its owner cannot let go meanwhile."""
    if guard.fired:
        guard.connection.shut_socket()
        guard.due_at = math.inf
    else:
        guard.fired = True
        guard.due_at = now + GRACE_SECONDS
        # Asking to cancel takes a connection of its own, which may hang as well.
        _in_background(lambda: guard.connection.cancel_statement(timeout_seconds=GRACE_SECONDS))


def _in_background(action: Callable[[], None]) -> None:
    def run() -> None:
        # Whatever comes of it, the socket is shut next.
        with contextlib.suppress(Exception):
            action()

    threading.Thread(target=run, name="userservice-db-cancel", daemon=True).start()
