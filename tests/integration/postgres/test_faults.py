"""Transactions that meet a fault: retried whole, refused, or of unknown outcome, and never anything in between."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs
import psycopg
import pytest
from sqlalchemy import text

from tests.integration.postgres.building import NOW, new_user, register, registered
from tests.integration.postgres.proxy import Proxy
from tests.servers.postgres import PostgresServer
from userservice_core.domain.one_time_tokens import OneTimeToken, TokenPurpose
from userservice_core.errors import DatabaseUnavailableError, DeadlineExceededError, OutcomeUnknownError
from userservice_core.infrastructure.postgres import migrate
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.ports.context import deadline_after
from userservice_core.ports.failpoints import install_failpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.run import ServersOfRun
    from userservice_core.domain.users import User
    from userservice_core.ports.unit_of_work import Transaction


@contextlib.contextmanager
def _at_failpoint(name: str, action: Callable[[], None]) -> Iterator[list[str]]:
    """Do *action* the first time that the step *name* is passed, and tell which steps were."""
    passed: list[str] = []

    def hook(step: str) -> None:
        passed.append(step)
        if step == name and passed.count(name) == 1:
            action()

    install_failpoints(hook)
    try:
        yield passed
    finally:
        install_failpoints(None)


def _terminate(observer: psycopg.Connection) -> None:
    observer.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'userservice'"
    )


def _touch(user: User) -> Callable[[Transaction], User]:
    """Make a transaction that reads, then writes and records an event."""

    def work(transaction: Transaction) -> User:
        read = transaction.users.get(user.id)
        changed = attrs.evolve(read, updated_at=NOW, version=read.version + 1)
        transaction.users.save(changed)
        transaction.record(registered(user))
        return changed

    return work


def _count_events(observer: psycopg.Connection) -> int:
    row = observer.execute("SELECT count(*) FROM outbox").fetchone()
    assert row is not None
    return int(row[0])


def test_a_connection_that_dies_between_read_and_write_costs_one_clean_retry(
    pool: Database, uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """The work is done again from its first read, and takes effect once."""
    user = uow.run(lambda transaction: register(transaction, new_user()))
    with _at_failpoint("uow.begun", lambda: _terminate(observer)) as passed:
        changed = uow.run(_touch(user))

    assert passed.count("uow.begun") == 2
    assert PostgresUserReader(pool).get(user.id) == changed
    assert changed.version == 2
    assert _count_events(observer) == 2


def test_a_connection_that_dies_before_the_writes_are_sent_costs_one_clean_retry(
    uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """The server said that it ends the connection before it came to COMMIT, so it is known that nothing happened."""
    user = uow.run(lambda transaction: register(transaction, new_user()))
    with _at_failpoint("uow.flushing", lambda: _terminate(observer)) as passed:
        uow.run(_touch(user))

    assert passed.count("uow.committed") == 1
    assert _count_events(observer) == 2


def test_a_statement_whose_backend_is_terminated_costs_one_clean_retry(
    pool: Database, uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """Also in the one round trip with COMMIT: the answer to a statement before it says so."""
    user = uow.run(lambda transaction: register(transaction, new_user()))
    with observer.transaction(), ThreadPoolExecutor(1) as thread:
        observer.execute("SELECT FROM users FOR UPDATE")
        writing = thread.submit(uow.run, lambda transaction: transaction.record(registered(user)))
        _wait_until_blocked(observer)
        _terminate(observer)
        observer.execute("COMMIT")
        writing.result()

    assert _count_events(observer) == 2
    assert pool.connections_in_use == 0


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_transaction_that_the_server_rolled_back_is_run_again(
    uow: PostgresUnitOfWork, observer: psycopg.Connection, state: str
) -> None:
    """After a deadlock or a serialization failure, at the commit as well as before."""
    observer.execute("CREATE SEQUENCE tries")
    observer.execute(
        f"""
        CREATE FUNCTION fail_twice() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('tries') < 3 THEN RAISE EXCEPTION 'again' USING ERRCODE = '{state}'; END IF;
            RETURN NULL;
        END
        $$
        """.encode()
    )
    observer.execute(
        "CREATE CONSTRAINT TRIGGER fail_twice AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION fail_twice()"
    )

    uow.run(lambda transaction: register(transaction, new_user()))

    assert observer.execute("SELECT last_value FROM tries").fetchone() == (3,)
    assert _count_events(observer) == 1


def test_a_transaction_that_never_succeeds_is_given_up(uow: PostgresUnitOfWork, observer: psycopg.Connection) -> None:
    """After a few tries it is refused as unavailable, and nothing was changed."""
    observer.execute(
        """
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$
        """
    )
    observer.execute("CREATE TRIGGER fail BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION fail()")
    tries: list[int] = []

    def work(transaction: Transaction) -> None:
        tries.append(1)
        register(transaction, new_user())

    with pytest.raises(DatabaseUnavailableError):
        uow.run(work)

    assert len(tries) == 6
    assert _count_events(observer) == 0


@pytest.mark.asvs("15.4.3")
def test_a_real_deadlock_is_survived(uow: PostgresUnitOfWork) -> None:
    """Two transactions that lock two users in opposite order both come to their end."""
    one = uow.run(lambda transaction: register(transaction, new_user()))
    other = uow.run(lambda transaction: register(transaction, new_user()))
    both_hold_one = threading.Barrier(2)
    tries: list[str] = []

    def lock(first: User, second: User) -> Callable[[Transaction], None]:
        def work(transaction: Transaction) -> None:
            transaction.users.get(first.id)
            tries.append("try")
            if len(tries) <= both_hold_one.parties:
                both_hold_one.wait()
            transaction.users.get(second.id)
            transaction.record(registered(first))

        return work

    with ThreadPoolExecutor(2) as threads:
        for outcome in [threads.submit(uow.run, lock(one, other)), threads.submit(uow.run, lock(other, one))]:
            outcome.result()

    assert len(tries) == 3


def test_tokens_made_at_the_same_time_leave_one_that_is_good(
    uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """Each ends the others, however they interleave."""
    user = uow.run(lambda transaction: register(transaction, new_user()))

    def add(number: int) -> None:
        token = OneTimeToken.issue(
            digest=bytes([number] * 32),
            user_id=user.id,
            email_key=user.email.key,
            purpose=TokenPurpose.VERIFY_EMAIL,
            now=NOW,
        )
        uow.run(lambda transaction: transaction.one_time_tokens.add(token))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, range(12)))

    assert observer.execute("SELECT count(*), count(used_at) FROM one_time_tokens").fetchone() == (12, 11)


def test_waiting_for_a_lock_ends_at_the_deadline(
    pool: Database, uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """The call is told that nothing was changed, and no transaction of it is left at the server."""
    user = uow.run(lambda transaction: register(transaction, new_user()))
    with observer.transaction():
        observer.execute("LOCK TABLE users")
        began_at = time.monotonic()
        with pytest.raises(DeadlineExceededError), deadline_after(0.5):
            uow.run(_touch(user))
        took_seconds = time.monotonic() - began_at

    assert 0.4 < took_seconds < 1.0
    assert pool.connections_in_use == 0
    assert _count_events(observer) == 1


def test_a_deadline_that_passes_before_the_commit_changes_nothing(
    uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """However long the work took, COMMIT is not sent after it."""

    def work(transaction: Transaction) -> None:
        register(transaction, new_user())
        time.sleep(0.15)

    with pytest.raises(DeadlineExceededError), deadline_after(0.1):
        uow.run(work)

    assert _count_events(observer) == 0


def test_a_frozen_process_loses_its_locks(uow: PostgresUnitOfWork, database: str, observer: psycopg.Connection) -> None:
    """A function that is frozen within a transaction does not hold up the others: the server ends it."""
    user = uow.run(lambda transaction: register(transaction, new_user()))

    def freeze() -> None:
        deadline = time.monotonic() + 5
        while observer.execute("SELECT FROM users FOR UPDATE SKIP LOCKED").fetchone() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    with (
        contextlib.closing(Database(database)) as frozen_pool,
        _at_failpoint("uow.begun", freeze),
        pytest.raises(DeadlineExceededError),
        deadline_after(0.3),
    ):
        PostgresUnitOfWork(frozen_pool).run(_touch(user))


# --- during COMMIT ----------------------------------------------------------------------------------------------------


@pytest.mark.asvs("2.3.3")
@pytest.mark.parametrize("server_gets_it", [True, False])
def test_a_line_that_breaks_at_commit_leaves_the_outcome_unknown(
    database: str, observer: psycopg.Connection, *, server_gets_it: bool
) -> None:
    """Nobody can tell whether COMMIT arrived, so the caller is told just that, and the work is not repeated."""
    tries: list[int] = []

    def work(transaction: Transaction) -> None:
        tries.append(1)
        register(transaction, new_user())

    with Proxy(database) as proxy, contextlib.closing(Database(proxy.dsn)) as pool:
        uow = PostgresUnitOfWork(pool)
        if server_gets_it:
            proxy.breaks_after = b"COMMIT"
        else:
            proxy.breaks_before = b"COMMIT"
        with pytest.raises(OutcomeUnknownError):
            uow.run(work)
        _wait_until(lambda: _count_events(observer) == int(server_gets_it))

    assert tries == [1]


def test_a_server_that_freezes_at_commit_leaves_the_outcome_unknown(
    pool: Database, uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """The watchdog ends the wait at the deadline; what the server does when it thaws is its own affair."""
    frozen: list[int] = []

    def freeze() -> None:
        row = observer.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
        ).fetchone()
        assert row is not None
        frozen.append(row[0])
        os.kill(row[0], signal.SIGSTOP)

    began_at = time.monotonic()
    try:
        with (
            _at_failpoint("uow.before-commit", freeze),
            pytest.raises(OutcomeUnknownError),
            deadline_after(0.5),
        ):
            uow.run(lambda transaction: register(transaction, new_user()))
        took_seconds = time.monotonic() - began_at
    finally:
        os.kill(frozen[0], signal.SIGCONT)

    assert took_seconds < 1.2
    assert pool.connections_in_use == 0


@pytest.fixture(scope="module")
def own_server(servers_of_run: ServersOfRun, worker_id: str) -> Iterator[str]:
    """The DSN of a server that only this module uses, with the schema."""
    with PostgresServer(servers_of_run.folder / f"faults-{worker_id}", fsync=False) as server:
        dsn = server.dsn(server.create_database())
        migrate.upgrade(dsn)
        yield dsn


def test_a_commit_that_no_standby_confirmed_is_not_called_a_success(own_server: str) -> None:
    """Cancelled while it waits for one, COMMIT succeeds with a warning, and is lost if the primary is."""
    with (
        contextlib.closing(psycopg.connect(own_server, autocommit=True)) as observer,
        contextlib.closing(Database(own_server)) as pool,
    ):
        _wait_for_standby(observer, "nobody")
        try:
            with pytest.raises(OutcomeUnknownError), deadline_after(0.5):
                PostgresUnitOfWork(pool).run(lambda transaction: register(transaction, new_user()))
        finally:
            _wait_for_standby(observer, "")

        assert _count_events(observer) == 1
        assert pool.fetch_one(Statement(text("SELECT 1"))) == (1,)


def _wait_for_standby(observer: psycopg.Connection, name: str) -> None:
    observer.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'".encode())
    observer.execute("SELECT pg_reload_conf()")
    _wait_until(lambda: observer.execute("SHOW synchronous_standby_names").fetchone() == (name,))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _wait_until_blocked(observer: psycopg.Connection) -> None:
    _wait_until(lambda: observer.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() != (0,))
