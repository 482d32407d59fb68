"""Kafka as the bus, through kafka-python's idempotent producer."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import structlog
from kafka import KafkaProducer
from kafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from userservice_core.errors import BusUnavailableError
from userservice_core.infrastructure.messaging.cloudevents import headers_of
from userservice_core.infrastructure.messaging.kafka_admin import KafkaTopicAdmin
from userservice_core.infrastructure.messaging.kafka_clients import built, reason_of, require_broker
from userservice_core.infrastructure.messaging.kafka_judging import TOO_LARGE, WAITS, judged
from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
from userservice_core.infrastructure.messaging.kafka_topics import create_missing
from userservice_core.ports.publishing import Delivery, Reach

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from kafka.producer.future import FutureRecordMetadata

    from userservice_core.infrastructure.messaging.kafka_topics import TopicSpec
    from userservice_core.ports.publishing import OutboxRecord

_log = structlog.get_logger("userservice.kafka")

_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
_CLOSE_SECONDS: Final = 5.0


class KafkaEventPublisher:
    """
    Implements :class:`~userservice_core.ports.publishing.EventPublisher`.

    The producer is idempotent and repeats by itself for longer than a wave is waited for, so within its life records of
    a partition are neither reordered nor doubled. Whatever is not acknowledged in time costs the producer its life, and
    with it everything it still holds: the next wave begins with a new one and an empty buffer.
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
        self._producer: KafkaProducer | None = None

    def publish(self, records: Sequence[OutboxRecord]) -> tuple[Delivery, ...]:
        deliveries, doubtful = self._send(records)
        return judged(deliveries, doubtful, self._send_alone) if doubtful else deliveries

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        # `close` alone would first wait for what is buffered, and give up on closing when that takes too long.
        sender = producer._sender  # noqa: SLF001 - nothing public discards the buffer
        if sender is not None:
            sender.force_close()
            sender.join(_CLOSE_SECONDS)
        with contextlib.suppress(KafkaError):
            producer.close(timeout=0)

    def _send(self, records: Sequence[OutboxRecord]) -> tuple[tuple[Delivery, ...], frozenset[UUID]]:
        """Send a wave; returns what became of it, and the ids of what the broker may have refused in error."""
        try:
            producer = self._connected()
        except (KafkaError, BusUnavailableError) as error:
            reason = reason_of(error) if isinstance(error, KafkaError) else error.detail
            cause = f"no broker can be reached: {reason}"
            return tuple(Delivery(record, cause) for record in records), frozenset()
        wave = _Wave(producer, self._topic_names)
        for record in records:
            wave.send(record)
        deliveries = wave.wait(deadline=time.monotonic() + self._patience_seconds)
        if wave.is_broken:
            self.close()
        return deliveries, frozenset(wave.doubtful)

    def _send_alone(self, record: OutboxRecord) -> Delivery:
        ((delivery,), _) = self._send([record])
        return delivery

    def _connected(self) -> KafkaProducer:
        if self._producer is None:
            require_broker(self._bootstrap_servers, self._security, patience_seconds=self._connect_patience_seconds)
            self._create_missing_topics()
            self._producer = built(
                KafkaProducer,
                bootstrap_servers=self._bootstrap_servers,
                client_id=self._client_id,
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=int(self._connect_patience_seconds * 1000),
                max_block_ms=int(self._connect_patience_seconds * 1000),
                request_timeout_ms=int(self._request_timeout_seconds * 1000),
                # Longer than a wave is waited for: it is this class that gives up, and then on everything at once.
                delivery_timeout_ms=int(self._patience_seconds * 1000) + 3_600_000,
                reconnect_backoff_max_ms=500,
                linger_ms=2,
                batch_size=131_072,
                **self._security.for_kafka_python(),
            )
        return self._producer

    def _create_missing_topics(self) -> None:
        if not self._missing_topics:
            return
        admin = KafkaTopicAdmin(
            self._bootstrap_servers, self._security, patience_seconds=self._connect_patience_seconds
        )
        with contextlib.closing(admin):
            for spec in create_missing(admin, self._missing_topics):
                _log.info("topic created", topic=spec.name, partitions=spec.partitions)
        self._missing_topics = []


class _Wave:
    """
    Records on their way, and which keys and topics have failed, so that nothing overtakes what did.

    Attributes:
        is_broken: Whether something may still be sent that was told to have failed.
        doubtful: What was refused as too large, but maybe only together with another record.
    """

    def __init__(self, producer: KafkaProducer, topic_names: Mapping[str, str]) -> None:
        self.is_broken = False
        self.doubtful: set[UUID] = set()
        self._producer = producer
        self._topic_names = topic_names
        self._sent: list[tuple[OutboxRecord, FutureRecordMetadata | Delivery]] = []
        # Apart: what was sent before a record of its key was refused is on its way all the same.
        self._refused_keys: set[tuple[str, str]] = set()
        self._failed_keys: set[tuple[str, str]] = set()
        self._failed_topics: dict[str, str] = {}

    def send(self, record: OutboxRecord) -> None:
        """Put a record into the producer's buffer; a topic that cannot be had fails once, not once a record."""
        self._sent.append((record, self._send(record)))

    def wait(self, *, deadline: float) -> tuple[Delivery, ...]:
        """Wait for what was sent, and say what became of each record."""
        return tuple(self._delivery(record, sent, deadline) for record, sent in self._sent)

    def _send(self, record: OutboxRecord) -> FutureRecordMetadata | Delivery:
        key = (record.topic, record.key)
        if key in self._refused_keys:
            return Delivery(record, WAITS)
        if record.topic in self._failed_topics:
            return self._topic_failure(record)
        try:
            return self._producer.send(
                self._topic_names.get(record.topic, record.topic),
                value=record.payload,
                key=record.key.encode(),
                headers=headers_of(record),
                timestamp_ms=int(record.occurred_at.timestamp() * 1000),
            )
        except _TOO_LARGE:
            self._refused_keys.add(key)
            return Delivery(record, TOO_LARGE, retriable=False)
        except KafkaError as error:
            self._failed_topics[record.topic] = f"the topic cannot be had: {type(error).__name__}"
            return self._topic_failure(record)

    def _delivery(self, record: OutboxRecord, sent: FutureRecordMetadata | Delivery, deadline: float) -> Delivery:
        if isinstance(sent, Delivery):
            return sent
        key = (record.topic, record.key)
        try:
            sent.get(timeout=max(0.0, deadline - time.monotonic()))
        except _TOO_LARGE:
            self._failed_keys.add(key)
            self.is_broken = True
            self.doubtful.add(record.id)
            return Delivery(record, TOO_LARGE, retriable=False)
        except KafkaError as error:
            self._failed_keys.add(key)
            self.is_broken = True
            reach = Reach.TOPIC if isinstance(error, TopicAuthorizationFailedError) else Reach.BUS
            return Delivery(record, f"not acknowledged: {type(error).__name__}", reach=reach)
        return Delivery(record, WAITS) if key in self._failed_keys else Delivery(record)

    def _topic_failure(self, record: OutboxRecord) -> Delivery:
        self.is_broken = True
        return Delivery(record, self._failed_topics[record.topic], reach=Reach.TOPIC)
