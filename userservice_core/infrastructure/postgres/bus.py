"""PostgreSQL as the bus, for one machine without Kafka: an event once, and a delivery of it for each group."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import text

from userservice_core.errors import UserServiceError
from userservice_core.infrastructure.postgres.leases import LaneLeases, held, lease_statements
from userservice_core.infrastructure.postgres.outbox_store import record_of
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.ports.publishing import LANES, Delivery, OutboxRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.publishing import Lease

_log = structlog.get_logger("userservice.bus")

RETENTION_DAYS: Final = 7
"""How long an event waits for groups, and how long a group may be away before it is dropped."""

_CLEAN_SECONDS: Final = 60.0
_CLEAN_ROWS: Final = 10_000

# One statement, so one transaction: a group gets the whole wave or nothing of it. Without a group nothing is kept.
_PUBLISH: Final = Statement(
    text(
        """
        WITH event AS (
            INSERT INTO bus_event
                (lane, id, topic, key, type, payload, source, subject, occurred_at, sequence, traceparent)
            SELECT lane, id, topic, key, type, CAST(payload AS json), source, subject, occurred_at, sequence,
            traceparent FROM unnest(
                CAST(:lanes AS smallint[]), CAST(:ids AS uuid[]), CAST(:topics AS text[]), CAST(:keys AS text[]),
                CAST(:types AS text[]), CAST(:payloads AS text[]), CAST(:sources AS text[]),
                CAST(:subjects AS text[]), CAST(:occurred_at AS timestamptz[]), CAST(:sequences AS bigint[]),
                CAST(:traceparents AS text[])
            ) WITH ORDINALITY AS new
                (lane, id, topic, key, type, payload, source, subject, occurred_at, sequence, traceparent, position)
            WHERE EXISTS (SELECT FROM bus_group)
            ORDER BY position
            RETURNING lane, seq
        )
        INSERT INTO bus_delivery (group_name, lane, seq) SELECT name, lane, seq FROM event CROSS JOIN bus_group
        """
    )
)
_REGISTER: Final = Statement(
    text(
        f"""
        WITH registered AS (
            INSERT INTO bus_group (name) VALUES (:group_name) ON CONFLICT (name) DO UPDATE SET seen_at = now()
        )
        INSERT INTO bus_lane (group_name, lane, fence, expires_at)
        SELECT :group_name, lane, 0, '-infinity' FROM generate_series(0, {LANES - 1}) AS lane
        ON CONFLICT (group_name, lane) DO NOTHING
        """  # noqa: S608 - a constant of ours
    )
)
_SEE_GROUP: Final = Statement(
    text("UPDATE bus_group SET seen_at = now() WHERE name = :group_name AND seen_at < now() - interval '1 minute'")
)
_LEASES: Final = lease_statements(lanes="bus_lane", members="bus_member", member="member_id", has_groups=True)
_READ: Final = Statement(
    text(
        f"""
        SELECT seq, id, delivery.lane, topic, key, type, source, subject, occurred_at, sequence, traceparent,
            payload::text
        FROM ({_LEASES.held}) AS held CROSS JOIN LATERAL (
            SELECT lane, seq FROM bus_delivery
            WHERE group_name = :group_name AND bus_delivery.lane = held.lane ORDER BY seq LIMIT :deliveries
        ) AS delivery JOIN bus_event AS event USING (seq)
        ORDER BY delivery.lane, seq
        """  # noqa: S608 - constants of ours
    )
)
_ACKNOWLEDGE: Final = Statement(
    text(
        f"""
        DELETE FROM bus_delivery AS delivery USING unnest(
            CAST(:record_lanes AS smallint[]), CAST(:positions AS bigint[])
        ) AS done (lane, seq)
        WHERE group_name = :group_name AND delivery.lane = done.lane AND delivery.seq = done.seq
            AND delivery.lane IN ({_LEASES.held})
        """  # noqa: S608 - constants of ours
    )
)
_DROP_GROUPS: Final = Statement(
    text("DELETE FROM bus_group WHERE seen_at < now() - make_interval(days => :days) RETURNING name")
)
_DROP_TAKEN: Final = Statement(
    text(
        """
        DELETE FROM bus_event WHERE seq IN (
            SELECT seq FROM bus_event AS event
            WHERE NOT EXISTS (SELECT FROM bus_delivery AS delivery WHERE delivery.seq = event.seq)
            ORDER BY seq LIMIT :rows
        )
        """
    )
)
_DROP_OLD: Final = Statement(
    text(
        """
        WITH dropped AS (
            DELETE FROM bus_event WHERE seq IN (
                SELECT seq FROM bus_event WHERE published_at < now() - make_interval(days => :days)
                ORDER BY published_at LIMIT :rows
            ) RETURNING seq
        )
        SELECT group_name, count(*) FROM bus_delivery JOIN dropped USING (seq) GROUP BY group_name
        """
    )
)


class PostgresEventPublisher:
    """A `ports.publishing.EventPublisher`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clean_at = 0.0

    def publish(self, records: Sequence[OutboxRecord]) -> tuple[Delivery, ...]:
        try:
            self._database.execute(
                _PUBLISH,
                lanes=[record.lane for record in records],
                ids=[record.id for record in records],
                topics=[record.topic for record in records],
                keys=[record.key for record in records],
                types=[record.type for record in records],
                payloads=[record.payload.decode() for record in records],
                sources=[record.source for record in records],
                subjects=[record.subject for record in records],
                occurred_at=[record.occurred_at for record in records],
                sequences=[record.sequence for record in records],
                traceparents=[record.traceparent for record in records],
            )
        except UserServiceError as error:
            return tuple(Delivery(record, error.detail) for record in records)
        self._clean()
        return tuple(Delivery(record) for record in records)

    def close(self) -> None:
        """Do nothing: the connections are the database's."""

    def _clean(self) -> None:
        """Now and then drop groups that stay away, and events that nobody waits for."""
        now = time.monotonic()
        if now < self._clean_at:
            return
        self._clean_at = now + _CLEAN_SECONDS
        try:
            clean(self._database)
        except UserServiceError as error:
            _log.warning("the bus cannot be cleaned", error=error.code)


