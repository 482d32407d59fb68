"""The unit of work: what PostgreSQL makes of it, beyond the contract it shares with memory."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.integration.postgres.building import (
    NOW,
    login_failed,
    new_session,
    new_user,
    register,
    registered,
)
from tests.integration.postgres.proxy import Proxy
from userservice_core.domain.event_data import MAX_DATA_BYTES
from userservice_core.domain.one_time_tokens import OneTimeToken, TokenPurpose
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.errors import AlreadyExistsError, EmailTakenError, ProgrammingError
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.ports.context import CallContext, call_context
from userservice_core.ports.publishing import lane_of
from userservice_core.ports.revocations import OUTBOX_CHANNEL, REVOCATIONS_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from userservice_core.ports.unit_of_work import Transaction


def test_fifty_registrations_of_one_address_make_one_user(
    pool: Database, uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """One commits, 49 are conflicts, and there is one row and one event, however they interleave."""
    start = threading.Barrier(8)

    def attempt(number: int) -> bool:
        if number < start.parties:
            start.wait()
        try:
            uow.run(lambda transaction: register(transaction, new_user("same@example.org")))
        except EmailTakenError:
            return False
        return True

    with ThreadPoolExecutor(start.parties) as threads:
        outcomes = list(threads.map(attempt, range(50)))

    assert outcomes.count(True) == 1
    assert observer.execute("SELECT count(*) FROM users").fetchone() == (1,)
    assert observer.execute("SELECT count(*) FROM outbox").fetchone() == (1,)
    assert PostgresUserReader(pool).find_by_email("same@example.org") is not None


def test_an_event_is_laid_out_for_a_relay(uow: PostgresUnitOfWork, observer: psycopg.Connection) -> None:
    """The record carries all that a CloudEvent needs, and the trace of the call that caused it."""
    user = new_user("ada@example.org")
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with call_context(CallContext(traceparent=traceparent)):
        uow.run(lambda transaction: register(transaction, user))

    row = observer.execute(
        "SELECT lane, aggregatetype, aggregateid, type, payload, source, subject, occurred_at, sequence, traceparent"
        " FROM outbox"
    ).fetchone()

    assert row == (
        lane_of("userservice.users", str(user.id)),
        "userservice.users",
        str(user.id),
        "userservice.user.registered.v1",
        {"userId": str(user.id), "email": "ada@example.org", "status": "pending_verification", "roles": ["user"]},
        "/userservice",
        str(user.id),
        NOW,
        1,
        traceparent,
    )


def test_events_of_a_key_are_numbered_without_gaps(uow: PostgresUnitOfWork, observer: psycopg.Connection) -> None:
    """Across transactions, in each of its topics, also where one transaction records several."""
    user = new_user()

    def fail_twice(transaction: Transaction) -> None:
        transaction.sign_ins.count_failure(user.id)
        transaction.record(login_failed(user))
        transaction.record(login_failed(user))

    uow.run(lambda transaction: register(transaction, user))
    uow.run(lambda transaction: transaction.record(registered(user)))
    uow.run(fail_twice)
    uow.run(fail_twice)

    numbers = observer.execute("SELECT aggregatetype, sequence FROM outbox ORDER BY aggregatetype, seq").fetchall()

    assert numbers == [
        *(("userservice.auth", number) for number in (1, 2, 3, 4)),
        *(("userservice.users", number) for number in (1, 2)),
    ]


def test_numbers_follow_the_order_of_the_outbox_when_many_write_at_once(
    uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """The counter's row is locked first, so that a relay that reads by position publishes a key in order."""
    user = new_user()
    uow.run(lambda transaction: register(transaction, user))
    with ThreadPoolExecutor(8) as threads:
        for outcome in [
            threads.submit(uow.run, lambda transaction: transaction.record(login_failed(user))) for _ in range(64)
        ]:
            outcome.result()

    numbers = observer.execute("SELECT sequence FROM outbox WHERE type LIKE '%login%' ORDER BY seq").fetchall()

    assert numbers == [(number,) for number in range(1, 65)]


