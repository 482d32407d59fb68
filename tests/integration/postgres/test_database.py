"""Connections: what becomes of a call when the server is slow, frozen, gone or crowded."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from userservice_core.errors import (
    DatabaseUnavailableError,
    DeadlineExceededError,
    InvalidInputError,
    OverloadedError,
    ProgrammingError,
)
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.ping import PostgresPing
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.ports.context import deadline_after

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

_PROCESS_ID = Statement(text("SELECT pg_backend_pid()"))
_SLEEP = Statement(text("SELECT pg_sleep(:seconds)"))
_ECHO = Statement(text("SELECT CAST(:value AS text)"))
_ZONE = Statement(text("SELECT current_setting('TimeZone'), now()"))


def _process_id(pool: Database) -> int:
    row = pool.fetch_one(_PROCESS_ID)
    assert row is not None
    return int(row[0])


@contextlib.contextmanager
def _frozen(process_id: int) -> Iterator[None]:
    """Stop a process of the server, as a machine does that is out of memory or gone from the network."""
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


def test_an_attempt_that_took_too_long_leaves_no_connection() -> None:
    """Though nobody looks for garbage: the server would wait for a password meanwhile."""
    gc.disable()
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            contextlib.closing(
                Database(f"postgresql://a:b@127.0.0.1:{silent.getsockname()[1]}/c?sslmode=disable", pool_size=1)
            ) as pool,
        ):
            with deadline_after(1), pytest.raises(DatabaseUnavailableError):
                pool.fetch_one(_PROCESS_ID)
            client, _ = silent.accept()
            with client:
                client.settimeout(5)
                while client.recv(4096):
                    pass
    finally:
        gc.enable()


def _terminate_all(observer: psycopg.Connection) -> None:
    observer.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'userservice'"
    )


def test_a_slow_statement_is_cancelled_at_the_deadline(pool: Database, observer: psycopg.Connection) -> None:
    """The call ends in time, and so does the server's work on it."""
    began_at = time.monotonic()
    with pytest.raises(DeadlineExceededError), deadline_after(0.5):
        pool.fetch_one(_SLEEP, seconds=30)
    took_seconds = time.monotonic() - began_at

    assert 0.5 <= took_seconds < 1.0
    assert observer.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    ).fetchone() == (0,)


def test_a_frozen_server_is_given_up_at_the_deadline(pool: Database) -> None:
    """It reacts to no cancellation, so the connection is cut; the next call has another one."""
    process_id = _process_id(pool)
    began_at = time.monotonic()
    with _frozen(process_id):
        with pytest.raises(DeadlineExceededError), deadline_after(0.5):
            pool.fetch_one(_PROCESS_ID)
        took_seconds = time.monotonic() - began_at

        assert 0.5 <= took_seconds < 1.2
        assert _process_id(pool) != process_id
        assert pool.connections_in_use == 0


def test_a_connection_whose_statement_was_cancelled_is_not_used_again(pool: Database) -> None:
    """A cancellation that comes late would hit the next statement on it."""
    process_id = _process_id(pool)
    with pytest.raises(DeadlineExceededError), deadline_after(0.2):
        pool.fetch_one(_SLEEP, seconds=30)

    assert _process_id(pool) != process_id


def test_many_calls_are_watched_at_once(pool: Database) -> None:
    """Each ends at its own deadline, whatever the order in which they began."""

    def sleep(deadline_seconds: float) -> float:
        began_at = time.monotonic()
        with pytest.raises(DeadlineExceededError), deadline_after(deadline_seconds):
            pool.fetch_one(_SLEEP, seconds=30)
        return time.monotonic() - began_at - deadline_seconds

    with ThreadPoolExecutor(4) as threads:
        late_by = list(threads.map(sleep, (1.2, 0.3, 0.9, 0.6)))

    assert max(late_by) < 0.5


def test_idle_connections_that_died_are_replaced_unnoticed(pool: Database, observer: psycopg.Connection) -> None:
    """As after a restart of the server: the next calls succeed, whatever they are."""
    with contextlib.ExitStack() as lent:
        for _ in range(4):
            lent.enter_context(pool.lend())
    _terminate_all(observer)

    with contextlib.ExitStack() as lent:
        for _ in range(4):
            link = lent.enter_context(pool.lend())
            assert link.run(_ECHO(value="alive")).fetchone() == ("alive",)


def test_a_read_whose_connection_dies_under_it_is_repeated(pool: Database, observer: psycopg.Connection) -> None:
    """Once, on another connection; the caller notices nothing."""
    observer.execute("CREATE SEQUENCE tries")
    dying = Statement(
        text("SELECT CASE nextval('tries') WHEN 1 THEN pg_terminate_backend(pg_backend_pid())::text ELSE 'alive' END")
    )

    assert pool.fetch_one(dying) == ("alive",)
    assert observer.execute("SELECT last_value FROM tries").fetchone() == (2,)


