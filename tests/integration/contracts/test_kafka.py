"""The contract of the bus over a real Kafka broker."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

import attrs
import pytest

from tests.integration.messaging.topics import Topics
from userservice_core.infrastructure.messaging.confluent_publisher import ConfluentEventPublisher
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher
from userservice_core.testing.contracts.event_publisher import EventPublisherContract
from userservice_core.testing.samples import sample_event_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.servers.kafka import KafkaBroker
    from userservice_core.ports.publishing import EventPublisher, OutboxRecord


class TestKafkaEventPublisher(EventPublisherContract):
    """Each test with a topic of its own."""

    kind: ClassVar[type[KafkaEventPublisher | ConfluentEventPublisher]] = KafkaEventPublisher

    @pytest.fixture
    def topics(self, kafka_broker: KafkaBroker) -> Topics:
        """Names that no other test uses."""
        return Topics(kafka_broker, prefix=f"contract-{sample_event_id()}.")

    @pytest.fixture
    def topic(self, topics: Topics) -> str:
        """A topic with a few partitions."""
        return topics.create()

    @pytest.fixture
    def publisher(self, kafka_broker: KafkaBroker) -> Iterator[EventPublisher]:
        """One that gives up soon."""
        with contextlib.closing(
            self.kind([kafka_broker.bootstrap_servers], client_id="contract", patience_seconds=10)
        ) as opened:
            yield opened

    @pytest.fixture
    def received(self, topics: Topics) -> Callable[[Sequence[OutboxRecord]], list[UUID]]:
        """Consume the topic to its present end: what is acknowledged is there."""
        return lambda _: [UUID(arrival.headers["ce_id"]) for arrival in topics.arrivals()]

    @pytest.fixture
    def refused(self) -> Callable[[OutboxRecord], OutboxRecord]:
        """Make it larger than the broker takes."""
        return lambda record: attrs.evolve(record, payload=b'"' + b"x" * 2_000_000 + b'"')


class TestConfluentEventPublisher(TestKafkaEventPublisher):
    """Through the other client."""

    kind = ConfluentEventPublisher
