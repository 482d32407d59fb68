"""Kafka as the source of events: a member of a group, its offsets, and its topics of dead letters."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from kafka import (
    AsyncConsumerRebalanceListener,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import FencedInstanceIdError, KafkaError

from userservice_core.errors import BusUnavailableError, ConflictError
from userservice_core.infrastructure.messaging.kafka_admin import KafkaTopicAdmin
from userservice_core.infrastructure.messaging.kafka_clients import built, partitions_of, reason_of, require_broker
from userservice_core.infrastructure.messaging.kafka_group import (
    CONNECT_PATIENCE_SECONDS,
    MILLISECONDS,
    POLLED_AT_ONCE,
    SEND_SECONDS,
    DeadLetters,
    GroupMember,
    Place,
    name_of,
    someone_else,
)
from userservice_core.infrastructure.messaging.kafka_records import (
    DEAD_LETTER_SUFFIX,
    LARGEST_DEAD_LETTER_BYTES,
    Offsets,
    Raw,
    dead_letter_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from userservice_core.ports.consuming import Arrival

_log = logging.getLogger("userservice.consumer")

_COMMIT_MILLISECONDS: Final = 5_000
_REPLAY_POLL_MILLISECONDS: Final = 500


class KafkaEventSource(GroupMember[KafkaConsumer]):
    """Implements :class:`~userservice_core.ports.consuming.EventSource` through kafka-python."""

    def poll(self, *, timeout_seconds: float) -> Sequence[Arrival]:
        with _translated():
            consumer = self._connected()
            _free_what_was_paused(consumer)
            polled = consumer.poll(timeout_ms=int(timeout_seconds * MILLISECONDS))
        arrivals: list[Arrival] = []
        with self._lock:
            for partition, records in polled.items():
                offsets = self._offsets.setdefault(partition, Offsets())
                for record in records:
                    offsets.arrived(record.offset)
                    arrivals.append(self._arrival(record, offsets))
        return arrivals

    def commit(self) -> None:
        consumer = self._consumer
        offsets = self._to_commit()
        if consumer is None or not offsets:
            return
        try:
            consumer.commit(_committing(offsets), timeout_ms=_COMMIT_MILLISECONDS)
        except FencedInstanceIdError as error:
            # The library says so nowhere else, and would go on with partitions that are another's.
            raise someone_else() from error
        except KafkaError as error:
            # A rebalance has begun, or the broker is away; at worst these come again, and the inbox knows them.
            _log.info("offsets could not be committed: %s", type(error).__name__)
        else:
            self._are_committed(offsets.items())

    def pause(self, partitions: Collection[str]) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        assigned = consumer.assignment()
        wanted = frozenset(partition for partition in assigned if name_of(partition) in partitions)
        # What was taken away and given back is not paused any more.
        consumer.pause(*wanted)
        consumer.resume(*(partition for partition in self._paused - wanted if partition in assigned))
        self._paused = wanted

    def lag(self) -> int | None:
        consumer = self._consumer
        if consumer is None:
            return None
        lag = 0
        for partition in consumer.assignment():
            end = consumer.highwater(partition)
            if end is None:
                continue
            with contextlib.suppress(KafkaError):
                position = consumer.position(partition, timeout_ms=0)
                lag += 0 if position is None else max(0, end - position)
            with self._lock:
                lag += self._offsets[partition].open if partition in self._offsets else 0
        return lag

    def replay(self, handle: Callable[[Arrival], None]) -> int:
        with _translated():
            require_broker(self._bootstrap_servers, self._security, patience_seconds=CONNECT_PATIENCE_SECONDS)
            consumer = self._built(
                KafkaConsumer,
                group_id=f"{self._group}{DEAD_LETTER_SUFFIX}",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
            )
            try:
                return self._replay_all(consumer, handle)
            finally:
                consumer.close()
                self._dead_letters.close()

    def close(self) -> None:
        consumer = self._consumer
        if consumer is not None:
            with contextlib.suppress(KafkaError, ConflictError):
                self.commit()
            with contextlib.suppress(KafkaError):
                # Leaving tells the listener, which commits what was done meanwhile.
                consumer.close(timeout_ms=_COMMIT_MILLISECONDS)
        self._consumer = None
        self._dead_letters.close()

    # --- the group ----------------------------------------------------------------------------------------------------

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            require_broker(self._bootstrap_servers, self._security, patience_seconds=CONNECT_PATIENCE_SECONDS)
            consumer = self._built(
                KafkaConsumer,
                client_id=self._member_id or self._group,
                group_id=self._group,
                group_instance_id=self._member_id,
                partition_assignment_strategy=[CooperativeStickyAssignor],
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                isolation_level="read_committed",
                max_poll_records=POLLED_AT_ONCE,
                session_timeout_ms=int(self._session_seconds * MILLISECONDS),
                heartbeat_interval_ms=int(self._heartbeat_seconds() * MILLISECONDS),
                max_poll_interval_ms=int(self._most_silent_seconds * MILLISECONDS),
                metadata_max_age_ms=30_000,
                reconnect_backoff_max_ms=1_000,
                # What is lost on the way, such as the question where a partition begins, is asked again after this.
                request_timeout_ms=10_000,
                bootstrap_timeout_ms=int(CONNECT_PATIENCE_SECONDS * MILLISECONDS),
            )
            # Whoever leads the group assigns what it knows of, so it knows the topics before it joins.
            for topic in self._topics:
                partitions_of(consumer, topic)
            consumer.subscribe(topics=self._topics, listener=_Listener(self))
            self._consumer = consumer
        return self._consumer

    def _built(self, build: Callable[..., Any], **settings: Any) -> Any:  # noqa: ANN401 - the library has no types
        """Return a client; whoever wired the source has the last word on its settings."""
        return built(build, **{"bootstrap_servers": self._bootstrap_servers, **settings, **self._all_settings()})

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Give partitions up: finish what is at work, and commit, before another member begins with them."""
        partitions = list(partitions)
        self._lost(frozenset(map(name_of, partitions)))
        offsets = self._to_commit(only=partitions)
        self._begin_anew(partitions)
        if offsets and self._consumer is not None:
            try:
                await self._consumer.commit_async(_committing(offsets))
            except KafkaError as error:
                _log.info("offsets could not be committed at the revocation: %s", type(error).__name__)

    def lost(self, partitions: Iterable[TopicPartition]) -> None:
        """Find that others have partitions already, so that nothing is to be committed."""
        partitions = list(partitions)
        self._lost(frozenset(map(name_of, partitions)))
        self._begin_anew(partitions)

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin anew with what comes of *partitions*."""
        self._begin_anew(partitions)

    def _new_dead_letters(self) -> _DeadLetters:
        return _DeadLetters(self._bootstrap_servers, self._security, self._all_settings())

    def _all_settings(self) -> dict[str, Any]:
        """Return the settings of every client that are not of its kind."""
        return {**self._security.for_kafka_python(), **self._client_settings}

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return _translated()

    # --- dead letters -------------------------------------------------------------------------------------------------

    def _replay_all(self, consumer: KafkaConsumer, handle: Callable[[Arrival], None]) -> int:
        partitions = [
            TopicPartition(topic, number)
            for topic in self._dead_letter_topics()
            for number in partitions_of(consumer, topic)
        ]
        if not partitions:
            return 0
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        replayed = 0
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            polled = consumer.poll(timeout_ms=_REPLAY_POLL_MILLISECONDS, max_records=50)
            for partition, records in polled.items():
                for record in records:
                    if record.offset < ends[partition]:
                        replayed += self._replay_one(consumer, record, handle)
        return replayed

    def _replay_one(self, consumer: KafkaConsumer, record: Any, handle: Callable[[Arrival], None]) -> bool:  # noqa: ANN401 - as above
        arrival = dead_letter_of(record, group=self._group, foreign_topics=self._foreign_topics)
        if arrival is not None:
            handle(arrival)
        offset = OffsetAndMetadata(record.offset + 1, "", -1)
        consumer.commit({TopicPartition(record.topic, record.partition): offset}, timeout_ms=_COMMIT_MILLISECONDS)
        return arrival is not None


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Tells a source what it loses; called by the client's own thread."""

    def __init__(self, source: KafkaEventSource) -> None:
        self._source = source

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._source.revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._source.assigned(assigned)

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._source.lost(lost)


