"""Kafka as the bus, through the idempotent producer of confluent-kafka (librdkafka)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

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
from userservice_core.infrastructure.messaging.kafka_judging import TOO_LARGE
from userservice_core.infrastructure.messaging.kafka_waves import NotConnectedError, Wave, WavePublisher
from userservice_core.ports.publishing import Delivery, Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import Message

    from userservice_core.ports.publishing import OutboxRecord

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


class ConfluentEventPublisher(WavePublisher[Producer]):
    """Publishes through confluent-kafka."""

    def _connected(self) -> Producer:
        try:
            require_connection(self._bootstrap_servers, self._security, patience_seconds=self._connect_patience_seconds)
            return self._connected_producer()
        except KafkaException as error:
            raise NotConnectedError(reason_of(error)) from error
        except BusUnavailableError as error:
            raise NotConnectedError(error.detail) from error

    def _connected_producer(self) -> Producer:
        failures = Failures()
        settings = settings_of(
            self._bootstrap_servers,
            self._security,
            failures,
            # As Java's clients and kafka-python do, and not as this library does by itself.
            partitioner="murmur2_random",
            message_max_bytes=_LARGEST_BYTES,
            **self._producer_settings(),
        )
        settings["topic.metadata.propagation.max.ms"] = int(self._connect_patience_seconds * 1000)
        producer = Producer(settings)
        try:
            require_broker(producer, failures, patience_seconds=self._connect_patience_seconds)
            self._create_missing_topics()
        except BaseException:
            producer.close()
            raise
        return producer

    def _discard(self, producer: Producer) -> None:
        producer.purge()
        # What was discarded is told, and by that it is gone; `close` alone would first send it.
        producer.flush(_PURGE_SECONDS)
        producer.close()

    def _wave(self, producer: Producer) -> Wave:
        return _ConfluentWave(producer, self._topic_names)

    def _admin(self) -> ConfluentTopicAdmin:
        return ConfluentTopicAdmin(
            self._bootstrap_servers, self._security, patience_seconds=self._connect_patience_seconds
        )


class _ConfluentWave(Wave):
    """A wave of which the client tells by calls while it is waited for."""

    def __init__(self, producer: Producer, topic_names: Mapping[str, str]) -> None:
        super().__init__(topic_names)
        self._producer = producer

    def _refusal(self, number: int, record: OutboxRecord, topic: str) -> Delivery | None:
        try:
            self._producer.produce(
                topic,
                value=record.payload,
                key=record.key.encode(),
                headers=headers_of(record),  # type: ignore[arg-type]  # a list of any pairs will do
                timestamp=int(record.occurred_at.timestamp() * 1000),
                on_delivery=self._teller(number),
            )
        except KafkaException as error:
            return self._not_taken(record, error.args[0])
        except BufferError:
            return Delivery(record, "not sent: the client holds as many as it can")
        return None

    def _settle(self, deadline: float) -> None:
        while len(self._outcomes) < len(self._records) and (left := deadline - time.monotonic()) > 0:
            self._producer.flush(left)

    def _teller(self, number: int) -> Callable[[KafkaError | None, Message], None]:
        def tell(error: KafkaError | None, _message: Message) -> None:
            self._outcomes[number] = error

        return tell

    def _not_taken(self, record: OutboxRecord, error: KafkaError) -> Delivery:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return Delivery(record, TOO_LARGE, retriable=False)
        self.is_broken = True
        return self._failure(record, error)

    def _is_too_large(self, outcome: Any) -> bool:  # noqa: ANN401 - an error of the client
        return bool(outcome.code() == KafkaError.MSG_SIZE_TOO_LARGE)

    def _failure(self, record: OutboxRecord, outcome: Any) -> Delivery:  # noqa: ANN401 - as above
        if outcome.code() in _OF_ITS_TOPIC:
            return Delivery(record, f"the topic cannot be had: {reason_of(outcome)}", reach=Reach.TOPIC)
        return Delivery(record, f"not acknowledged: {reason_of(outcome)}")
