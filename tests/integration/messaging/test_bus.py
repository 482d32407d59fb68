"""PostgreSQL as the bus: what groups get, and when they lose it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs
import pytest
import structlog

from tests.integration.messaging.outboxes import LEASE_SECONDS, wait_until, waiting, write
from tests.outbox_records import outbox_record, sequences_of
from userservice_core.errors import ConflictError
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.messaging.lines import Line
from userservice_core.infrastructure.messaging.relay import Relay
from userservice_core.infrastructure.postgres.bus import (
    RETENTION_DAYS,
    PostgresEventGroup,
    PostgresEventPublisher,
    clean,
)
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
from userservice_core.ports.publishing import LANES, Lease, OutboxRecord

if TYPE_CHECKING:
    import psycopg


@attrs.frozen
class _Member:
    """One run of a member that holds lanes."""

    group: PostgresEventGroup
    leases: Sequence[Lease]

    @classmethod
    def of(cls, pool: Database, name: str, member_id: str = "m") -> _Member:
        group = PostgresEventGroup(pool, group=name)
        group.register()
        return cls(group, group.claim(member_id, lease_seconds=LEASE_SECONDS))

    def take(self, *, limit: int = 1000) -> tuple[OutboxRecord, ...]:
        """Read, and acknowledge what was read."""
        records = self.group.read(self.leases, limit=limit)
        assert self.group.acknowledge(self.leases, records) == len(records)
        return records


def _count(observer: psycopg.Connection, table: str) -> int:
    row = observer.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - names of the tests
    return 0 if row is None else int(row[0])


def test_each_group_gets_every_event_once_and_in_order(pool: Database) -> None:
    """As it was in the outbox, but for its position; one group's progress is not another's."""
    one, other = _Member.of(pool, "one"), _Member.of(pool, "other")
    records = [outbox_record(key, number, traceparent="00-1-2-01") for number in (1, 2, 3) for key in "abc"]

    deliveries = PostgresEventPublisher(pool).publish(records)

    assert [delivery.error for delivery in deliveries] == [None] * len(records)
    taken = one.take()
    assert {attrs.evolve(record, position=0) for record in taken} == set(records)
    assert {key: sequences_of(taken, key) for key in "abc"} == {key: [1, 2, 3] for key in "abc"}
    assert (one.take(), len(other.take())) == ((), len(records))


def test_what_is_not_acknowledged_is_read_again(pool: Database) -> None:
    """By whoever holds the lane: here the same member, after it was killed and came back."""
    member = _Member.of(pool, "g")
    PostgresEventPublisher(pool).publish([outbox_record("a", 1), outbox_record("a", 2)])
    first = member.group.read(member.leases, limit=10)

    again = _Member.of(pool, "g")

    assert again.group.read(again.leases, limit=10) == first
    assert member.group.read(member.leases, limit=10) == ()
    assert member.group.acknowledge(member.leases, first) == 0
    assert again.take() == first


def test_members_share_the_lanes_of_their_group(pool: Database) -> None:
    """Each event goes to one of them; what one gives back the other gets."""
    one = _Member.of(pool, "g", "1")
    two = _Member.of(pool, "g", "2")
    one = _Member(one.group, one.group.claim("1", lease_seconds=LEASE_SECONDS))
    two = _Member(two.group, two.group.claim("2", lease_seconds=LEASE_SECONDS))
    records = [outbox_record(str(key), 1) for key in range(100)]
    PostgresEventPublisher(pool).publish(records)

    shares = one.take(), two.take()

    assert sorted(lease.lane for lease in (*one.leases, *two.leases)) == list(range(LANES))
    assert {record.id for record in itertools.chain(*shares)} == {record.id for record in records}
    assert all(shares)
    one.group.release("1")
    assert len(two.group.claim("2", lease_seconds=LEASE_SECONDS)) == LANES


def test_nothing_is_kept_where_nobody_listens(pool: Database, observer: psycopg.Connection) -> None:
    """A machine without consumers does not fill its disk."""
    (delivery,) = PostgresEventPublisher(pool).publish([outbox_record()])

    assert (delivery.error, _count(observer, "bus_event")) == (None, 0)


def test_a_group_gets_what_is_published_after_it_registered(pool: Database) -> None:
    """Not what was before; registering again forgets nothing."""
    early = _Member.of(pool, "early")
    publisher = PostgresEventPublisher(pool)
    publisher.publish([outbox_record("a", 1)])
    late = _Member.of(pool, "late")
    publisher.publish([outbox_record("a", 2)])
    late.group.register()

    assert [record.sequence for record in late.take()] == [2]
    assert [record.sequence for record in early.take()] == [1, 2]


def test_a_bus_that_cannot_be_reached_is_told_not_raised() -> None:
    """The events stay in the outbox."""
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none", pool_size=1)

    (delivery,) = PostgresEventPublisher(nowhere).publish([outbox_record()])

    nowhere.close()
    assert (delivery.error is None, delivery.retriable) == (False, True)


# --- retention --------------------------------------------------------------------------------------------------------


def test_an_event_that_every_group_has_taken_is_dropped(pool: Database, observer: psycopg.Connection) -> None:
    """And not before."""
    one, other = _Member.of(pool, "one"), _Member.of(pool, "other")
    PostgresEventPublisher(pool).publish([outbox_record()])
    one.take()
    clean(pool)
    after_one = _count(observer, "bus_event")
    other.take()
    clean(pool)

    assert (after_one, _count(observer, "bus_event")) == (1, 0)


def test_a_group_that_stays_away_is_dropped_with_an_alert(pool: Database, observer: psycopg.Connection) -> None:
    """With what was kept for it; it has to register anew, and knows that it missed something."""
    member = _Member.of(pool, "away")
    PostgresEventPublisher(pool).publish([outbox_record()])
    observer.execute("UPDATE bus_group SET seen_at = now() - make_interval(days => %s)", (RETENTION_DAYS + 1,))

    with structlog.testing.capture_logs() as logs:
        clean(pool)

    assert [(line["log_level"], line["group"]) for line in logs] == [("error", "away")]
    assert (_count(observer, "bus_delivery"), _count(observer, "bus_event")) == (0, 0)
    with pytest.raises(ConflictError):
        member.group.claim("m", lease_seconds=LEASE_SECONDS)


def test_a_group_that_lags_loses_what_is_too_old_with_an_alert(pool: Database, observer: psycopg.Connection) -> None:
    """The bus is bounded, whatever a group does."""
    member = _Member.of(pool, "slow")
    PostgresEventPublisher(pool).publish([outbox_record("a", 1), outbox_record("a", 2)])
    observer.execute(
        "UPDATE bus_event SET published_at = now() - make_interval(days => %s) WHERE sequence = 1",
        (RETENTION_DAYS + 1,),
    )

    with structlog.testing.capture_logs() as logs:
        clean(pool)

    assert [(line["log_level"], line["group"], line["events"]) for line in logs] == [("error", "slow", 1)]
    assert [record.sequence for record in member.take()] == [2]


def test_a_group_at_work_is_seen(pool: Database, observer: psycopg.Connection) -> None:
    """Claiming is its sign of life."""
    member = _Member.of(pool, "busy")
    observer.execute("UPDATE bus_group SET seen_at = now() - make_interval(days => %s)", (RETENTION_DAYS + 1,))

    member.group.claim("m", lease_seconds=LEASE_SECONDS)
    clean(pool)

    assert _count(observer, "bus_group") == 1


# --- through the relay ------------------------------------------------------------------------------------------------


def test_groups_get_what_the_relay_takes_from_the_outbox(pool: Database, observer: psycopg.Connection) -> None:
    """Without Kafka, in order for each key, with two members that take at the same time."""
    keys, numbers = [f"k{number}" for number in range(20)], range(1, 11)
    members = [_Member.of(pool, "g", "1"), _Member.of(pool, "g", "2")]
    members = [
        _Member(member.group, member.group.claim(str(number), lease_seconds=LEASE_SECONDS))
        for number, member in enumerate(members, start=1)
    ]
    line = Line(name="bus", publisher=PostgresEventPublisher(pool), records_per_lane=7)
    relay = Relay(PostgresOutboxStore(pool), [line], None, relay_id="r", metrics=InMemoryMetrics())
    taken: list[list[OutboxRecord]] = [[], []]

    def take(number: int) -> None:
        def take_some() -> bool:
            taken[number].extend(members[number].take(limit=3))
            return sum(len(of_member) for of_member in taken) == len(keys) * len(numbers)

        wait_until(take_some)

    write(observer, *(outbox_record(key, number) for number in numbers for key in keys))
    with ThreadPoolExecutor(2) as threads:
        takers = [threads.submit(take, number) for number in (0, 1)]
        while waiting(observer):
            relay.wave()
        for taker in takers:
            taker.result()

    for key in keys:
        assert [sequences_of(of_member, key) for of_member in taken if sequences_of(of_member, key)] == [list(numbers)]
