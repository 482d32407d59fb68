"""The consumer over PostgreSQL as the bus."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.consumer_suite import TYPE, ConsumerSuite, running, until
from tests.integration.messaging.effects import PostgresEffects
from userservice_core.infrastructure.messaging.consumer import EventConsumer
from userservice_core.infrastructure.postgres.bus import PostgresEventGroup, PostgresEventPublisher
from userservice_core.infrastructure.postgres.bus_events import PostgresEventSource
from userservice_core.infrastructure.postgres.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from userservice_core.infrastructure.memory import InMemoryMetrics
    from userservice_core.ports.publishing import OutboxRecord


class PostgresBus(PostgresEffects):
    """The bus's tables, with the effects in the same database."""

    topic = "things"

    def __init__(self, dsn: str, pool: Database) -> None:
        super().__init__(dsn)
        self._pool = pool
        for group in ("g", "other"):
            PostgresEventGroup(pool, group=group).register()

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Publish as a relay does."""
        deliveries = PostgresEventPublisher(self._pool).publish(records)
        assert [delivery.error for delivery in deliveries] == [None] * len(records)

    def source(self, group: str, member_id: str = "m") -> PostgresEventSource:
        """Return a new member."""
        return PostgresEventSource(self._dsn, group=group, topics=[self.topic], member_id=member_id)

    def dead_letters(self) -> list[tuple[str, int | None, str]]:
        """Return what is kept for the group and was not replayed."""
        with psycopg.connect(self._dsn) as connection:
            return connection.execute("SELECT key, sequence, cause FROM bus_dead_letter ORDER BY number").fetchall()


class TestPostgresConsumer(ConsumerSuite):
    """Each test with a database of its own."""

    @pytest.fixture
    def bus(self, database: str) -> Iterator[PostgresBus]:
        """With two groups that are registered."""
        with contextlib.closing(Database(database)) as pool:
            yield PostgresBus(database, pool)

    def test_members_share_the_work(self, bus: PostgresBus, metrics: InMemoryMetrics) -> None:
        """One joins and one leaves in between; each event has its effect once, in order within a key."""
        consumers = []
        for name in "123":
            consumer = EventConsumer(bus.source("g", name), inbox=bus.inbox(), metrics=metrics)
            consumer.on(TYPE)(bus.write)
            consumers.append(consumer)
        numbers, keys = range(1, 31), [f"k{number}" for number in range(20)]
        batches = [[self.event(bus, key, number) for key in keys] for number in numbers]

        with running(consumers[0]):
            with running(consumers[1]):
                for batch in batches[:10]:
                    bus.publish(batch)
                until(lambda: len(bus.effects()) >= 100)
            with running(consumers[2]):
                for batch in batches[10:]:
                    bus.publish(batch)
                until(lambda: len(bus.effects()) >= 600, seconds=40)

        effects = bus.effects()
        assert {key: list(numbers) for key in keys} == {
            key: [number for other, number in effects if other == key] for key in keys
        }
