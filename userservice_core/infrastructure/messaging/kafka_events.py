"""Kafka as the source of events: a member of a group, its offsets, and its topics of dead letters."""

from __future__ import annotations

import contextlib
import logging
import threading
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
from userservice_core.infrastructure.messaging.kafka_records import (
    DEAD_LETTER_SUFFIX,
    LARGEST_DEAD_LETTER_BYTES,
    Offsets,
    Raw,
    arrival_of,
    dead_letter_headers,
    dead_letter_of,
    dead_letter_topic,
)
from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
from userservice_core.infrastructure.messaging.kafka_topics import create_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from userservice_core.ports.consuming import Arrival

_log = logging.getLogger("userservice.consumer")

_COMMIT_MILLISECONDS: Final = 5_000
_POLLED_AT_ONCE: Final = 100
_REPLAY_POLL_MILLISECONDS: Final = 500
_SEND_SECONDS: Final = 15.0
_CONNECT_PATIENCE_SECONDS: Final = 5.0
_MILLISECONDS: Final = 1000


class KafkaEventSource:
    """
    Implements :class:`~userservice_core.ports.consuming.EventSource`.

    Partitions move one by one, not all at once (cooperative assignment). A member with a name of its own keeps its
    partitions over a restart (static membership).
    """

    def __init__(
        self,
        bootstrap_servers: Sequence[str],
        *,
        group: str,
        topics: Sequence[str],
        member_id: str | None = None,
        foreign_topics: Collection[str] = (),
        known_as: Mapping[str, str] | None = None,
        session_seconds: float = 45.0,
        most_silent_seconds: float = 300.0,
        security: KafkaSecurity | None = None,
        client_settings: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Name the brokers; nothing is connected yet.

        Args:
            bootstrap_servers: `host:port` of some of them.
            group: Name of the group; it begins with the oldest events that the topics hold.
            topics: To be consumed; those that are missing are waited for.
            member_id: A name of this member alone that outlives a restart, such as that of a stateful set's pod.
            foreign_topics: Those of *topics* whose events do not count the events of a key in their extension
                `sequence`; the inbox remembers each by itself.
            known_as: The former name of each of *topics* that has replaced another one; events arrive under it, so
                that the inbox goes on where it was, and dead letters stay together.
            session_seconds: How long a member may be gone before its partitions go to others.
            most_silent_seconds: How long this process may not poll before it counts as gone; the consumer polls all
                the time, however slow its handlers are.
            security: Whether over TLS, and who we are; neither if not given.
            client_settings: Further settings of the clients as kafka-python calls them, such as `client_rack`.
        """
        self._bootstrap_servers = list(bootstrap_servers)
        self._group = group
        self._topics = list(topics)
        self._member_id = member_id
        self._foreign_topics = frozenset(foreign_topics)
        self._known_as = dict(known_as or {})
        self._session_seconds = session_seconds
        self._most_silent_seconds = most_silent_seconds
        self._security = security or KafkaSecurity()
        self._client_settings = {**self._security.for_kafka_python(), **(client_settings or {})}
        self._consumer: KafkaConsumer | None = None
        self._lost: Callable[[frozenset[str]], None] = lambda _: None
        self._lock = threading.Lock()
        self._offsets: dict[TopicPartition, Offsets] = {}
        self._paused: frozenset[TopicPartition] = frozenset()
        self._dead_letters = _DeadLetters(self._bootstrap_servers, self._security, self._client_settings)

    @property
    def group(self) -> str:
        return self._group

    def poll(self, *, timeout_seconds: float) -> Sequence[Arrival]:
        with _translated():
            consumer = self._connected()
            _free_what_was_paused(consumer)
            polled = consumer.poll(timeout_ms=int(timeout_seconds * _MILLISECONDS))
        arrivals: list[Arrival] = []
        with self._lock:
            for partition, records in polled.items():
                offsets = self._offsets.setdefault(partition, Offsets())
                for record in records:
                    offsets.arrived(record.offset)
                    arrivals.append(self._arrival(record, offsets))
        return arrivals

    def done(self, arrival: Arrival) -> None:
        offsets = arrival.raw.offsets
        if offsets is not None:
            with self._lock:
                offsets.done(arrival.position)

    def commit(self) -> None:
        consumer = self._consumer
        offsets = self._to_commit()
        if consumer is None or not offsets:
            return
        try:
            consumer.commit(offsets, timeout_ms=_COMMIT_MILLISECONDS)
        except FencedInstanceIdError as error:
            # The library says so nowhere else, and would go on with partitions that are another's.
            raise _someone_else() from error
        except KafkaError as error:
            # A rebalance has begun, or the broker is away; at worst these come again, and the inbox knows them.
            _log.info("offsets could not be committed: %s", type(error).__name__)
        else:
            self._are_committed(offsets)

    def pause(self, partitions: Collection[str]) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        assigned = consumer.assignment()
        wanted = frozenset(partition for partition in assigned if _name_of(partition) in partitions)
        # What was taken away and given back is not paused any more.
        consumer.pause(*wanted)
        consumer.resume(*(partition for partition in self._paused - wanted if partition in assigned))
        self._paused = wanted

    def when_lost(self, callback: Callable[[frozenset[str]], None]) -> None:
        self._lost = callback

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

    def put_aside(self, arrival: Arrival, *, cause: str, attempts: int) -> None:
        self._dead_letters.add(arrival, group=self._group, cause=cause, attempts=attempts)

    def replay(self, handle: Callable[[Arrival], None]) -> int:
        with _translated():
            require_broker(self._bootstrap_servers, self._security, patience_seconds=_CONNECT_PATIENCE_SECONDS)
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
            require_broker(self._bootstrap_servers, self._security, patience_seconds=_CONNECT_PATIENCE_SECONDS)
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
                max_poll_records=_POLLED_AT_ONCE,
                session_timeout_ms=int(self._session_seconds * _MILLISECONDS),
                heartbeat_interval_ms=int(min(3.0, self._session_seconds / 4) * _MILLISECONDS),
                max_poll_interval_ms=int(self._most_silent_seconds * _MILLISECONDS),
                metadata_max_age_ms=30_000,
                reconnect_backoff_max_ms=1_000,
                # What is lost on the way, such as the question where a partition begins, is asked again after this.
                request_timeout_ms=10_000,
                bootstrap_timeout_ms=int(_CONNECT_PATIENCE_SECONDS * _MILLISECONDS),
            )
            # Whoever leads the group assigns what it knows of, so it knows the topics before it joins.
            for topic in self._topics:
                partitions_of(consumer, topic)
            consumer.subscribe(topics=self._topics, listener=_Listener(self))
            self._consumer = consumer
        return self._consumer

    def _built(self, build: Callable[..., Any], **settings: Any) -> Any:  # noqa: ANN401 - the library has no types
        """Return a client; whoever wired the source has the last word on its settings."""
        return built(build, **{"bootstrap_servers": self._bootstrap_servers, **settings, **self._client_settings})

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Give partitions up: finish what is at work, and commit, before another member begins with them."""
        partitions = list(partitions)
        self._lost(frozenset(map(_name_of, partitions)))
        offsets = self._to_commit(only=partitions)
        self.forget(partitions)
        if offsets and self._consumer is not None:
            try:
                await self._consumer.commit_async(offsets)
            except KafkaError as error:
                _log.info("offsets could not be committed at the revocation: %s", type(error).__name__)

    def lost(self, partitions: Iterable[TopicPartition]) -> None:
        """Find that others have partitions already, so that nothing is to be committed."""
        partitions = list(partitions)
        self._lost(frozenset(map(_name_of, partitions)))
        self.forget(partitions)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin anew with what comes of *partitions*."""
        with self._lock:
            for partition in partitions:
                self._offsets.pop(partition, None)

    def _to_commit(self, *, only: Collection[TopicPartition] | None = None) -> dict[TopicPartition, OffsetAndMetadata]:
        with self._lock:
            return {
                partition: OffsetAndMetadata(offset, "", -1)
                for partition, offsets in self._offsets.items()
                if (only is None or partition in only) and (offset := offsets.to_commit()) is not None
            }

    def _are_committed(self, committed: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        with self._lock:
            for partition, offset in committed.items():
                if partition in self._offsets:
                    self._offsets[partition].committed(offset.offset)

    def _arrival(self, record: Any, offsets: Offsets) -> Arrival:  # noqa: ANN401 - the library has no types
        return arrival_of(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            raw=Raw(record.key, record.value, tuple(record.headers), record.timestamp, offsets),
            is_sequenced=self._known_as.get(record.topic, record.topic) not in self._foreign_topics,
            known_as=self._known_as.get(record.topic),
        )

    # --- dead letters -------------------------------------------------------------------------------------------------

    def _replay_all(self, consumer: KafkaConsumer, handle: Callable[[Arrival], None]) -> int:
        partitions = [
            TopicPartition(topic, number)
            for topic in (f"{self._known_as.get(topic, topic)}{DEAD_LETTER_SUFFIX}" for topic in self._topics)
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
        self._source.forget(assigned)

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._source.lost(lost)


class _DeadLetters:
    """Writes to the topics of dead letters. For many threads."""

    def __init__(
        self, bootstrap_servers: Sequence[str], security: KafkaSecurity, client_settings: Mapping[str, Any]
    ) -> None:
        self._bootstrap_servers = list(bootstrap_servers)
        self._security = security
        self._client_settings = client_settings
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._topics: set[str] = set()

    def add(self, arrival: Arrival, *, group: str, cause: str, attempts: int) -> None:
        topic = f"{arrival.topic}{DEAD_LETTER_SUFFIX}"
        raw: Raw = arrival.raw
        headers = dead_letter_headers(arrival, group=group, cause=cause, attempts=attempts)
        # One at a time: dead letters are few, and those of a key must not overtake each other.
        with self._lock, _translated():
            producer = self._connected(topic, like=arrival.partition.rpartition("-")[0])
            producer.send(topic, key=raw.key, value=raw.value, headers=headers, timestamp_ms=raw.timestamp_ms).get(
                timeout=_SEND_SECONDS
            )

    def close(self) -> None:
        with self._lock:
            producer, self._producer = self._producer, None
            self._topics.clear()
        if producer is not None:
            with contextlib.suppress(KafkaError):
                producer.close(timeout=_CONNECT_PATIENCE_SECONDS)

    def _connected(self, topic: str, *, like: str) -> KafkaProducer:
        if topic not in self._topics:
            self._create(topic, like=like)
            self._topics.add(topic)
        if self._producer is None:
            self._producer = built(
                KafkaProducer,
                bootstrap_servers=self._bootstrap_servers,
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                max_request_size=LARGEST_DEAD_LETTER_BYTES,
                bootstrap_timeout_ms=int(_CONNECT_PATIENCE_SECONDS * _MILLISECONDS),
                max_block_ms=int(_CONNECT_PATIENCE_SECONDS * _MILLISECONDS),
                request_timeout_ms=int(_SEND_SECONDS * _MILLISECONDS) // 2,
                delivery_timeout_ms=int(_SEND_SECONDS * _MILLISECONDS),
                **self._client_settings,
            )
        return self._producer

    def _create(self, topic: str, *, like: str) -> None:
        """Create a topic with as many partitions as another one, where it is missing."""
        admin = KafkaTopicAdmin(self._bootstrap_servers, self._security, client_settings=self._client_settings)
        with contextlib.closing(admin):
            if create_missing(admin, [dead_letter_topic(topic, like=admin.states([like]).get(like))]):
                _log.info("topic created: %s", topic)


def _free_what_was_paused(consumer: KafkaConsumer) -> None:
    """
    Have records that were set aside when their partition was paused come back once it is resumed.

    The library takes them back only while it holds no records, and counts as held what is used up. Without this, such a
    partition is silent for good, since nothing is fetched of a partition that has records set aside.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 - nothing public lets go of them
    if not fetcher._next_partition_records:  # noqa: SLF001
        fetcher._next_partition_records = None  # noqa: SLF001


def _someone_else() -> ConflictError:
    return ConflictError("Another consumer runs under this member's name.")


def _name_of(partition: TopicPartition) -> str:
    return f"{partition.topic}-{partition.partition}"


@contextlib.contextmanager
def _translated() -> Any:  # noqa: ANN401 - a generator's context
    """Raise the library's errors as ours."""
    try:
        yield
    except FencedInstanceIdError as error:
        raise _someone_else() from error
    except KafkaError as error:
        raise BusUnavailableError(f"Kafka: {reason_of(error)}") from error
