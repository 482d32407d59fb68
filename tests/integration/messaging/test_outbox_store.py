"""Leases, order and partitions of the outbox on PostgreSQL: what the port's contract leaves to the database."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs
import psycopg
import pytest

from tests.integration.messaging.outboxes import LEASE_SECONDS, holder, wait_until, waiting, write
from tests.outbox_records import keys_of_one_lane, outbox_record, sequences_of
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
from userservice_core.ports.publishing import LANES, OutboxRecord

if TYPE_CHECKING:
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.publishing import Lease

_SHORT_SECONDS = 0.3


def _without_position(record: OutboxRecord) -> OutboxRecord:
    return attrs.evolve(record, position=0)


# --- reading and deleting ---------------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written(pool: Database, observer: psycopg.Connection) -> None:
    """To the microsecond and to the byte."""
    record = outbox_record("ключ", 3, payload='{"a":  "é\\u0000"}'.encode(), traceparent="00-1-2-01")
    bare = outbox_record("b", None)
    write(observer, record, bare)
    store, leases = holder(pool)

    found = store.read(leases, limit=10)

    assert {_without_position(each) for each in found} == {record, bare}


def test_records_of_a_lane_come_in_order_and_at_most_as_many_as_asked(
    pool: Database, observer: psycopg.Connection
) -> None:
    """The oldest of each topic first, so that no topic lies in the way of another one."""
    first, second = keys_of_one_lane(2)
    write(observer, *(outbox_record(key, number) for number in range(1, 6) for key in (first, second)))
    store, leases = holder(pool)

    found = store.read(leases, limit=4)

    assert [(record.key, record.sequence) for record in found] == [(first, 1), (second, 1), (first, 2), (second, 2)]


def test_topics_can_be_passed_over(pool: Database, observer: psycopg.Connection) -> None:
    """However much of them waits."""
    write(observer, *(outbox_record("a", number, topic="x.away") for number in range(1, 200)))
    write(observer, outbox_record("a", 1, topic="x.here"), outbox_record("a", 1, topic="w.here"))
    store, leases = holder(pool)

    found = store.read(leases, limit=10, without_topics=["x.away"])

    assert sorted(record.topic for record in found) == ["w.here", "x.here"]


def test_a_transaction_that_commits_late_is_not_skipped(
    pool: Database, observer: psycopg.Connection, database: str
) -> None:
    """Its record has the lower number, and the higher one was published before: a cursor would have passed it by."""
    store, leases = holder(pool)
    with psycopg.connect(database) as late:
        write(late, outbox_record("late", 1))
        write(observer, outbox_record("early", 1))
        early = store.read(leases, limit=10)
        store.delete(leases, early)
        late.commit()

    found = store.read(leases, limit=10)

    assert [record.key for record in early] == ["early"]
    assert [record.key for record in found] == ["late"]
    assert found[0].position < early[0].position


def test_a_parked_record_blocks_its_key_where_there_is_an_order(pool: Database, observer: psycopg.Connection) -> None:
    """Other keys of the lane, and keys without sequences, go on."""
    poisoned, healthy, unordered = keys_of_one_lane(3)
    write(observer, *(outbox_record(key, number) for number in (1, 2) for key in (poisoned, healthy)))
    write(observer, outbox_record(unordered, None), outbox_record(unordered, None))
    store, leases = holder(pool)
    lease = leases[-1]
    first_of = {record.key: record for record in reversed(store.read(leases, limit=10))}

    parked = [store.park(lease, first_of[key], cause="too large") for key in (poisoned, unordered)]

    assert parked == [True, True]
    found = store.read(leases, limit=10)
    assert sequences_of(found, healthy) == [1, 2]
    assert sequences_of(found, poisoned) == []
    assert sequences_of(found, unordered) == [None]
    rows = observer.execute("SELECT aggregateid, sequence, cause FROM outbox_parked ORDER BY seq").fetchall()
    assert rows == [(poisoned, 1, "too large"), (unordered, None, "too large")]


def test_what_waits_is_counted(pool: Database, observer: psycopg.Connection) -> None:
    """With the age of the oldest, by the database's clock."""
    store = PostgresOutboxStore(pool)
    empty = store.backlog()
    write(observer, outbox_record("a", 1), outbox_record("a", 2))
    observer.execute("UPDATE outbox SET created_at = now() - interval '1 minute' WHERE sequence = 1")

    backlog = store.backlog()

    assert (empty.records, empty.oldest_age_seconds) == (0, 0.0)
    assert (backlog.records, round(backlog.oldest_age_seconds)) == (2, 60)


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_frozen_relay_deletes_and_parks_nothing(pool: Database, observer: psycopg.Connection) -> None:
    """Its lanes went to another one under a higher fence; what it wakes up with is void."""
    write(observer, outbox_record("a", 1))
    frozen = PostgresOutboxStore(pool)
    old = frozen.claim("frozen", lease_seconds=_SHORT_SECONDS)
    (record,) = frozen.read(old, limit=10)
    other = PostgresOutboxStore(pool)
    wait_until(lambda: len(other.claim("other", lease_seconds=1)) == LANES)

    deleted = frozen.delete(old, [record])
    parked = frozen.park(old[record.lane], record, cause="none")

    assert (deleted, parked, frozen.read(old, limit=10), waiting(observer)) == (0, False, (), 1)


def test_an_expired_lease_deletes_nothing_even_if_nobody_took_it(pool: Database, observer: psycopg.Connection) -> None:
    """Somebody may take it this moment."""
    write(observer, outbox_record("a", 1))
    store = PostgresOutboxStore(pool)
    leases = store.claim("r", lease_seconds=_SHORT_SECONDS)
    (record,) = store.read(leases, limit=10)
    wait_until(lambda: store.read(leases, limit=10) == ())

    assert store.delete(leases, [record]) == 0


