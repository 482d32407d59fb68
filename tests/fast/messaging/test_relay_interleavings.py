"""All orders of the steps of two relays, over an outbox in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from tests.interleavings import merges
from tests.relay_interleavings import STEPS, step_through
from userservice_core.infrastructure.memory import InMemoryOutboxStore, InMemoryStore
from userservice_core.infrastructure.memory.store import WaitingRecord
from userservice_core.infrastructure.messaging.relay import LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.ports.publishing import Lease, OutboxRecord


class _Outbox:
    """In memory, with a clock of the test."""

    def __init__(self) -> None:
        self._now = 0.0
        self._store = InMemoryStore(monotonic=lambda: self._now)

    def run(self) -> InMemoryOutboxStore:
        return InMemoryOutboxStore(self._store)

    def write(self, *records: OutboxRecord) -> None:
        with self._store.held():
            rows = self._store.rows.copy()
            for record in records:
                rows.last_position += 1
                rows.outbox.append(WaitingRecord(attrs.evolve(record, position=rows.last_position), since=self._now))
            self._store.rows = rows

    def end_leases(self) -> None:
        self._now += LEASE_SECONDS

    def waiting(self) -> int:
        return len(self._store.rows.outbox)


def test_no_order_of_steps_sends_a_later_event_first() -> None:
    """Whoever holds the lane, and however long the other one was frozen before it goes on."""
    # The relays are alike, so it does not matter which of them is called the first.
    orders = [order for order in merges(*STEPS) if order.index(0) < order.index(1)]

    repeats = step_through(orders, _Outbox)

    assert len(orders) == 3_150
    assert repeats > 0


def test_the_enumeration_would_find_relays_that_take_records_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with rows that are locked and skipped: then a later event overtakes, so the test above tests something."""
    read = InMemoryOutboxStore.read

    def take_away(store: InMemoryOutboxStore, leases: Sequence[Lease], *, limit: int) -> tuple[OutboxRecord, ...]:
        records = read(store, leases, limit=limit)
        store.delete(leases, records)
        return records

    monkeypatch.setattr(
        InMemoryOutboxStore, "read", lambda store, leases, *, limit, **_: take_away(store, leases, limit=limit)
    )

    with pytest.raises(AssertionError, match="in the order"):
        step_through(merges(*STEPS), _Outbox)
