"""The outbox of a test's database, as transactions and relays see it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
from userservice_core.ports.publishing import LANES

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.publishing import Lease, OutboxRecord

LEASE_SECONDS = 30.0


def write(connection: psycopg.Connection, *records: OutboxRecord, slot: int | None = None) -> None:
    """Insert *records* in their order, in the connection's transaction; *slot* is the partition, by time if None."""
    for record in records:
        connection.execute(
            "INSERT INTO outbox (lane, id, aggregatetype, aggregateid, type, payload, source, subject, occurred_at,"
            " sequence, traceparent, slot) VALUES (%s, %s, %s, %s, %s, %s::json, %s, %s, %s, %s, %s,"
            " coalesce(%s::smallint, (extract(epoch FROM now())::bigint / 600 %% 3)::smallint))",
            (
                record.lane,
                record.id,
                record.topic,
                record.key,
                record.type,
                record.payload.decode(),
                record.source,
                record.subject,
                record.occurred_at,
                record.sequence,
                record.traceparent,
                slot,
            ),
        )


def holder(pool: Database, relay_id: str = "r") -> tuple[PostgresOutboxStore, tuple[Lease, ...]]:
    """Return the run of a relay that holds all lanes."""
    store = PostgresOutboxStore(pool)
    leases = store.claim(relay_id, lease_seconds=LEASE_SECONDS)
    assert len(leases) == LANES
    return store, leases


def waiting(connection: psycopg.Connection) -> int:
    """Count what waits in the outbox."""
    row = connection.execute("SELECT count(*) FROM outbox").fetchone()
    return 0 if row is None else int(row[0])


def wait_until(holds: Callable[[], bool], *, seconds: float = 15) -> None:
    """Return once *holds* does, and fail if it does not within *seconds*."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
