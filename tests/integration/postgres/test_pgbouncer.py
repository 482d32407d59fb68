"""Through a pooler in transaction mode, which lends another session to each transaction."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from tests.integration.postgres.building import login_failed, new_user, register
from userservice_core.errors import DeadlineExceededError
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.ports.context import deadline_after

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.servers.pgbouncer import PgBouncer
    from userservice_core.ports.unit_of_work import Transaction


@pytest.fixture
def pooled(pgbouncer: PgBouncer, database: str) -> Iterator[Database]:
    """More connections than the pooler has to the database of the test."""
    dsn = pgbouncer.dsn(database.rsplit("/", 1)[1])
    with contextlib.closing(Database(dsn, pool_size=16, prepared_statements=False)) as opened:
        yield opened


def test_reads_and_writes_go_through_a_pooler(pooled: Database, observer: psycopg.Connection) -> None:
    """However often the sessions behind change: no state of one is relied on, and none is left in one."""
    uow = PostgresUnitOfWork(pooled)
    users = [uow.run(lambda transaction: register(transaction, new_user())) for _ in range(4)]

    def fail(number: int) -> None:
        user = users[number % 4]

        def work(transaction: Transaction) -> None:
            transaction.sign_ins.get(user.id)
            transaction.sign_ins.count_failure(user.id)
            transaction.record(login_failed(user))

        uow.run(work)
        assert PostgresUserReader(pooled).get(user.id) == user

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(fail, range(160)))

    assert observer.execute("SELECT sum(failed_attempts) FROM login_states").fetchone() == (160,)
    assert observer.execute(
        "SELECT count(DISTINCT (aggregateid, sequence)) FROM outbox WHERE type LIKE '%login%'"
    ).fetchone() == (160,)
    limits = {pooled.fetch_one(Statement(text("SELECT current_setting('statement_timeout')"))) for _ in range(20)}
    assert limits == {("0",)}


def test_a_cancellation_goes_through_a_pooler(pooled: Database, observer: psycopg.Connection) -> None:
    """It reaches the session that does the work, and no other."""
    began_at = time.monotonic()
    with pytest.raises(DeadlineExceededError), deadline_after(0.5):
        pooled.fetch_one(Statement(text("SELECT pg_sleep(30)")))

    assert time.monotonic() - began_at < 1.0
    assert observer.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
    ).fetchone() == (0,)


def test_a_pause_of_the_pooler_is_waited_for(pgbouncer: PgBouncer, pooled: Database, database: str) -> None:
    """As at a switch of servers behind it: calls within their deadline succeed when it goes on."""
    name = database.rsplit("/", 1)[1]
    pooled.fetch_one(Statement(text("SELECT 1")))
    pgbouncer.administer(f"PAUSE {name}")
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(pooled.fetch_one, Statement(text("SELECT 2")))
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        pgbouncer.administer(f"RESUME {name}")

        assert waiting.result(timeout=4) == (2,)


@pytest.mark.exclusive
def test_a_pooler_that_was_restarted_is_noticed_before_the_next_call(pgbouncer: PgBouncer, pooled: Database) -> None:
    """Connections to the old one are dropped, and no call fails."""
    pooled.fetch_one(Statement(text("SELECT 1")))
    pgbouncer.kill9()
    pgbouncer.start()

    assert pooled.fetch_one(Statement(text("SELECT 2"))) == (2,)