def test_a_call_does_not_wait_for_ever_for_a_connection(database: str) -> None:
    """It is refused after the time that the settings allow, and other calls go on."""
    with contextlib.closing(Database(database, pool_size=1, pool_timeout_seconds=0.2)) as pool:
        with pool.lend():
            began_at = time.monotonic()
            with pytest.raises(OverloadedError):
                pool.fetch_one(_PROCESS_ID)
            assert 0.2 <= time.monotonic() - began_at < 0.5

        assert pool.fetch_one(_ECHO, value="free") == ("free",)


def test_a_crowd_is_served_by_few_connections(database: str, observer: psycopg.Connection) -> None:
    """Errors give their connection back too, so that none leaks, and there are never more than allowed."""

    def call(number: int) -> None:
        if number % 2:
            with pytest.raises(InvalidInputError):
                pool.fetch_one(_ECHO, value="\0")
        else:
            pool.fetch_one(_ECHO, value="text")

    with contextlib.closing(Database(database, pool_size=3, pool_timeout_seconds=5)) as pool:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(call, range(400)))
        connections = observer.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'userservice'"
        ).fetchone()

        assert connections is not None
        assert connections[0] <= 3
        assert pool.connections_in_use == 0


def test_an_absent_server_is_waited_for_once_and_then_refused_at_once() -> None:
    """A restart is bridged; during an outage no call holds a thread for the time it would take."""
    with contextlib.closing(Database("postgresql://127.0.0.1:1/none")) as pool:
        began_at = time.monotonic()
        with pytest.raises(DatabaseUnavailableError):
            pool.fetch_one(_PROCESS_ID)
        first_seconds = time.monotonic() - began_at
        with pytest.raises(DatabaseUnavailableError):
            pool.fetch_one(_PROCESS_ID)
        second_seconds = time.monotonic() - began_at - first_seconds

    assert 1.5 < first_seconds < 2.5
    assert second_seconds < 0.2


@pytest.mark.exclusive
def test_a_restart_of_the_server_fails_no_call(postgres_server: object, pool: Database) -> None:
    """Calls of the time it takes wait for it."""
    from tests.servers.postgres import PostgresServer

    assert isinstance(postgres_server, PostgresServer)
    ended = threading.Event()

    def keep_calling() -> int:
        calls = 0
        while not ended.is_set():
            with deadline_after(4):
                pool.fetch_one(_PROCESS_ID)
            calls += 1
        return calls

    with ThreadPoolExecutor(2) as threads:
        callers = [threads.submit(keep_calling) for _ in range(2)]
        postgres_server.kill9()
        postgres_server.start()
        pool.fetch_one(_PROCESS_ID)
        ended.set()

        assert all(caller.result() > 0 for caller in callers)


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_text_that_cannot_be_stored_is_a_fault_of_the_input(pool: Database, value: str) -> None:
    """NUL and lone surrogates are told as such in a search as in a write, and the connection lives on."""
    with pytest.raises(InvalidInputError):
        PostgresUserReader(pool).find_by_email(value)

    assert pool.fetch_one(_ECHO, value="fine") == ("fine",)


def test_times_are_read_in_utc_whatever_the_server_is_set_to(database: str, observer: psycopg.Connection) -> None:
    """Also where an administrator set a zone for the database."""
    name = database.rsplit("/", 1)[1]
    observer.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Kathmandu'".encode())
    with contextlib.closing(Database(database)) as pool:
        row = pool.fetch_one(_ZONE)

    assert row is not None
    assert (row[0], str(row[1].tzinfo)) == ("UTC", "UTC")


def test_a_statement_that_is_wrong_is_told_from_a_server_that_is_away(pool: Database) -> None:
    """A bug of ours is not retried, and not blamed on the database."""
    with pytest.raises(ProgrammingError, match="42601"):
        pool.fetch_one(Statement(text("SELEC 1")))


def test_statements_are_prepared_only_where_they_may_be(database: str, pool: Database) -> None:
    """A pooler in transaction mode lends another session each time, which has not prepared them."""
    prepared = Statement(text("SELECT count(*) FROM pg_prepared_statements"))
    with contextlib.closing(Database(database, pool_size=1, prepared_statements=False)) as unprepared_pool:
        counts = [max(one.fetch_one(prepared) for _ in range(9)) for one in (unprepared_pool, pool)]  # type: ignore[type-var]

    assert counts == [(0,), (1,)]


def test_a_ping_wants_a_server_that_can_be_written_to(pool: Database) -> None:
    """The primary answers it; one that is away is told within the deadline of the probe."""
    PostgresPing(pool).ping()

    with contextlib.closing(Database("postgresql://127.0.0.1:1/none")) as away, deadline_after(0.3):
        began_at = time.monotonic()
        with pytest.raises(DatabaseUnavailableError):
            PostgresPing(away).ping()
        assert time.monotonic() - began_at < 0.5
