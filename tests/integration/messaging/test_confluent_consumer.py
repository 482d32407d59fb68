"""The consumer over a real Kafka broker, through confluent-kafka: what is of the client."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from typing import TYPE_CHECKING, Final

import pytest

from tests.consumer_suite import TYPE, ConsumerScene, running, until
from tests.integration.messaging import test_kafka_consumer as by_kafka_python
from tests.integration.messaging.topics import Topics
from userservice_core.infrastructure.messaging.confluent_events import ConfluentEventSource
from userservice_core.infrastructure.messaging.confluent_publisher import ConfluentEventPublisher
from userservice_core.infrastructure.messaging.consumer import EventConsumer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.kafka import KafkaBroker
    from userservice_core.infrastructure.memory import InMemoryMetrics

_ROUNDS: Final = 5


class ConfluentBus(by_kafka_python.KafkaBus):
    """A topic of the broker, published and consumed through the other client."""

    def source(self, group: str, **options: str | float) -> ConfluentEventSource:  # type: ignore[override]
        """Return a new member."""
        servers = [self.topics.broker.bootstrap_servers]
        return ConfluentEventSource(servers, group=f"{self.topics.prefix}{group}", topics=[self.topic], **options)  # type: ignore[arg-type]


class TestConfluentConsumer(ConsumerScene):
    """Each test with a topic and a database of its own."""

    test_a_dead_letter_is_what_it_was = by_kafka_python.TestKafkaConsumer.test_a_dead_letter_is_what_it_was
    test_two_under_one_name_are_told = by_kafka_python.TestKafkaConsumer.test_two_under_one_name_are_told
    test_a_partition_that_was_paused_comes_back = (
        by_kafka_python.TestKafkaConsumer.test_a_partition_that_was_paused_comes_back
    )

    @pytest.fixture
    def bus(self, kafka_broker: KafkaBroker, database: str) -> Iterator[ConfluentBus]:
        """With nothing on it."""
        with contextlib.closing(
            ConfluentEventPublisher([kafka_broker.bootstrap_servers], client_id="test")
        ) as publisher:
            topics = Topics(kafka_broker, prefix=f"c{uuid.uuid4().hex}.")
            yield ConfluentBus(database, topics, publisher)  # type: ignore[arg-type]

    def test_members_come_and_go(self, bus: ConfluentBus, metrics: InMemoryMetrics) -> None:
        """Every two seconds; no effect is lost or doubled, and each key keeps its order."""
        numbers, keys = range(1, _ROUNDS * 4 + 1), [f"k{number}" for number in range(25)]
        chance = random.Random(4711)  # noqa: S311 - a test that is the same each time
        members: list[contextlib.ExitStack] = []

        def join() -> None:
            consumer = EventConsumer(bus.source("g"), inbox=bus.inbox(), metrics=metrics)
            consumer.on(TYPE)(bus.write)
            members.append(contextlib.ExitStack())
            members[-1].enter_context(running(consumer))

        join()
        for round_ in range(_ROUNDS):
            round_ends_at = time.monotonic() + 2.0
            if len(members) < 2 or (len(members) < 4 and chance.random() < 0.6):
                join()
            else:
                members.pop(chance.randrange(len(members))).close()
            for number in numbers[round_ * 4 : round_ * 4 + 4]:
                bus.publish([self.event(bus, key, number) for key in keys for _ in range(chance.randint(1, 2))])
            time.sleep(max(0.0, round_ends_at - time.monotonic()))
        try:
            until(lambda: len(bus.effects()) >= len(numbers) * len(keys), seconds=30)
        finally:
            for member in members:
                member.close()

        effects = bus.effects()
        assert {key: list(numbers) for key in keys} == {
            key: [number for other, number in effects if other == key] for key in keys
        }
