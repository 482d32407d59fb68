"""The topics of one test, and what arrived in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition

from tests.servers.kafka import KafkaBroker, KafkaCluster
from userservice_core.infrastructure.messaging.kafka_clients import partitions_of


@attrs.frozen
class Arrival:
    """One record as a consumer gets it."""

    partition: int
    key: str
    value: bytes
    headers: Mapping[str, str]
    timestamp_ms: int
    offset: int = 0

    @property
    def sequence(self) -> int:
        """The number of the event within its key."""
        return int(self.headers["ce_sequence"])


@attrs.frozen
class Owners:
    """
    The members of a group of consumers.

    Attributes:
        state: As the broker calls it: `Stable`, `PreparingRebalance`, and others.
        members: How many.
        owned: How many members have each partition, by topic and number.
    """

    state: str
    members: int
    owned: Counter[tuple[str, int]]


@attrs.frozen
class Topics:
    """Topics under a prefix of the test."""

    broker: KafkaBroker | KafkaCluster
    prefix: str

    def name(self, topic: str = "users") -> str:
        """Return the whole name of *topic*."""
        return f"{self.prefix}{topic}"

    def create(self, topic: str = "users", *, partitions: int = 4, **settings: str) -> str:
        """Create *topic*, with settings of the broker in snake_case, and return its whole name."""
        name = self.name(topic)
        configs = {setting.replace("_", "."): value for setting, value in settings.items()}
        admin = KafkaAdminClient(bootstrap_servers=self.broker.bootstrap_servers)
        try:
            new = {name: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}}
            admin.create_topics(new, wait_for_metadata=True)
        finally:
            admin.close()
        return name

    def exists(self, topic: str = "users") -> bool:
        """Tell whether there is a topic."""
        admin = KafkaAdminClient(bootstrap_servers=self.broker.bootstrap_servers)
        try:
            return self.name(topic) in admin.list_topics()
        finally:
            admin.close()

    def committed(self, group: str, topic: str = "users") -> dict[int, int]:
        """Return what *group* has committed, by partition."""
        consumer = KafkaConsumer(bootstrap_servers=self.broker.bootstrap_servers, group_id=group)
        try:
            name = self.name(topic)
            return {
                number: consumer.committed(TopicPartition(name, number)) or 0
                for number in partitions_of(consumer, name)
            }
        finally:
            consumer.close()

    def owners(self, group: str) -> Owners:
        """Return who has which partitions, as the broker that coordinates *group* sees it."""
        admin = KafkaAdminClient(bootstrap_servers=self.broker.bootstrap_servers)
        try:
            described = admin.describe_groups([group])[group]
        finally:
            admin.close()
        owned = Counter(
            (part["topic"], number)
            for member in described["members"]
            for part in (member["member_assignment"] or {}).get("assigned_partitions", ())
            for number in part["partitions"]
        )
        return Owners(described["group_state"], len(described["members"]), owned)

    def ends(self, topic: str = "users") -> dict[int, int]:
        """Return what will be the next offset of each partition."""
        consumer = KafkaConsumer(bootstrap_servers=self.broker.bootstrap_servers)
        try:
            name = self.name(topic)
            ends = consumer.end_offsets([TopicPartition(name, number) for number in partitions_of(consumer, name)])
            return {partition.partition: end for partition, end in ends.items()}
        finally:
            consumer.close()

    def rewind(self, group: str, topic: str = "users") -> None:
        """Have *group*, which has no member now, begin again with the oldest records."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.broker.bootstrap_servers, group_id=group, enable_auto_commit=False
        )
        try:
            name = self.name(topic)
            partitions = [TopicPartition(name, number) for number in partitions_of(consumer, name)]
            consumer.assign(partitions)
            consumer.commit({partition: OffsetAndMetadata(0, "", -1) for partition in partitions})
        finally:
            consumer.close()

    def send_garbage(self, topic: str = "users", *, value: bytes | None = b"\xff", key: str = "garbage") -> None:
        """Send what is no event, as somebody else may."""
        producer = KafkaProducer(bootstrap_servers=self.broker.bootstrap_servers)
        try:
            producer.send(self.name(topic), key=key.encode(), value=value).get(timeout=10)
        finally:
            producer.close()

    def arrivals(self, topic: str = "users") -> list[Arrival]:
        """Return what is in *topic*, in order within a partition."""
        consumer = KafkaConsumer(bootstrap_servers=self.broker.bootstrap_servers, auto_offset_reset="earliest")
        try:
            name = self.name(topic)
            partitions = [TopicPartition(name, number) for number in partitions_of(consumer, name)]
            consumer.assign(partitions)
            ends: Mapping[TopicPartition, int] = consumer.end_offsets(partitions)
            found = []
            while any(consumer.position(partition) < end for partition, end in ends.items()):
                for records in consumer.poll(timeout_ms=200).values():
                    found += [_arrival(record) for record in records]
            return found
        finally:
            consumer.close()


def _arrival(record: Any) -> Arrival:  # noqa: ANN401 - the library has no types
    return Arrival(
        partition=record.partition,
        key=record.key.decode(),
        value=record.value,
        headers={name: value.decode(errors="replace") for name, value in record.headers},
        timestamp_ms=record.timestamp,
        offset=record.offset,
    )