class _DeadLetters(DeadLetters[KafkaProducer]):
    """Writes dead letters through kafka-python."""

    def _admin(self) -> KafkaTopicAdmin:
        return KafkaTopicAdmin(self._bootstrap_servers, self._security, client_settings=self._client_settings)

    def _connected(self) -> KafkaProducer:
        return built(
            KafkaProducer,
            bootstrap_servers=self._bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            max_request_size=LARGEST_DEAD_LETTER_BYTES,
            bootstrap_timeout_ms=int(CONNECT_PATIENCE_SECONDS * MILLISECONDS),
            max_block_ms=int(CONNECT_PATIENCE_SECONDS * MILLISECONDS),
            request_timeout_ms=int(SEND_SECONDS * MILLISECONDS) // 2,
            delivery_timeout_ms=int(SEND_SECONDS * MILLISECONDS),
            **self._client_settings,
        )

    def _send(self, producer: KafkaProducer, topic: str, raw: Raw, headers: list[tuple[str, bytes | None]]) -> None:
        sent = producer.send(topic, key=raw.key, value=raw.value, headers=headers, timestamp_ms=raw.timestamp_ms)
        sent.get(timeout=SEND_SECONDS)

    def _end(self, producer: KafkaProducer) -> None:
        with contextlib.suppress(KafkaError):
            producer.close(timeout=CONNECT_PATIENCE_SECONDS)


def _committing(offsets: Mapping[Place, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    return {TopicPartition(*place): OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()}


def _free_what_was_paused(consumer: KafkaConsumer) -> None:
    """
    Have records that were set aside when their partition was paused come back once it is resumed.

    The library takes them back only while it holds no records, and counts as held what is used up. Without this, such a
    partition is silent for good, since nothing is fetched of a partition that has records set aside.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 - nothing public lets go of them
    if not fetcher._next_partition_records:  # noqa: SLF001
        fetcher._next_partition_records = None  # noqa: SLF001


@contextlib.contextmanager
def _translated() -> Any:  # noqa: ANN401 - a generator's context
    """Raise the library's errors as ours."""
    try:
        yield
    except FencedInstanceIdError as error:
        raise someone_else() from error
    except KafkaError as error:
        raise BusUnavailableError(f"Kafka: {reason_of(error)}") from error