def test_the_last_event_of_a_removed_user_has_its_number(uow: PostgresUnitOfWork, observer: psycopg.Connection) -> None:
    """The row it is taken from goes only after the event is written."""
    user = new_user()
    uow.run(lambda transaction: register(transaction, user))

    def remove(transaction: Transaction) -> None:
        transaction.users.remove(user.id)
        transaction.record(registered(user))

    uow.run(remove)

    assert observer.execute("SELECT sequence FROM outbox ORDER BY seq").fetchall() == [(1,), (2,)]
    assert observer.execute("SELECT count(*) FROM users").fetchone() == (0,)
    assert observer.execute("SELECT count(*) FROM user_emails").fetchone() == (0,)


def test_a_read_that_waited_sees_what_was_committed_meanwhile(
    uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """Not only the locked row is fresh, but what is joined to it."""
    user = new_user()
    uow.run(lambda transaction: register(transaction, user))

    with observer.transaction(), ThreadPoolExecutor(1) as thread:
        observer.execute("SELECT FROM login_states FOR UPDATE")
        waiting = thread.submit(uow.run, lambda transaction: transaction.sign_ins.get(user.id))
        _wait_until_blocked(observer)
        observer.execute("UPDATE users SET status = 'suspended'")
        observer.execute("UPDATE credentials SET password_hash = 'newer'")
        observer.execute("COMMIT")
        found = waiting.result()

    assert found.user.status == "suspended"
    assert found.credential is not None
    assert found.credential.password_hash == "newer"


@pytest.mark.asvs("15.4.3")
def test_transactions_of_one_user_lock_in_one_order(uow: PostgresUnitOfWork) -> None:
    """Whatever order they write in, they wait for each other: none is rolled back as a deadlock."""
    user = new_user()
    uow.run(lambda transaction: register(transaction, user))
    attempts: list[str] = []

    def user_first(transaction: Transaction) -> None:
        attempts.append("user first")
        transaction.record(registered(user))
        transaction.sign_ins.count_failure(user.id)

    def state_first(transaction: Transaction) -> None:
        attempts.append("state first")
        transaction.record(login_failed(user))
        transaction.record(registered(user))

    with ThreadPoolExecutor(8) as threads:
        works = [user_first, state_first] * 40
        for outcome in [threads.submit(uow.run, work) for work in works]:
            outcome.result()

    assert len(attempts) == 80


def test_a_read_after_a_write_is_refused(uow: PostgresUnitOfWork) -> None:
    """It would not see the write, which is sent at the commit."""
    user = new_user()

    def work(transaction: Transaction) -> None:
        register(transaction, user)
        transaction.users.get(user.id)

    with pytest.raises(ProgrammingError, match="reads before it writes"):
        uow.run(work)


def test_a_changed_address_frees_the_old_one(pool: Database, uow: PostgresUnitOfWork) -> None:
    """The old address can be taken by somebody else, the new one cannot."""
    user = new_user("old@example.org")
    uow.run(lambda transaction: register(transaction, user))
    moved = attrs.evolve(user, email=new_user("new@example.org").email, version=2)

    uow.run(lambda transaction: transaction.users.save(moved))
    other = uow.run(lambda transaction: register(transaction, new_user("old@example.org")))

    reader = PostgresUserReader(pool)
    assert reader.find_by_email("new@example.org") == moved
    assert reader.find_by_email("old@example.org") == other
    with pytest.raises(EmailTakenError):
        uow.run(lambda transaction: register(transaction, new_user("new@example.org")))


def test_no_connection_is_held_before_the_first_statement(pool: Database, uow: PostgresUnitOfWork) -> None:
    """What is computed before a transaction reads or commits costs nobody a connection."""
    held: list[int] = []

    def work(transaction: Transaction) -> None:
        register(transaction, new_user())
        held.append(pool.connections_in_use)

    uow.run(work)

    assert held == [0]
    assert pool.connections_in_use == 0


def test_whoever_waits_is_woken_after_the_commit(pool: Database) -> None:
    """The relay for events, the mirrors for revocations, and nobody for a transaction that failed or has neither."""
    signal = _RecordingSignal()
    uow = PostgresUnitOfWork(pool, signal=signal)
    user = new_user()
    revocation = Revocation(
        kind=RevocationKind.USER, subject=str(user.id), not_before=NOW, expires_at=NOW + timedelta(hours=1)
    )

    uow.run(lambda transaction: register(transaction, user))
    uow.run(lambda transaction: transaction.revocations.add(revocation))
    uow.run(lambda transaction: transaction.sign_ins.count_failure(user.id))
    with pytest.raises(AlreadyExistsError):
        uow.run(lambda transaction: register(transaction, user))

    assert signal.channels == [OUTBOX_CHANNEL, REVOCATIONS_CHANNEL]


def test_an_event_larger_than_the_bus_takes_fails_its_transaction(
    uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """It could never be published, and would hold up its key for ever."""
    user = new_user()

    def work(transaction: Transaction) -> None:
        transaction.users.add(user)
        transaction.record(attrs.evolve(registered(user), email="x" * MAX_DATA_BYTES))

    with pytest.raises(ProgrammingError, match="larger"):
        uow.run(work)
    assert observer.execute("SELECT count(*) FROM users").fetchone() == (0,)


@pytest.mark.asvs("15.4.2")
def test_reads_of_a_transaction_lock_what_they_return(uow: PostgresUnitOfWork, observer: psycopg.Connection) -> None:
    """And nothing else, and not against rows that merely refer to them."""
    user = new_user()
    session = new_session(user)
    token = OneTimeToken.issue(
        digest=bytes(32), user_id=user.id, email_key=user.email.key, purpose=TokenPurpose.VERIFY_EMAIL, now=NOW
    )
    uow.run(lambda transaction: register(transaction, user))
    uow.run(lambda transaction: transaction.sessions.add(session))
    uow.run(lambda transaction: transaction.one_time_tokens.add(token))
    reads: dict[str, Callable[[Transaction], object]] = {
        "users": lambda transaction: transaction.users.find_by_email(user.email.key),
        "login_states": lambda transaction: transaction.sign_ins.get(user.id).user,
        "sessions": lambda transaction: transaction.sessions.list_open(user.id, now=NOW)[0],
        "one_time_tokens": lambda transaction: transaction.one_time_tokens.find(user.id, token.digest),
    }
    expected: dict[str, object] = {"users": user, "login_states": user, "sessions": session, "one_time_tokens": token}

    def read(transaction: Transaction, *, table: str) -> tuple[object, set[str]]:
        found = reads[table](transaction)
        locked = {
            other
            for other in reads
            if observer.execute(f"TABLE {other} FOR UPDATE SKIP LOCKED".encode()).fetchone() is None
        }
        observer.execute("SELECT FROM users FOR KEY SHARE NOWAIT")
        return found, locked

    for table in reads:
        assert uow.run(functools.partial(read, table=table)) == (expected[table], {table})


def test_a_transaction_takes_one_round_trip_for_its_reads_and_one_for_the_rest(database: str) -> None:
    """BEGIN goes out with the first read, and the writes, the events and COMMIT together."""
    delay_seconds = 0.15
    user = new_user()

    def read_and_write(transaction: Transaction) -> None:
        transaction.sign_ins.get(user.id)
        transaction.sign_ins.count_failure(user.id)
        transaction.record(login_failed(user))

    with Proxy(database) as line, contextlib.closing(Database(line.dsn, pool_size=1)) as pool:
        uow = PostgresUnitOfWork(pool)
        uow.run(lambda transaction: register(transaction, new_user()))
        line.delay_seconds = delay_seconds
        round_trips = []
        for work in (lambda transaction: register(transaction, user), read_and_write):
            began_at = time.monotonic()
            uow.run(work)
            round_trips.append((time.monotonic() - began_at) / (2 * delay_seconds))

    assert round_trips == [pytest.approx(1, abs=0.5), pytest.approx(2, abs=0.5)]


class _RecordingSignal:
    """Keeps what was notified."""

    def __init__(self) -> None:
        self.channels: list[str] = []

    def notify(self, channel: str) -> None:
        """Keep *channel*."""
        self.channels.append(channel)

    def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Refuse; nobody listens here."""
        raise NotImplementedError(channel, callback)


def _wait_until_blocked(observer: psycopg.Connection) -> None:
    deadline = time.monotonic() + 5
    while observer.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
        assert time.monotonic() < deadline
        time.sleep(0.01)
