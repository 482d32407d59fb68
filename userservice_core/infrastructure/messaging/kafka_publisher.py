"""Kafka as the bus, through kafka-python's idempotent producer."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

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
from userservice_core.infrastructure.messaging.kafka_judging import TOO_LARGE
from userservice_core.infrastructure.messaging.kafka_waves import NotConnectedError, Wave, WavePublisher
from userservice_core.ports.publishing import Delivery, Reach

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafka.producer.future import FutureRecordMetadata

    from userservice_core.ports.publishing import OutboxRecord

_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
_CLOSE_SECONDS: Final = 5.0


class KafkaEventPublisher(WavePublisher[KafkaProducer]):
    """Publishes through kafka-python."""

    def _connected(self) -> KafkaProducer:
        try:
            require_broker(self._bootstrap_servers, self._security, patience_seconds=self._connect_patience_seconds)
            self._create_missing_topics()
            return built(
                KafkaProducer,
                bootstrap_servers=self._bootstrap_servers,
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=int(self._connect_patience_seconds * 1000),
                max_block_ms=int(self._connect_patience_seconds * 1000),
                reconnect_backoff_max_ms=500,
                **self._producer_settings(),
                **self._security.for_kafka_python(),
            )
        except KafkaError as error:
            raise NotConnectedError(reason_of(error)) from error
        except BusUnavailableError as error:
            raise NotConnectedError(error.detail) from error

    def _discard(self, producer: KafkaProducer) -> None:
        # `close` alone would first wait for what is buffered, and give up on closing when that takes too long.
        sender = producer._sender  # noqa: SLF001 - nothing public discards the buffer
        if sender is not None:
            sender.force_close()
            sender.join(_CLOSE_SECONDS)
        with contextlib.suppress(KafkaError):
            producer.close(timeout=0)

    def _wave(self, producer: KafkaProducer) -> Wave:
        return _KafkaWave(producer, self._topic_names)

    def _admin(self) -> KafkaTopicAdmin:
        return KafkaTopicAdmin(self._bootstrap_servers, self._security, patience_seconds=self._connect_patience_seconds)


class _KafkaWave(Wave):
    """A wave of which each record is a future; a topic that cannot be had fails once, not once a record."""

    def __init__(self, producer: KafkaProducer, topic_names: Mapping[str, str]) -> None:
        super().__init__(topic_names)
        self._producer = producer
        self._sent: list[tuple[int, FutureRecordMetadata]] = []
        self._failed_topics: dict[str, str] = {}

    def _refusal(self, number: int, record: OutboxRecord, topic: str) -> Delivery | None:
        if record.topic in self._failed_topics:
            return self._topic_failure(record)
        try:
            future = self._producer.send(
                topic,
                value=record.payload,
                key=record.key.encode(),
                headers=headers_of(record),
                timestamp_ms=int(record.occurred_at.timestamp() * 1000),
            )
        except _TOO_LARGE:
            return Delivery(record, TOO_LARGE, retriable=False)
        except KafkaError as error:
            self._failed_topics[record.topic] = f"the topic cannot be had: {type(error).__name__}"
            return self._topic_failure(record)
        self._sent.append((number, future))
        return None

    def _settle(self, deadline: float) -> None:
        for number, future in self._sent:
            if not future.is_done:
                with contextlib.suppress(KafkaError):
                    future.get(timeout=max(0.0, deadline - time.monotonic()))
            # What failed is told by the future itself; that it was not waited for any longer is no failure yet.
            if future.is_done:
                self._outcomes[number] = future.exception

    def _is_too_large(self, outcome: Any) -> bool:  # noqa: ANN401 - an error of the client
        return isinstance(outcome, _TOO_LARGE)

    def _failure(self, record: OutboxRecord, outcome: Any) -> Delivery:  # noqa: ANN401 - as above
        reach = Reach.TOPIC if isinstance(outcome, TopicAuthorizationFailedError) else Reach.BUS
        return Delivery(record, f"not acknowledged: {type(outcome).__name__}", reach=reach)

    def _topic_failure(self, record: OutboxRecord) -> Delivery:
        self.is_broken = True
        return Delivery(record, self._failed_topics[record.topic], reach=Reach.TOPIC)
