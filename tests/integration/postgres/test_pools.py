"""Pools: when connections are opened and replaced, what happens when there are too few, and what is told of it."""

from __future__ import annotations

import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import text

from tests.integration.postgres.building import new_user, register
from tests.integration.postgres.proxy import Proxy
from tests.servers.pgbouncer import PgBouncer
from userservice_core.errors import DatabaseUnavailableError, OverloadedError
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.postgres import database as database_module
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.ping import PostgresPing
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.testing.contracts.races import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.servers.run import ServersOfRun

_BEGAN: Final = Statement(text("SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"))
_PROCESS_ID: Final = Statement(text("SELECT pg_backend_pid()"))
_NAP: Final = Statement(text("SELECT pg_sleep(0.01)"))


@contextlib.contextmanager
def _all_lent(pool: Database, number: int) -> Iterator[list[database_module.Link]]:
    with contextlib.ExitStack() as lent:
        yield [lent.enter_context(pool.lend()) for _ in range(number)]


def test_a_pool_that_is_used_and_closed_says_nothing(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """Commands print what they were asked for, and not what became of their connections."""
    with caplog.at_level(logging.INFO), contextlib.closing(Database(database)) as pool:
        assert pool.fetch_one(_PROCESS_ID) is not None
    assert caplog.messages == []


def test_processes_that_start_together_do_not_connect_together(database: str) -> None:
    """Each connects at a moment of its own within the time that the settings give, and calls until then wait."""
    with contextlib.ExitStack() as opened, ThreadPoolExecutor(10) as threads:
        pools = [
            opened.enter_context(contextlib.closing(Database(database, opens_within_seconds=0.5))) for _ in range(10)
        ]
        found = list(threads.map(lambda pool: pool.fetch_one(_BEGAN), pools))
    began = sorted(row[0] for row in found if row is not None)

    assert len(began) == 10
    assert (began[-1] - began[0]).total_seconds() > 0.1


def test_nothing_is_opened_before_it_is_needed(database: str, observer: psycopg.Connection) -> None:
    """One call at a time opens one connection, whatever the size of the pool."""
    with contextlib.closing(Database(database, pool_size=8)) as pool:
        for _ in range(5):
            pool.fetch_one(_PROCESS_ID)
        opened = observer.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'userservice'"
        ).fetchone()

    assert opened == (1,)


def test_connections_that_were_opened_together_do_not_end_together(database: str) -> None:
    """Each lives for four fifths of what is allowed, or somewhat longer, and is then replaced unnoticed."""
    with contextlib.closing(Database(database, pool_size=8, lifetime_seconds=1000)) as pool:
        began = time.monotonic()
        with _all_lent(pool, 8) as links:
            lives = sorted(link.connection.ends_at - began for link in links)
    with contextlib.closing(Database(database, pool_size=1, lifetime_seconds=0.05)) as pool:
        first = pool.fetch_one(_PROCESS_ID)
        eventually(lambda: pool.fetch_one(_PROCESS_ID) != first)

    assert 799 < lives[0] < lives[-1] < 1001
    assert lives[-1] - lives[0] > 20


