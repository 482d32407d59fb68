"""Waking through the server: what the port's contract leaves open, which is how it fails."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.postgres.proxy import Proxy
from userservice_core.infrastructure.postgres.signal import PostgresSignal
from userservice_core.testing.contracts.races import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

_CHANNEL = "test_channel"


@pytest.fixture
def signal(database: str) -> Iterator[PostgresSignal]:
    """A signal over the database of the test."""
    with contextlib.closing(PostgresSignal(database)) as opened:
        yield opened


def _wait_for_listener(observer: psycopg.Connection) -> int:
    """Return the process id of the server's end of the listener."""
    deadline = time.monotonic() + 5
    while True:
        row = observer.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'userservice-listen' AND query LIKE 'LISTEN%'"
            " AND state = 'idle' AND datname = current_database()"
        ).fetchone()
        if row is not None:
            return int(row[0])
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_listener_is_woken(signal: PostgresSignal, observer: psycopg.Connection) -> None:
    """Soon after the notification, from another thread."""
    woken = threading.Event()
    signal.listen(_CHANNEL, woken.set)
    _wait_for_listener(observer)

    signal.notify(_CHANNEL)

    assert woken.wait(5)


def test_a_listener_is_woken_by_another_process(signal: PostgresSignal, observer: psycopg.Connection) -> None:
    """The signal is the server's, not this process's."""
    woken = threading.Event()
    signal.listen(_CHANNEL, woken.set)
    _wait_for_listener(observer)

    observer.execute("SELECT pg_notify(%s, '')", (_CHANNEL,))

    assert woken.wait(5)


def test_calls_close_together_are_one(signal: PostgresSignal, observer: psycopg.Connection) -> None:
    """A thousand commits in a moment cost the cluster a handful of notifications."""
    observer.execute(f"LISTEN {_CHANNEL}".encode())
    began_at = time.monotonic()
    for _ in range(1000):
        signal.notify(_CHANNEL)
    took_seconds = time.monotonic() - began_at

    received = len(list(observer.notifies(timeout=0.3)))

    assert 1 <= received <= 2 + took_seconds / 0.01


def test_listening_goes_on_after_the_connection_was_lost(signal: PostgresSignal, observer: psycopg.Connection) -> None:
    """The listener is woken once for what it may have missed, and hears what comes after."""
    woken = threading.Semaphore(0)
    signal.listen(_CHANNEL, woken.release)
    process_id = _wait_for_listener(observer)

    observer.execute("SELECT pg_terminate_backend(%s)", (process_id,))
    assert woken.acquire(timeout=10)
    signal.notify(_CHANNEL)

    assert woken.acquire(timeout=10)


def test_a_listener_that_fails_does_not_end_the_others(signal: PostgresSignal, observer: psycopg.Connection) -> None:
    """Its error is logged, and the next listener is called."""
    woken = threading.Event()

    def fail() -> None:
        raise ValueError

    signal.listen(_CHANNEL, fail)
    signal.listen(_CHANNEL, woken.set)
    _wait_for_listener(observer)
    signal.notify(_CHANNEL)

    assert woken.wait(5)


def test_who_ends_a_subscription_is_not_called(signal: PostgresSignal, observer: psycopg.Connection) -> None:
    """The other listeners of the channel still are."""
    calls: list[str] = []
    woken = threading.Event()
    end = signal.listen(_CHANNEL, lambda: calls.append("ended"))
    signal.listen(_CHANNEL, woken.set)
    _wait_for_listener(observer)

    end()
    signal.notify(_CHANNEL)

    assert woken.wait(5)
    assert calls == []


def test_a_server_that_is_away_disturbs_nobody() -> None:
    """Neither waking nor listening raises or waits, and closing ends both."""
    began_at = time.monotonic()
    with contextlib.closing(PostgresSignal("postgresql://127.0.0.1:1/none")) as signal:
        signal.listen(_CHANNEL, lambda: None)
        signal.notify(_CHANNEL)
        assert time.monotonic() - began_at < 0.5
    signal.notify(_CHANNEL)

    assert time.monotonic() - began_at < 5


def test_who_closes_does_not_wait_for_a_server_that_is_gone_without_a_word(
    database: str, observer: psycopg.Connection
) -> None:
    """Also while the listener waits for the answer to what it asked."""
    with Proxy(database) as line:
        signal = PostgresSignal(line.dsn)
        signal.listen(_CHANNEL, lambda: None)
        _wait_for_listener(observer)
        line.forget()
        signal.listen("another_channel", lambda: None)
        eventually(lambda: line.lost_bytes > 0)
        closing = threading.Thread(target=signal.close, daemon=True)
        closing.start()
        closing.join(10)

    assert not closing.is_alive()
