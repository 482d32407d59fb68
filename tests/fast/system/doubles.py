"""A revocation log and a signal that the test drives, and a way to wait for what a thread of ours is to do."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from userservice_core.errors import DatabaseUnavailableError
from userservice_core.ports.revocations import RevocationBatch
from userservice_core.testing.clocks import NOON

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from userservice_core.domain.ids import ClientId, SessionId, UserId
    from userservice_core.domain.revocations import Revocation


def wait_until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Return as soon as *condition* holds; fail after *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.002)


class FakeRevocationLog:
    """Returns the rows it is given, each time; fails while it is told to."""

    def __init__(self) -> None:
        self.rows: list[Revocation] = []
        self.failure: Exception | None = None
        self.answer = False
        self.read_takes_seconds = 0.0
        self.reads: list[datetime | None] = []
        self.began_at: list[float] = []
        self.asked = 0
        self._lock = threading.Lock()

    def read_since(self, since: datetime | None) -> RevocationBatch:
        """Return all rows."""
        with self._lock:
            self.began_at.append(time.monotonic())
            self.reads.append(since)
        time.sleep(self.read_takes_seconds)
        if self.failure is not None:
            raise self.failure
        return RevocationBatch(revocations=tuple(self.rows), read_at=NOON)

    def is_revoked(
        self,
        *,
        user_id: UserId | None,
        session_id: SessionId | None,
        key_id: str,
        issued_at: datetime,
        client_id: ClientId | None = None,
    ) -> bool:
        """Return what the test says."""
        del user_id, session_id, key_id, issued_at, client_id
        self.asked += 1
        if self.failure is not None:
            raise DatabaseUnavailableError
        return self.answer


class FakeSignal:
    """Calls its listeners in the thread of whoever notifies."""

    def __init__(self) -> None:
        self.listeners: list[tuple[str, Callable[[], None]]] = []

    def notify(self, channel: str) -> None:
        """Wake the listeners."""
        for name, callback in list(self.listeners):
            if name == channel:
                callback()

    def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Remember the listener."""
        entry = (channel, callback)
        self.listeners.append(entry)
        return lambda: self.listeners.remove(entry)
