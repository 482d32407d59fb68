"""Kafka as the source of events through confluent-kafka: a member of a group, its offsets, and its dead letters."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from userservice_core.errors import BusUnavailableError, ConflictError
from userservice_core.infrastructure.messaging.confluent_admin import ConfluentTopicAdmin
from userservice_core.infrastructure.messaging.confluent_clients import (
    Failures,
    reason_of,
    require_broker,
    require_connection,
    settings_of,
)
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
    Record,
    dead_letter_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from confluent_kafka import Message

    from userservice_core.ports.consuming import Arrival

_log = logging.getLogger("userservice.consumer")

_REPLAY_POLL_SECONDS: Final = 0.5


class ConfluentEventSource(GroupMember[Consumer]):
    """Implements :class:`~userservice_core.ports.consuming.EventSource` through confluent-kafka."""

    def poll(self, *, timeout_seconds: float) -> Sequence[Arrival]:
        with _translated():
            consumer = self._connected()
            # Asked for many at once, the library would wait for all of them.
            first = consumer.poll(timeout_seconds)
            rest = [] if first is None else consumer.consume(POLLED_AT_ONCE - 1, timeout=0)
        arrivals = [] if first is None else self._arrivals([first, *rest])
        failure = self._failures.taken()
        if failure is not None and not arrivals:
            raise BusUnavailableError(f"Kafka: {reason_of(failure)}")
        return arrivals

    def commit(self) -> None:
        if self._consumer is not None:
            self._commit(self._consumer, self._to_commit())

    def pause(self, partitions: Collection[str]) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        with self._lock:
            assigned = frozenset(self._assigned)
        wanted = frozenset(place for place in assigned if name_of(place) in partitions)
        with contextlib.suppress(KafkaException):
            consumer.pause(_partitions(wanted - self._paused))
            consumer.resume(_partitions((self._paused - wanted) & assigned))
        self._paused = wanted

    def lag(self) -> int | None:
        consumer = self._consumer
        if consumer is None:
            return None
        lag = 0
        with self._lock:
            places = _partitions(self._assigned)
            lag += sum(offsets.open for offsets in self._offsets.values())
        for partition in places:
            with contextlib.suppress(KafkaException):
                marks = consumer.get_watermark_offsets(partition, cached=True)
                (position,) = consumer.position([partition])
                # Negative as long as nothing is known.
                lag += 0 if position.offset < 0 else max(0, marks[1] - position.offset)
        return lag

    def replay(self, handle: Callable[[Arrival], None]) -> int:
        with _translated():
            consumer = self._new_consumer(group_id=f"{self._group}{DEAD_LETTER_SUFFIX}")
            try:
                return self._replay_all(consumer, handle)
            finally:
                consumer.close()
                self._dead_letters.close()

    def close(self) -> None:
        consumer = self._consumer
        if consumer is not None:
            with contextlib.suppress(ConflictError):
                self.commit()
            with contextlib.suppress(KafkaException):
                # Leaving tells what is revoked, which commits what was done meanwhile.
                consumer.close()
        self._consumer = None
        with self._lock:
            self._assigned.clear()
            self._offsets.clear()
        self._dead_letters.close()

    # --- the group ----------------------------------------------------------------------------------------------------

    def _connected(self) -> Consumer:
        if self._consumer is None:
            self._failures = Failures()
            consumer = self._new_consumer(
                client_id=self._member_id or self._group,
                group_id=self._group,
                partition_assignment_strategy="cooperative-sticky",
                isolation_level="read_committed",
                session_timeout_ms=int(self._session_seconds * MILLISECONDS),
                heartbeat_interval_ms=int(self._heartbeat_seconds() * MILLISECONDS),
                max_poll_interval_ms=int(max(self._most_silent_seconds, self._session_seconds) * MILLISECONDS),
                # What is missing is found when it is there.
                topic_metadata_refresh_interval_ms=30_000,
                **({} if self._member_id is None else {"group_instance_id": self._member_id}),
            )
            consumer.subscribe(
                self._topics, on_assign=self._are_assigned, on_revoke=self._are_revoked, on_lost=self._are_lost
            )
            self._consumer = consumer
        return self._consumer

    def _new_consumer(self, **settings: Any) -> Consumer:  # noqa: ANN401 - the library's own settings
        require_connection(self._bootstrap_servers, self._security, patience_seconds=CONNECT_PATIENCE_SECONDS)
        consumer = Consumer(
            {
                **settings_of(
                    self._bootstrap_servers,
                    self._security,
                    self._failures,
                    auto_offset_reset="earliest",
                    allow_auto_create_topics=False,
                    enable_auto_commit=False,
                    enable_auto_offset_store=False,
                    **settings,
                ),
                **self._client_settings,
            }
        )
        try:
            require_broker(consumer, self._failures, patience_seconds=CONNECT_PATIENCE_SECONDS)
        except BaseException:
            consumer.close()
            raise
        return consumer

    def _are_assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Begin anew with what comes of *partitions*."""
        places = frozenset(map(_place_of, partitions))
        with self._lock:
            self._assigned |= places
            for place in places:
                self._offsets.pop(place, None)
        consumer.incremental_assign(list(partitions))
        # What was taken away and given back is not paused any more.
        self._paused -= places
        consumer.resume(_partitions(places))

    def _are_revoked(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Give partitions up: finish what is at work, and commit, before another member begins with them."""
        places = frozenset(map(_place_of, partitions))
        self._lost(frozenset(map(name_of, places)))
        with contextlib.suppress(ConflictError):
            self._commit(consumer, self._to_commit(only=places))
        self._forget(places)
        consumer.incremental_unassign(list(partitions))

    def _are_lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Find that others have partitions already, so that nothing is to be committed."""
        places = frozenset(map(_place_of, partitions))
        self._lost(frozenset(map(name_of, places)))
        self._forget(places)
        consumer.incremental_unassign(list(partitions))

    def _forget(self, places: Collection[Place]) -> None:
        self._paused -= frozenset(places)
        with self._lock:
            self._assigned -= set(places)
            for place in places:
                self._offsets.pop(place, None)

    def _new_dead_letters(self) -> _DeadLetters:
        self._failures = Failures()
        self._assigned: set[Place] = set()
        return _DeadLetters(self._bootstrap_servers, self._security, self._client_settings)

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return _translated()

    def _commit(self, consumer: Consumer, offsets: Mapping[Place, int]) -> None:
        if not offsets:
            return
        wanted = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        try:
            told = consumer.commit(offsets=wanted, asynchronous=False)
        except KafkaException as error:
            if _is_fenced(error.args[0]):
                raise someone_else() from error
            # A rebalance has begun, or the broker is away; at worst these come again, and the inbox knows them.
            _log.info("offsets could not be committed: %s", reason_of(error))
            return
        self._are_committed(
            (_place_of(partition), partition.offset) for partition in told or () if partition.error is None
        )

    def _arrivals(self, messages: Sequence[Message]) -> list[Arrival]:
        arrivals: list[Arrival] = []
        for message in messages:
            error = message.error()
            if error is not None:
                if _is_fenced(error):
                    raise someone_else()
                _log.debug("nothing came: %s", reason_of(error))
                continue
            record = _record_of(message)
            place = (record.topic, record.partition)
            with self._lock:
                # What was fetched before a partition went to another member is theirs.
                if place not in self._assigned:
                    continue
                offsets = self._offsets.setdefault(place, Offsets())
                offsets.arrived(record.offset)
            arrivals.append(self._arrival(record, offsets))
        return arrivals

    # --- dead letters -------------------------------------------------------------------------------------------------

    def _replay_all(self, consumer: Consumer, handle: Callable[[Arrival], None]) -> int:
        known = consumer.list_topics(timeout=CONNECT_PATIENCE_SECONDS).topics
        partitions = [
            TopicPartition(topic, number, OFFSET_STORED)
            for topic in self._dead_letter_topics()
            if topic in known
            for number in known[topic].partitions
        ]
        open_until: dict[Place, int] = {}
        for told in consumer.committed(partitions, timeout=CONNECT_PATIENCE_SECONDS) if partitions else ():
            marks = consumer.get_watermark_offsets(told, timeout=CONNECT_PATIENCE_SECONDS)
            if max(told.offset, marks[0]) < marks[1]:
                open_until[_place_of(told)] = marks[1]
        if not open_until:
            return 0
        consumer.assign([TopicPartition(*place, OFFSET_STORED) for place in open_until])
        replayed = 0
        while open_until:
            for message in consumer.consume(POLLED_AT_ONCE, timeout=_REPLAY_POLL_SECONDS):
                error = message.error()
                if error is not None:
                    raise KafkaException(error)
                replayed += self._replay_one(consumer, _record_of(message), handle, open_until)
            if (failure := self._failures.taken()) is not None:
                raise KafkaException(failure)
        return replayed

    def _replay_one(
        self,
        consumer: Consumer,
        record: Record,
        handle: Callable[[Arrival], None],
        open_until: dict[Place, int],
    ) -> bool:
        place = (record.topic, record.partition)
        if record.offset >= open_until.get(place, 0):
            return False
        arrival = dead_letter_of(record, group=self._group, foreign_topics=self._foreign_topics)
        if arrival is not None:
            handle(arrival)
        consumer.commit(offsets=[TopicPartition(*place, record.offset + 1)], asynchronous=False)
        if record.offset + 1 >= open_until[place]:
            del open_until[place]
        return arrival is not None


class _DeadLetters(DeadLetters[Producer]):
    """Writes dead letters through confluent-kafka."""

    def _admin(self) -> ConfluentTopicAdmin:
        return ConfluentTopicAdmin(self._bootstrap_servers, self._security, client_settings=self._client_settings)

    def _connected(self) -> Producer:
        return Producer(
            {
                **settings_of(
                    self._bootstrap_servers,
                    self._security,
                    Failures(),
                    acks="all",
                    enable_idempotence=True,
                    partitioner="murmur2_random",
                    message_max_bytes=LARGEST_DEAD_LETTER_BYTES,
                    request_timeout_ms=int(SEND_SECONDS * MILLISECONDS) // 2,
                    delivery_timeout_ms=int(SEND_SECONDS * MILLISECONDS),
                ),
                **self._client_settings,
            }
        )

    def _send(self, producer: Producer, topic: str, raw: Raw, headers: list[tuple[str, bytes | None]]) -> None:
        told: list[KafkaError | None] = []
        producer.produce(
            topic,
            key=raw.key,
            value=raw.value,
            headers=[*headers],
            timestamp=raw.timestamp_ms,
            on_delivery=lambda error, _: told.append(error),
        )
        deadline = time.monotonic() + SEND_SECONDS
        while not told and (left := deadline - time.monotonic()) > 0:
            producer.flush(left)
        error = told[0] if told else KafkaError(KafkaError._TIMED_OUT, "no answer in time")  # noqa: SLF001
        if error is not None:
            self._discard()
            raise KafkaException(error)

    def _end(self, producer: Producer) -> None:
        producer.purge()
        producer.flush(1.0)
        producer.close()


def _record_of(message: Message) -> Record:
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=message.key(),
        value=message.value(),
        headers=tuple(_pairs(message.headers() or ())),
        timestamp=message.timestamp()[1],
    )


def _pairs(headers: Any) -> Iterator[tuple[str, bytes | None]]:  # noqa: ANN401 - of several forms, says the library
    for name, value in headers.items() if isinstance(headers, dict) else headers:
        yield name, value.encode() if isinstance(value, str) else value


def _partitions(places: Iterable[Place]) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for topic, number in places]


def _place_of(partition: TopicPartition) -> Place:
    return partition.topic, partition.partition


def _is_fenced(error: object) -> bool:
    return isinstance(error, KafkaError) and (error.fatal() or error.code() == KafkaError.FENCED_INSTANCE_ID)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise the library's errors as ours."""
    try:
        yield
    except KafkaException as error:
        if _is_fenced(error.args[0]):
            raise someone_else() from error
        raise BusUnavailableError(f"Kafka: {reason_of(error)}") from error
