"""Publishing to Kafka in waves, whichever client sends them: what became of each record, and what that costs."""

from __future__ import annotations

import abc
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import structlog

from userservice_core.infrastructure.messaging.kafka_judging import TOO_LARGE, WAITS, judged
from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
from userservice_core.infrastructure.messaging.kafka_topics import create_missing
from userservice_core.ports.publishing import Delivery

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from userservice_core.infrastructure.messaging.kafka_topics import TopicAdmin, TopicSpec
    from userservice_core.ports.publishing import OutboxRecord

P = TypeVar("P")

_log = structlog.get_logger("userservice.kafka")

LINGER_MILLISECONDS: Final = 2
BATCH_BYTES: Final = 131_072
_BEYOND_PATIENCE_MILLISECONDS: Final = 3_600_000


class NotConnectedError(Exception):
    """No broker can be reached; its words say why."""


class WavePublisher(abc.ABC, Generic[P]):
    """
    Implements :class:`~userservice_core.ports.publishing.EventPublisher` on the idempotent producer of a client.

    The producer repeats by itself for longer than a wave is waited for, so within its life records of a partition are
    neither reordered nor doubled. Whatever is not acknowledged in time costs the producer its life, and with it
    everything it still holds: the next wave begins with a new one and an empty buffer.
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
        self._producer: P | None = None

    def publish(self, records: Sequence[OutboxRecord]) -> tuple[Delivery, ...]:
        deliveries, doubtful = self._send(records)
        return judged(deliveries, doubtful, self._send_alone) if doubtful else deliveries

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            self._discard(producer)

    def producer(self) -> P:
        """
        Return the client's producer, connected.

        Raises:
            NotConnectedError: If no broker can be reached.
        """
        if self._producer is None:
            self._producer = self._connected()
        return self._producer

    def _send(self, records: Sequence[OutboxRecord]) -> tuple[tuple[Delivery, ...], frozenset[UUID]]:
        """Send a wave; returns what became of it, and the ids of what the broker may have refused in error."""
        try:
            producer = self.producer()
        except NotConnectedError as error:
            cause = f"no broker can be reached: {error}"
            return tuple(Delivery(record, cause) for record in records), frozenset()
        wave = self._wave(producer)
        for record in records:
            wave.send(record)
        deliveries = wave.wait(deadline=time.monotonic() + self._patience_seconds)
        if wave.is_broken:
            self.close()
        return deliveries, frozenset(wave.doubtful)

    def _send_alone(self, record: OutboxRecord) -> Delivery:
        ((delivery,), _) = self._send([record])
        return delivery

    def _producer_settings(self) -> dict[str, Any]:
        """Return what both clients call by the same names."""
        return {
            "client_id": self._client_id,
            "acks": "all",
            "enable_idempotence": True,
            "request_timeout_ms": int(self._request_timeout_seconds * 1000),
            # Longer than a wave is waited for: it is this class that gives up, and then on everything at once.
            "delivery_timeout_ms": int(self._patience_seconds * 1000) + _BEYOND_PATIENCE_MILLISECONDS,
            "linger_ms": LINGER_MILLISECONDS,
            "batch_size": BATCH_BYTES,
        }

    def _create_missing_topics(self) -> None:
        if not self._missing_topics:
            return
        with contextlib.closing(self._admin()) as admin:
            for spec in create_missing(admin, self._missing_topics):
                _log.info("topic created", topic=spec.name, partitions=spec.partitions)
        self._missing_topics = []

    @abc.abstractmethod
    def _connected(self) -> P:
        """Make a producer, after the topics that are missing; raises :class:`NotConnectedError` if none can be had."""

    @abc.abstractmethod
    def _discard(self, producer: P) -> None:
        """End a producer without sending what it still holds."""

    @abc.abstractmethod
    def _wave(self, producer: P) -> Wave:
        """Begin a wave."""

    @abc.abstractmethod
    def _admin(self) -> TopicAdmin:
        """Return what makes topics."""


class Wave(abc.ABC):
    """
    Records on their way, and which keys have failed, so that nothing overtakes what did.

    Attributes:
        is_broken: Whether something may still be sent that was told to have failed.
        doubtful: What was refused as too large, but maybe only together with another record.
    """

    def __init__(self, topic_names: Mapping[str, str]) -> None:
        self.is_broken = False
        self.doubtful: set[UUID] = set()
        self._topic_names = topic_names
        self._records: list[OutboxRecord] = []
        # By the number of a record: None where it was acknowledged, else what went wrong.
        self._outcomes: dict[int, object] = {}
        # Apart: what was sent before a record of its key was refused is on its way all the same.
        self._refused_keys: set[tuple[str, str]] = set()
        self._failed_keys: set[tuple[str, str]] = set()

    def send(self, record: OutboxRecord) -> None:
        """Put a record into the producer's buffer."""
        number = len(self._records)
        self._records.append(record)
        if self._refused_keys and (record.topic, record.key) in self._refused_keys:
            self._outcomes[number] = Delivery(record, WAITS)
            return
        refusal = self._refusal(number, record, self._topic_names.get(record.topic, record.topic))
        if refusal is not None:
            self._refused_keys.add((record.topic, record.key))
            self._outcomes[number] = refusal

    def wait(self, *, deadline: float) -> tuple[Delivery, ...]:
        """Wait for what was sent, and say what became of each record."""
        self._settle(deadline)
        # Mostly all of them were acknowledged, which needs no look at each one's key.
        if len(self._outcomes) == len(self._records) and all(each is None for each in self._outcomes.values()):
            return tuple(map(Delivery, self._records))
        return tuple(self._deliveries())

    def _deliveries(self) -> Iterator[Delivery]:
        for number, record in enumerate(self._records):
            outcome = self._outcomes.get(number, _NOTHING_TOLD)
            if isinstance(outcome, Delivery):
                yield outcome
            elif outcome is not None:
                yield self._failed(record, outcome)
            elif (record.topic, record.key) in self._failed_keys:
                yield Delivery(record, WAITS)
            else:
                yield Delivery(record)

    def _failed(self, record: OutboxRecord, outcome: object) -> Delivery:
        self.is_broken = True
        self._failed_keys.add((record.topic, record.key))
        if outcome is _NOTHING_TOLD:
            return Delivery(record, "not acknowledged in time")
        if self._is_too_large(outcome):
            self.doubtful.add(record.id)
            return Delivery(record, TOO_LARGE, retriable=False)
        return self._failure(record, outcome)

    @abc.abstractmethod
    def _refusal(self, number: int, record: OutboxRecord, topic: str) -> Delivery | None:
        """Put a record into the buffer; if the client does not take it at all, return what is to be told of it."""

    @abc.abstractmethod
    def _settle(self, deadline: float) -> None:
        """Wait until the client has told of all, and note the outcomes; what it did not tell is left out."""

    @abc.abstractmethod
    def _is_too_large(self, outcome: Any) -> bool:  # noqa: ANN401 - the client's own
        """Tell whether a record, or what it was sent with, is more than the broker takes."""

    @abc.abstractmethod
    def _failure(self, record: OutboxRecord, outcome: Any) -> Delivery:  # noqa: ANN401 - the client's own
        """Say what the client told of a record."""


_NOTHING_TOLD: Final = object()