def test_a_renewed_lease_keeps_its_fence(pool: Database) -> None:
    """So what was read before the renewal can be deleted after it."""
    store, leases = holder(pool)

    assert store.claim("r", lease_seconds=LEASE_SECONDS) == leases


def test_a_relay_that_comes_back_takes_its_lanes_at_once(pool: Database) -> None:
    """Under a higher fence, since what the dead run read may still be on its way."""
    _, before = holder(pool)

    _, after = holder(pool)

    assert [(lease.lane, lease.fence) for lease in after] == [(lease.lane, lease.fence + 1) for lease in before]


def _claim_all(*relays: tuple[str, PostgresOutboxStore]) -> list[tuple[Lease, ...]]:
    return [store.claim(name, lease_seconds=LEASE_SECONDS) for name, store in relays]


def test_lanes_are_shared_fairly(pool: Database) -> None:
    """A newcomer gets its share as the others let go, and what is released is taken over."""
    first, second, third = (PostgresOutboxStore(pool) for _ in range(3))
    shares = [len(first.claim("1", lease_seconds=LEASE_SECONDS))]
    second.claim("2", lease_seconds=LEASE_SECONDS)
    shares.append(len(first.claim("1", lease_seconds=LEASE_SECONDS)))
    shares.append(len(second.claim("2", lease_seconds=LEASE_SECONDS)))
    _claim_all(("1", first), ("2", second), ("3", third))
    three = _claim_all(("1", first), ("2", second), ("3", third))
    first.release("1")
    _claim_all(("2", second), ("3", third))
    two = _claim_all(("2", second), ("3", third))

    assert shares == [64, 32, 32]
    assert sorted(len(leases) for leases in three) == [20, 22, 22]
    assert [len(leases) for leases in two] == [32, 32]
    assert sorted(lease.lane for lease in itertools.chain(*two)) == list(range(LANES))


def test_many_relays_that_claim_at_once_do_not_block_each_other(pool: Database, observer: psycopg.Connection) -> None:
    """No deadlock, no lane with two holders, and in the end each lane has one."""
    stores = [PostgresOutboxStore(pool) for _ in range(6)]
    barrier = threading.Barrier(len(stores))

    def claim_often(number: int) -> float:
        barrier.wait()
        began = time.monotonic()
        for _ in range(20):
            stores[number].claim(str(number), lease_seconds=LEASE_SECONDS)
        return time.monotonic() - began

    with ThreadPoolExecutor(len(stores)) as threads:
        seconds = list(threads.map(claim_often, range(len(stores))))
    # Who went on when the others had ended may have too many: those are given up in one round, and taken in the next.
    rounds = [
        [store.claim(str(number), lease_seconds=LEASE_SECONDS) for number, store in enumerate(stores)] for _ in range(2)
    ]

    row = observer.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row == (0,)
    assert sorted(lease.lane for lease in itertools.chain(*rounds[-1])) == list(range(LANES))
    assert max(seconds) < 20


def test_relays_that_never_came_back_are_forgotten(pool: Database, observer: psycopg.Connection) -> None:
    """Ids of hosts that are gone would pile up."""
    observer.execute("INSERT INTO outbox_relay VALUES ('gone', now() - interval '2 days'), ('back', now())")

    PostgresOutboxStore(pool).rotate()

    assert observer.execute("SELECT relay_id FROM outbox_relay").fetchall() == [("back",)]


# --- partitions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def idle_slot(observer: psycopg.Connection) -> int:
    """A partition whose turn is over."""
    row = observer.execute("SELECT ((extract(epoch FROM now())::bigint / 600 + 2) % 3)::int").fetchone()
    assert row is not None
    return int(row[0])


def _size(observer: psycopg.Connection, slot: int) -> int:
    row = observer.execute("SELECT pg_relation_size(%s::regclass)", (f"outbox_slot_{slot}",)).fetchone()
    assert row is not None
    return int(row[0])


def test_a_partition_is_emptied_though_an_old_snapshot_is_open(
    pool: Database, observer: psycopg.Connection, database: str, idle_slot: int
) -> None:
    """Vacuum could not remove those rows, and every read would have to step over them."""
    write(observer, *(outbox_record("a", number) for number in range(1, 50)), slot=idle_slot)
    store, leases = holder(pool)
    with psycopg.connect(database) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT FROM users")
        store.delete(leases, store.read(leases, limit=100))
        before = _size(observer, idle_slot)

        store.rotate()

        assert (before > 0, _size(observer, idle_slot)) == (True, 0)


def test_a_partition_that_holds_a_record_is_left(pool: Database, observer: psycopg.Connection, idle_slot: int) -> None:
    """Whatever time it is, nothing that waits is lost."""
    write(observer, outbox_record("a", 1), slot=idle_slot)

    PostgresOutboxStore(pool).rotate()

    assert waiting(observer) == 1


def test_a_partition_in_use_is_left_for_another_time(
    pool: Database, observer: psycopg.Connection, database: str, idle_slot: int
) -> None:
    """A transaction that began long ago still writes into it: it is not waited for, and loses nothing."""
    write(observer, outbox_record("a", 1), slot=idle_slot)
    store, leases = holder(pool)
    store.delete(leases, store.read(leases, limit=10))
    with contextlib.closing(psycopg.connect(database)) as late:
        write(late, outbox_record("late", 1), slot=idle_slot)
        began = time.monotonic()
        store.rotate()
        seconds = time.monotonic() - began
        late.commit()

    assert seconds < 1
    assert [record.key for record in store.read(leases, limit=10)] == ["late"]