def clean(database: Database) -> None:
    """Drop groups that stayed away, events that every group has taken, and those past their retention."""
    for (name,) in database.fetch_all(_DROP_GROUPS, days=RETENTION_DAYS):
        _log.error("a group was dropped: it was away for too long", group=name, days=RETENTION_DAYS)
    database.execute(_LEASES.forget_members)
    database.execute(_DROP_TAKEN, rows=_CLEAN_ROWS)
    for name, events in database.fetch_all(_DROP_OLD, days=RETENTION_DAYS, rows=_CLEAN_ROWS):
        _log.error("events were dropped that a group had not taken", group=name, events=events, days=RETENTION_DAYS)


class PostgresEventGroup:
    """
    The events of one group, as one run of a member takes them.

    Members hold lanes by lease, as relays do. What is read is to be taken in order, and acknowledged then; what is not
    acknowledged is read again, by whoever holds the lane.
    """

    def __init__(self, database: Database, *, group: str) -> None:
        self._database = database
        self._group = group
        self._leases = LaneLeases(database, _LEASES, group_name=group)

    def register(self) -> None:
        """Have every event from now on kept for the group until it takes it."""
        self._database.execute(_REGISTER, group_name=self._group)

    def claim(self, member_id: str, *, lease_seconds: float) -> tuple[Lease, ...]:
        """
        Take or renew the fair share of the lanes, as relays do, and say that the group is alive.

        Raises:
            ConflictError: If the group is not registered, or was dropped.
        """
        leases = self._leases.claim(member_id, lease_seconds=lease_seconds)
        self._database.execute(_SEE_GROUP, group_name=self._group)
        return leases

    def release(self, member_id: str) -> None:
        """Give all lanes back at once."""
        self._leases.release(member_id)

    def read(self, leases: Sequence[Lease], *, limit: int) -> tuple[OutboxRecord, ...]:
        """Return the oldest events of each leased lane, at most *limit* a lane, in their order within a lane."""
        rows = self._database.fetch_all(_READ, **held(leases), group_name=self._group, deliveries=limit)
        return tuple(record_of(row) for row in rows)

    def acknowledge(self, leases: Sequence[Lease], records: Sequence[OutboxRecord]) -> int:
        """Take *records* out of the group; returns how many were, which leaves out those whose lease is gone."""
        return self._database.execute(
            _ACKNOWLEDGE,
            **held(leases),
            group_name=self._group,
            record_lanes=[record.lane for record in records],
            positions=[record.position for record in records],
        )
