"""Orders of the steps of two relays, over PostgreSQL: a sample of those that are tried in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import psycopg

from tests.integration.messaging import outboxes
from tests.interleavings import sampled_merges
from tests.relay_interleavings import STEPS, step_through
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore

if TYPE_CHECKING:
    from userservice_core.ports.publishing import OutboxRecord

_ORDERS = 60
_SEED = 4711


@attrs.frozen
class _Outbox:
    """The outbox of a database, whose leases are ended by hand."""

    pool: Database
    observer: psycopg.Connection

    def run(self) -> PostgresOutboxStore:
        return PostgresOutboxStore(self.pool)

    def write(self, *records: OutboxRecord) -> None:
        outboxes.write(self.observer, *records)

    def end_leases(self) -> None:
        self.observer.execute("UPDATE outbox_lane SET expires_at = now() - interval '1 second'")
        self.observer.execute("DELETE FROM outbox_relay")

    def waiting(self) -> int:
        return outboxes.waiting(self.observer)


def test_no_order_of_steps_sends_a_later_event_first(pool: Database, observer: psycopg.Connection) -> None:
    """Whoever holds the lane, and however long the other one was frozen before it goes on."""
    repeats = step_through(sampled_merges(*STEPS, count=_ORDERS, seed=_SEED), lambda: _Outbox(pool, observer))

    assert repeats > 0
