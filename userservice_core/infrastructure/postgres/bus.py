"""PostgreSQL as the bus, for one machine without Kafka: an event once, and a delivery of it for each group."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import text

from userservice_core.errors import UserServiceError
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.ports.publishing import Delivery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.publishing import OutboxRecord

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
    text("INSERT INTO bus_group (name) VALUES (:name) ON CONFLICT (name) DO UPDATE SET seen_at = now()")
)
_DROP_GROUPS: Final = Statement(
    text("DELETE FROM bus_group WHERE seen_at < now() - make_interval(days => :days) RETURNING name")
)
_DROP_EVENTS: Final = Statement(
    text(
        """
        DELETE FROM bus_event WHERE seq IN (
            SELECT seq FROM bus_event AS event
            WHERE published_at < now() - make_interval(days => :days)
                OR NOT EXISTS (SELECT FROM bus_delivery AS delivery WHERE delivery.seq = event.seq)
            ORDER BY seq LIMIT :rows
        )
        """
    )
)


def register_group(database: Database, name: str) -> None:
    """Have every event from now on kept for the group *name* until it takes it, and say that the group is alive."""
    database.execute(_REGISTER, name=name)


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
            self._clean()
        except UserServiceError as error:
            return tuple(Delivery(record, error.detail) for record in records)
        return tuple(Delivery(record) for record in records)

    def close(self) -> None:
        """Do nothing: the connections are the database's."""

    def _clean(self) -> None:
        """Now and then drop groups that stay away, and events that nobody waits for."""
        now = time.monotonic()
        if now < self._clean_at:
            return
        self._clean_at = now + _CLEAN_SECONDS
        for (name,) in self._database.fetch_all(_DROP_GROUPS, days=RETENTION_DAYS):
            _log.error("a group was dropped: it was away for too long", group=name, days=RETENTION_DAYS)
        self._database.execute(_DROP_EVENTS, days=RETENTION_DAYS, rows=_CLEAN_ROWS)
