"""Kafka as the bus, through the idempotent producer of confluent-kafka (librdkafka)."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from userservice_core.errors import BusUnavailableError
from userservice_core.infrastructure.messaging.cloudevents import headers_of
from userservice_core.infrastructure.messaging.confluent_admin import ConfluentTopicAdmin
from userservice_core.infrastructure.messaging.confluent_clients import (
    Failures,
    reason_of,
    require_broker,
    require_connection,
    settings_of,
)
from userservice_core.infrastructure.messaging.kafka_judging import TOO_LARGE, WAITS, judged
from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
from userservice_core.infrastructure.messaging.kafka_topics import create_missing
from userservice_core.ports.publishing import Delivery, Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from confluent_kafka import Message

    from userservice_core.infrastructure.messaging.kafka_topics import TopicSpec
    from userservice_core.ports.publishing import OutboxRecord

_log = structlog.get_logger("userservice.kafka")

_LARGEST_BYTES: Final = 1_048_576
_PURGE_SECONDS: Final = 1.0
_OF_ITS_TOPIC: Final = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - its way to name its own
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
    }
)


class ConfluentEventPublisher:
    """
    Implements :class:`~userservice_core.ports.publishing.EventPublisher`.

    As :class:`~userservice_core.infrastructure.messaging.kafka_publisher.KafkaEventPublisher` does: what is not
    acknowledged in time costs the producer its life, and with it everything it still holds.
    """

    def __init__(
        self,
        bootstrap_servers: Sequence[str],
        *,
        client_id: str,
        topics: Sequence[TopicSpec] = (),
        topic_names: Mapping[str, str] | None = None,
        patience_seconds: float = 30.0,
        connect_patience_seconds: float = 5.0,
        request_timeout_seconds: float = 10.0,
        security: KafkaSecurity | None = None,
    ) -> None:
        """
        Name the brokers; nothing is connected yet.

        Args:
            bootstrap_servers: `host:port` of some of them.
            client_id: What the brokers' logs call us.
            topics: To be created where they are missing.
            topic_names: Where the records of a topic go, if that has another name than they say.
            patience_seconds: How long a wave is waited for.
            connect_patience_seconds: How long a connection and the metadata of a topic are waited for.
            request_timeout_seconds: How long the answer to one request is waited for, before its connection counts as
                dead; what was in it is sent again, and the broker drops what it has already.
            security: Whether over TLS, and who we are; neither if not given.
        """
        self._bootstrap_servers = list(bootstrap_servers)
        self._client_id = client_id
        self._missing_topics = list(topics)
        self._topic_names = dict(topic_names or {})
        self._patience_seconds = patience_seconds
        self._connect_patience_seconds = connect_patience_seconds
        self._request_timeout_seconds = request_timeout_seconds
        self._security = security or KafkaSecurity()
        self._failures = Failures()
        self._producer: Producer | None = None

    def publish(self, records: Sequence[OutboxRecord]) -> tuple[Delivery, ...]:
        deliveries, doubtful = self._send(records)
        return judged(deliveries, doubtful, self._send_alone) if doubtful else deliveries

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        producer.purge()
        # What was discarded is told, and by that it is gone; `close` alone would first send it.
        producer.flush(_PURGE_SECONDS)
        producer.close()

    def _send_alone(self, record: OutboxRecord) -> Delivery:
        ((delivery,), _) = self._send([record])
        return delivery

    def _send(self, records: Sequence[OutboxRecord]) -> tuple[tuple[Delivery, ...], frozenset[UUID]]:
        """Send a wave; returns what became of it, and the ids of what the broker may have refused in error."""
        try:
            producer = self._connected()
        except (KafkaException, BusUnavailableError) as error:
            reason = reason_of(error) if isinstance(error, KafkaException) else error.detail
            return tuple(Delivery(record, f"no broker can be reached: {reason}") for record in records), frozenset()
        wave = _Wave(producer, self._topic_names)
        for record in records:
            wave.send(record)
        deliveries = wave.wait(deadline=time.monotonic() + self._patience_seconds)
        if wave.is_broken:
            self.close()
        return deliveries, frozenset(wave.doubtful)

    def _connected(self) -> Producer:
        if self._producer is not None:
            return self._producer
        require_connection(self._bootstrap_servers, self._security, patience_seconds=self._connect_patience_seconds)
        self._failures = Failures()
        settings = settings_of(
            self._bootstrap_servers,
            self._security,
            self._failures,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            # As Java's clients and kafka-python do, and not as this library does by itself.
            partitioner="murmur2_random",
            request_timeout_ms=int(self._request_timeout_seconds * 1000),
            # Longer than a wave is waited for: it is this class that gives up, and then on everything at once.
            delivery_timeout_ms=int(self._patience_seconds * 1000) + 3_600_000,
            linger_ms=2,
            batch_size=131_072,
            message_max_bytes=_LARGEST_BYTES,
        )
        settings["topic.metadata.propagation.max.ms"] = int(self._connect_patience_seconds * 1000)
        producer = Producer(settings)
        try:
            require_broker(producer, self._failures, patience_seconds=self._connect_patience_seconds)
            self._create_missing_topics()
        except BaseException:
            producer.close()
            raise
        self._producer = producer
        return producer

    def _create_missing_topics(self) -> None:
        if not self._missing_topics:
            return
        admin = ConfluentTopicAdmin(
            self._bootstrap_servers, self._security, patience_seconds=self._connect_patience_seconds
        )
        with contextlib.closing(admin):
            for spec in create_missing(admin, self._missing_topics):
                _log.info("topic created", topic=spec.name, partitions=spec.partitions)
        self._missing_topics = []


class _Wave:
    """
    Records on their way, and which keys have failed, so that nothing overtakes what did.

    Attributes:
        is_broken: Whether something may still be sent that was told to have failed.
        doubtful: What was refused as too large, but maybe only together with another record.
    """

    def __init__(self, producer: Producer, topic_names: Mapping[str, str]) -> None:
        self.is_broken = False
        self.doubtful: set[UUID] = set()
        self._producer = producer
        self._topic_names = topic_names
        self._records: list[OutboxRecord] = []
        self._outcomes: dict[int, KafkaError | Delivery | None] = {}
        self._refused_keys: set[tuple[str, str]] = set()
        self._failed_keys: set[tuple[str, str]] = set()

    def send(self, record: OutboxRecord) -> None:
        """Put a record into the producer's buffer."""
        number = len(self._records)
        self._records.append(record)
        key = (record.topic, record.key)
        if key in self._refused_keys:
            self._outcomes[number] = Delivery(record, WAITS)
            return
        try:
            self._producer.produce(
                self._topic_names.get(record.topic, record.topic),
                value=record.payload,
                key=record.key.encode(),
                headers=[*headers_of(record)],
                timestamp=int(record.occurred_at.timestamp() * 1000),
                on_delivery=self._teller(number),
            )
        except KafkaException as error:
            self._refused_keys.add(key)
            self._outcomes[number] = self._refusal(record, error.args[0])
        except BufferError:
            self._refused_keys.add(key)
            self._outcomes[number] = Delivery(record, "not sent: the client holds as many as it can")

    def wait(self, *, deadline: float) -> tuple[Delivery, ...]:
        """Wait for what was sent, and say what became of each record."""
        while len(self._outcomes) < len(self._records) and (left := deadline - time.monotonic()) > 0:
            self._producer.flush(left)
        return tuple(self._delivery(number, record) for number, record in enumerate(self._records))

    def _teller(self, number: int) -> Callable[[KafkaError | None, Message], None]:
        def tell(error: KafkaError | None, _message: Message) -> None:
            self._outcomes[number] = error

        return tell

    def _refusal(self, record: OutboxRecord, error: KafkaError) -> Delivery:
        """Say why the client did not take a record at all."""
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return Delivery(record, TOO_LARGE, retriable=False)
        self.is_broken = True
        return self._failure(record, error)

    def _delivery(self, number: int, record: OutboxRecord) -> Delivery:
        key = (record.topic, record.key)
        if number not in self._outcomes:
            self.is_broken = True
            self._failed_keys.add(key)
            return Delivery(record, "not acknowledged in time")
        outcome = self._outcomes[number]
        if isinstance(outcome, Delivery):
            return outcome
        if outcome is None:
            return Delivery(record, WAITS) if key in self._failed_keys else Delivery(record)
        self.is_broken = True
        self._failed_keys.add(key)
        if outcome.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self.doubtful.add(record.id)
            return Delivery(record, TOO_LARGE, retriable=False)
        return self._failure(record, outcome)

    def _failure(self, record: OutboxRecord, error: KafkaError) -> Delivery:
        if error.code() in _OF_ITS_TOPIC:
            return Delivery(record, f"the topic cannot be had: {reason_of(error)}", reach=Reach.TOPIC)
        return Delivery(record, f"not acknowledged: {reason_of(error)}")