def test_a_connection_that_was_forgotten_on_the_way_costs_nobody_a_call(
    database: str, observer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    As by a gateway that drops what is idle, or after a function was frozen: nothing comes back, and nobody says so.

    The first is asked, and found out; the others have been idle as long, so none of them is waited for.
    """
    metrics = InMemoryMetrics()
    with Proxy(database) as line, contextlib.closing(Database(line.dsn, pool_size=4, metrics=metrics)) as pool:
        with _all_lent(pool, 4):
            pass
        line.forget()
        monkeypatch.setattr(database_module, "_ASKED_AFTER_IDLE_SECONDS", 0.0)
        # Begin, write and commit go in one round trip, so that a line that breaks in it would leave all in doubt.
        PostgresUnitOfWork(pool).run(lambda transaction: register(transaction, new_user()))
        with _all_lent(pool, 4) as links:
            alive = [link.run(_PROCESS_ID()).fetchone() for link in links]

    assert observer.execute("SELECT count(*) FROM users").fetchone() == (1,)
    assert len(set(alive)) == 4
    assert metrics.counts["database_connection", "forgotten"] == 1
    assert ("uow_commit", "unknown") not in metrics.counts


def test_who_was_used_a_moment_ago_is_not_asked(database: str) -> None:
    """Asking costs a round trip, and a server that closed a connection has said so."""
    metrics = InMemoryMetrics()
    with Proxy(database) as line, contextlib.closing(Database(line.dsn, pool_size=1, metrics=metrics)) as pool:
        pool.fetch_one(_PROCESS_ID)
        line.delay_seconds = 0.1
        began = time.monotonic()
        pool.fetch_one(_PROCESS_ID)
        round_trips = (time.monotonic() - began) / (2 * line.delay_seconds)

    assert round_trips == pytest.approx(1, abs=0.5)


def test_a_server_that_gives_fewer_connections_serves_by_those(database: str, observer: psycopg.Connection) -> None:
    """Calls beyond them take turns, and none fails."""
    role = f"few_{uuid4().hex}"
    observer.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'few' CONNECTION LIMIT 2".encode())
    dsn = make_conninfo("", **{**conninfo_to_dict(database), "user": role, "password": "few"})
    try:
        with contextlib.closing(Database(dsn, pool_size=8)) as pool, ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: pool.fetch_one(_NAP), range(100)))
    finally:
        observer.execute(f"DROP ROLE {role}".encode())

    assert len(answers) == 100


def test_a_pooler_that_takes_no_more_clients_serves_those_it_has(database: str, servers_of_run: ServersOfRun) -> None:
    """What is beyond `max_client_conn` takes turns; a process that gets none at all is told so, and comes in later."""
    folder = servers_of_run.folder / f"pgbouncer-{uuid4().hex}"
    with PgBouncer(folder, target_dsn=database, pool_size=2, max_clients=3) as pooler:
        dsn = pooler.dsn()
        first = Database(dsn, pool_size=8, prepared_statements=False)
        second = Database(dsn, pool_size=2, prepared_statements=False, outage_wait_seconds=0.2)
        with contextlib.closing(second), ThreadPoolExecutor(8) as threads:
            with contextlib.closing(first):
                answers = list(threads.map(lambda _: first.fetch_one(_NAP), range(100)))
                with pytest.raises(DatabaseUnavailableError):
                    second.fetch_one(_NAP)
            eventually(lambda: _is_served(second))

    assert len(answers) == 100


def _is_served(pool: Database) -> bool:
    with contextlib.suppress(DatabaseUnavailableError):
        return pool.fetch_one(_NAP) is not None
    return False


def test_it_is_measured_how_many_are_at_work_and_how_many_wait(database: str) -> None:
    """The most at once since the last word, so that what happens in between is not missed."""
    metrics = InMemoryMetrics()
    with contextlib.closing(Database(database, pool_size=2, pool_timeout_seconds=3, metrics=metrics)) as pool:
        with ThreadPoolExecutor(2) as threads:
            with _all_lent(pool, 2):
                waiting = [threads.submit(pool.fetch_one, _PROCESS_ID) for _ in range(2)]
                eventually(lambda: _waiting_of(pool) == 2)
            for each in waiting:
                each.result(5)
        PostgresPing(pool).ping()
        busy = dict(metrics.gauges)
        PostgresPing(pool).ping()

    assert busy == {
        "database_connections_in_use": 2,
        "database_connections_open": 2,
        "database_calls_waiting": 2,
    }
    assert metrics.counts["database_pool_wait", "waited"] == 2
    assert len(metrics.seconds["database_pool_wait"]) == 2
    assert metrics.gauges["database_calls_waiting"] == 0


def _waiting_of(pool: Database) -> int:
    return pool._slots.waiting  # noqa: SLF001 - the metric says how many it was within a second


def test_who_came_first_is_served_first(database: str) -> None:
    """A call that comes while others wait does not overtake them."""
    served: list[int] = []
    pool = Database(database, pool_size=1, pool_timeout_seconds=5)
    with contextlib.closing(pool), ThreadPoolExecutor(4) as threads, pool.lend():
        for number in range(4):
            threads.submit(_note, pool, served, number)
            eventually(partial(_are_waiting, pool, number + 1))

    assert served == [0, 1, 2, 3]


def _are_waiting(pool: Database, number: int) -> bool:
    return _waiting_of(pool) == number


def _note(pool: Database, served: list[int], number: int) -> None:
    with pool.lend():
        served.append(number)


def test_a_call_that_is_refused_is_counted(database: str) -> None:
    """Those who get no connection in time."""
    metrics = InMemoryMetrics()
    pool = Database(database, pool_size=1, pool_timeout_seconds=0.05, metrics=metrics)
    with contextlib.closing(pool), pool.lend(), ThreadPoolExecutor(1) as thread, pytest.raises(OverloadedError):
        thread.submit(pool.fetch_one, _PROCESS_ID).result(5)

    assert metrics.counts["database_pool_wait", "refused"] == 1
