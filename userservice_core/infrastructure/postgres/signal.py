"""
Waking other processes through NOTIFY and LISTEN.

Both need the server itself, not a pooler in transaction mode. Either may fail at any time without anybody noticing but
by the clock: whoever is to be woken also polls.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import select
import socket
import threading
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql
from sqlalchemy import text

from userservice_core.errors import UserServiceError
from userservice_core.infrastructure.postgres.attempts import attempt_to_connect
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.ports.context import deadline_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NOTIFY: Final = Statement(text("SELECT pg_notify(channel, '') FROM unnest(CAST(:channels AS text[])) AS channel"))
# Each NOTIFY takes a lock of the whole cluster, so a process sends one at most as often as this.
_NOTIFY_INTERVAL_SECONDS: Final = 0.01
_NOTIFY_DEADLINE_SECONDS: Final = 2.0
_PAUSE_AFTER_FAILURE_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 1.0
"""After which a listener that is to end is not waited for, but cut off from the server."""

_log = logging.getLogger(__name__)


class PostgresSignal:
    """Wakes and is woken through one server; a `ports.revocations.Signal`."""

    def __init__(self, dsn_direct: str, *, opens_within_seconds: float = 0.0) -> None:
        """
        Name the server; nothing is connected before the first use.

        Args:
            dsn_direct: Of the primary itself, since a session of a pooler does not listen.
            opens_within_seconds: It is listened to after a random part of this.
        """
        self._notifier = _Notifier(dsn_direct)
        self._listener = _Listener(dsn_direct, opens_within_seconds=opens_within_seconds)

    def notify(self, channel: str) -> None:
        self._notifier.notify(channel)

    def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], None]:
        return self._listener.listen(channel, callback)

    def close(self) -> None:
        """Stop waking and listening."""
        self._notifier.close()
        self._listener.close()


class _Notifier:
    """Sends what is asked for at once, and what is asked for within the interval after that in one go."""

    def __init__(self, dsn: str) -> None:
        self._database = Database(dsn, pool_size=1, application_name="userservice-notify")
        self._changed = threading.Condition(threading.Lock())
        self._channels: set[str] = set()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def notify(self, channel: str) -> None:
        with self._changed:
            if self._is_closed or channel in self._channels:
                return
            self._channels.add(channel)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="userservice-notify", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()
        self._database.close()

    def _run(self) -> None:
        while channels := self._next():
            pause = _NOTIFY_INTERVAL_SECONDS
            try:
                with deadline_after(_NOTIFY_DEADLINE_SECONDS):
                    self._database.fetch_all(_NOTIFY, channels=channels)
            except UserServiceError as error:
                _log.debug("a signal was lost: %s", error.code)
                pause = _PAUSE_AFTER_FAILURE_SECONDS
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, pause)

    def _next(self) -> list[str]:
        """Wait until there is something to send, and take it; nothing, once this is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or bool(self._channels))
            channels = [] if self._is_closed else sorted(self._channels)
            self._channels.clear()
            return channels


class _Listener:
    """One connection that listens to all channels somebody wants to hear of, and is made anew when it breaks."""

    def __init__(self, dsn: str, *, opens_within_seconds: float) -> None:
        self._dsn = dsn
        self._opens_within_seconds = opens_within_seconds
        self._lock = threading.Lock()
        self._callbacks: dict[str, list[Callable[[], None]]] = {}
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._line: socket.socket | None = None
        # A byte here wakes the thread, which waits for the server and for us at the same time.
        self._wake_up, self._woken = socket.socketpair()
        self._wake_up.settimeout(0)

    def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], None]:
        with self._lock:
            self._callbacks.setdefault(channel, []).append(callback)
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="userservice-listen", daemon=True)
                self._thread.start()
        self._wake()

        def end() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._callbacks[channel].remove(callback)

        return end

    def close(self) -> None:
        self._closing.set()
        self._wake()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(_CLOSE_SECONDS)
            # It may have told a server what to listen to that stands still, or is gone without a word.
            with self._lock, contextlib.suppress(OSError):
                if self._line is not None:
                    self._line.shutdown(socket.SHUT_RDWR)
            thread.join()
        self._wake_up.close()
        self._woken.close()

    def _wake(self) -> None:
        # A full buffer wakes as well.
        with contextlib.suppress(OSError):
            self._wake_up.send(b".")

    def _run(self) -> None:
        is_first = True
        self._closing.wait(random.uniform(0, self._opens_within_seconds))  # noqa: S311 - no secret
        while not self._closing.is_set():
            try:
                with self._connected() as connection:
                    self._serve(connection, is_first=is_first)
            except psycopg.Error as error:
                _log.debug("listening was interrupted: %s", type(error).__name__)
                # Processes that were interrupted together do not all come back at one moment.
                self._closing.wait(_PAUSE_AFTER_FAILURE_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            is_first = False

    @contextlib.contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        with attempt_to_connect():
            connection = psycopg.connect(
                self._dsn,
                autocommit=True,
                application_name="userservice-listen",
                connect_timeout=5,
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
            )
        with contextlib.closing(connection), socket.socket(fileno=os.dup(connection.fileno())) as line:
            with self._lock:
                self._line = line
            try:
                yield connection
            finally:
                with self._lock:
                    self._line = None

    def _serve(self, connection: psycopg.Connection, *, is_first: bool) -> None:
        heard: set[str] = set()
        while not self._closing.is_set():
            with self._lock:
                wanted = set(self._callbacks)
            for channel in wanted - heard:
                connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                heard.add(channel)
                if not is_first:
                    # Whatever was sent while nobody listened is lost, so it counts as sent.
                    self._call(channel)
            readable, _, _ = select.select([connection.fileno(), self._woken.fileno()], [], [])
            if self._woken.fileno() in readable:
                self._woken.recv(4096)
            for channel in {notification.channel for notification in connection.notifies(timeout=0)}:
                self._call(channel)

    def _call(self, channel: str) -> None:
        with self._lock:
            callbacks = tuple(self._callbacks.get(channel, ()))
        for callback in callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - a fault of one listener is not that of the others
                _log.exception("a listener of %s failed", channel)
