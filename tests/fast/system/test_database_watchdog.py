"""The thread that watches connections: it interrupts what is overdue, and is not woken for what is not."""

from __future__ import annotations

import threading
import time
from typing import Final

from userservice_core.infrastructure.postgres.watchdog import Watchdog

_PATIENCE_SECONDS: Final = 10.0


class _Connection:
    """Remembers that it was shut."""

    def __init__(self) -> None:
        self.is_shut = threading.Event()
        self.is_cancelled = threading.Event()

    def cancel_statement(self, *, timeout_seconds: float) -> None:
        assert timeout_seconds > 0
        self.is_cancelled.set()

    def shut_socket(self) -> None:
        self.is_shut.set()


class _CountingCondition(threading.Condition):
    """Counts how often somebody is woken, and tells when all sleep again."""

    def __init__(self) -> None:
        super().__init__(threading.Lock())
        self.woken = 0
        self.sleeps = threading.Semaphore(0)

    def notify(self, n: int = 1) -> None:
        self.woken += 1
        super().notify(n)

    def wait(self, timeout: float | None = None) -> bool:
        self.sleeps.release()
        return super().wait(timeout)


def test_a_use_that_is_overdue_is_cancelled_and_then_its_connection_shut() -> None:
    """The statement first; then whoever reads finds the end."""
    watchdog, connection = Watchdog(), _Connection()
    guard = watchdog.watch(connection, time.monotonic())
    assert connection.is_cancelled.wait(_PATIENCE_SECONDS)
    assert connection.is_shut.wait(_PATIENCE_SECONDS)
    assert guard.fired
    watchdog.release(guard)
    watchdog.close()


def test_uses_one_after_the_other_wake_the_thread_once() -> None:
    """Watching costs no switch of threads, also where no two uses overlap."""
    changed = _CountingCondition()
    watchdog = Watchdog(changed=changed)
    watchdog.release(watchdog.watch(_Connection(), time.monotonic() + 60))
    assert changed.sleeps.acquire(timeout=_PATIENCE_SECONDS)
    for _ in range(50):
        woken = changed.woken
        watchdog.release(watchdog.watch(_Connection(), time.monotonic() + 60))
        if changed.woken > woken:
            assert changed.sleeps.acquire(timeout=_PATIENCE_SECONDS)
    assert changed.woken <= 1
    watchdog.close()


def test_an_earlier_deadline_is_not_slept_through() -> None:
    """Whoever is due first is served first."""
    watchdog, late, early = Watchdog(), _Connection(), _Connection()
    watchdog.release(watchdog.watch(late, time.monotonic() + 60))
    guards = [watchdog.watch(late, time.monotonic() + 60), watchdog.watch(early, time.monotonic() + 0.05)]
    assert early.is_shut.wait(_PATIENCE_SECONDS)
    assert [guard.fired for guard in guards] == [False, True]
    for guard in guards:
        watchdog.release(guard)
    watchdog.close()
