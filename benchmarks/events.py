"""
What events cost: relay, consumer and outbox, each beside the bare library or the write alone.

Both sides of a figure take turns in the same run, on a broker, a PostgreSQL and a Python of this machine. The bare
producer is the publisher's own, with the same settings, and is given the same keys, values and headers, made ready
before; the bare consumer has the settings of the event source.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import multiprocessing
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs
import msgspec
import psycopg
import uuid_utils.compat as uuid_utils
from confluent_kafka import Consumer, KafkaException

from userservice_core import EventConsumer, PostgresInbox
from userservice_core.bootstrap import (
    bootstrap,
    configure_logging,
    effective_cpus,
    kafka_topics,
)
from userservice_core.config import KafkaClient, Settings
from userservice_core.domain.event_data import event_data, wire_type
from userservice_core.domain.events import ProfileUpdated, Topic
from userservice_core.domain.ids import EventId, UserId
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.messaging.cloudevents import headers_of
from userservice_core.infrastructure.messaging.confluent_events import ConfluentEventSource
from userservice_core.infrastructure.messaging.confluent_publisher import ConfluentEventPublisher
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher
from userservice_core.infrastructure.messaging.kafka_topics import TopicSpec
from userservice_core.infrastructure.messaging.lines import Line
from userservice_core.infrastructure.messaging.relay import Relay
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
from userservice_core.infrastructure.postgres.signal import PostgresSignal
from userservice_core.ports.publishing import OutboxRecord, lane_of
from userservice_core.ports.revocations import OUTBOX_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from multiprocessing.connection import Connection as Pipe

    from kafka import KafkaConsumer

    from userservice_core.application.profiles import Profiles
    from userservice_core.ports.consuming import ConsumedEvent
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

T = TypeVar("T")

_KEYS: Final = 5_000
_TYPE: Final = "userservice.profile.updated.v1"
_PATIENCE_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.005
_AT_ONCE: Final = 1_000

_FILL: Final = """
    INSERT INTO outbox (lane, id, aggregatetype, aggregateid, type, source, subject, occurred_at, sequence, payload)
    SELECT lane, id, topic, key, type, source, key, occurred_at, sequence, payload FROM relayed
    WHERE number <= %s ORDER BY number
"""


@attrs.frozen
class Measured:
    """What one round gave, of a figure and of its limit, both a second."""

    value: float
    limit: float


def through(client: KafkaClient, settings: Settings) -> Settings:
    """Return the settings that use one client of Kafka, with topics of their own."""
    return attrs.evolve(settings, kafka_client=client, topic_prefix=f"{client}.")


def _records(topic: str, count: int) -> list[OutboxRecord]:
    """Return events of profiles that were changed, those of a key in order."""
    users = [uuid_utils.uuid7() for _ in range(min(_KEYS, count))]
    now = datetime.now(UTC)
    records = []
    for number in range(count):
        user = users[number % len(users)]
        event = ProfileUpdated(
            id=EventId(uuid_utils.uuid7()),
            occurred_at=now,
            user_id=UserId(user),
            version=number // len(users) + 1,
            changed_members=("displayName", "bio"),
            display_name=f"Person with the number {number}",
        )
        records.append(
            OutboxRecord(
                position=number,
                id=event.id,
                lane=lane_of(topic, str(user)),
                topic=topic,
                key=str(user),
                type=wire_type(event),
                source="https://accounts.example.com",
                subject=str(user),
                occurred_at=now,
                sequence=number // len(users) + 1,
                traceparent=None,
                payload=msgspec.json.encode(event_data(event)),
            )
        )
    return records


def bytes_of(record: OutboxRecord) -> int:
    """Return what a record is as a message: key, value, and headers with their names."""
    return len(record.key) + len(record.payload) + sum(len(name) + len(value) for name, value in headers_of(record))


# --- relay ------------------------------------------------------------------------------------------------------------


def relay(settings: Settings, *, events: int) -> Generator[Measured, None, None]:
    """Measure the events a second of a relay with as many waiting, beside its producer alone."""
    records = _records(f"{settings.topic_prefix}users", events)
    with (
        psycopg.connect(settings.database_url, autocommit=True) as connection,
        contextlib.closing(_publisher(settings)) as publisher,
        _relaying(settings) as metrics,
    ):
        connection.execute("TRUNCATE outbox")
        _lay_ready(connection, records)
        _relayed(connection, metrics, events)
        while True:
            alone = _sent(publisher, records)
            yield Measured(events / _relayed(connection, metrics, events), events / alone)


def _sent(publisher: KafkaEventPublisher | ConfluentEventPublisher, records: Sequence[OutboxRecord]) -> float:
    """Send *records* by the producer of *publisher* alone, and return the seconds until all are acknowledged."""
    if isinstance(publisher, ConfluentEventPublisher):
        return _sent_by_confluent(publisher.producer(), records)
    return _sent_by_kafka_python(publisher.producer(), records)


def _publisher(settings: Settings, *topics: TopicSpec) -> KafkaEventPublisher | ConfluentEventPublisher:
    is_confluent = settings.kafka_client is KafkaClient.CONFLUENT_KAFKA
    kind = ConfluentEventPublisher if is_confluent else KafkaEventPublisher
    return kind(settings.kafka_bootstrap_servers, client_id="bare", topics=topics or kafka_topics(settings))


@contextlib.contextmanager
def _relaying(settings: Settings) -> Iterator[InMemoryMetrics]:
    """Run a relay, and yield what it counts."""
    metrics, stop = InMemoryMetrics(), threading.Event()
    notifications = f"{settings.topic_prefix}{Topic.NOTIFICATIONS}"
    others = tuple(f"{settings.topic_prefix}{topic}" for topic in Topic if topic is not Topic.NOTIFICATIONS)
    publisher = _publisher(settings)
    lines = (
        Line(name="bus", publisher=publisher, without_topics=(notifications,)),
        # It asks for mails as that of a service does, and there are none.
        Line(name="mail", publisher=publisher, without_topics=others, records_per_lane=4),
    )
    with (
        contextlib.closing(Database(settings.database_url, metrics=metrics)) as database,
        contextlib.closing(PostgresSignal(settings.database_url)) as signal,
    ):
        relay = Relay(PostgresOutboxStore(database), lines, signal, relay_id="benchmark", metrics=metrics)
        thread = threading.Thread(target=relay.run, args=(stop,))
        thread.start()
        try:
            yield metrics
        finally:
            stop.set()
            thread.join()


def _lay_ready(connection: psycopg.Connection, records: Sequence[OutboxRecord]) -> None:
    """Store what is to wait in the outbox, so that it can be put there in one statement."""
    connection.execute("DROP TABLE IF EXISTS relayed")
    connection.execute(
        "CREATE UNLOGGED TABLE relayed (number int, lane smallint, id uuid, topic text, key text, type text,"
        " source text, occurred_at timestamptz, sequence bigint, payload json)"
    )
    with connection.cursor().copy("COPY relayed FROM STDIN") as copy_:
        for number, record in enumerate(records, 1):
            copy_.write_row(
                (
                    *(number, record.lane, record.id, record.topic, record.key, record.type, record.source),
                    *(record.occurred_at, record.sequence, record.payload.decode()),
                )
            )
    connection.execute("ANALYZE relayed")


def _relayed(connection: psycopg.Connection, metrics: InMemoryMetrics, events: int) -> float:
    """Put *events* into the outbox, and return the seconds from their commit to the last one's end."""
    until = metrics.counts["relay_bus", "ok"] + events
    gc.collect()
    connection.execute(_FILL, (events,))
    began = time.perf_counter()
    connection.execute(f"NOTIFY {OUTBOX_CHANNEL}".encode())
    # Counted by the relay, since asking the database would cost it something.
    return _until(lambda: metrics.counts["relay_bus", "ok"] >= until) - began


def _sent_by_kafka_python(producer: Any, records: Sequence[OutboxRecord]) -> float:  # noqa: ANN401 - has no types
    """Send *records*, and return the seconds until all are acknowledged."""
    ready = [
        (record.topic, record.payload, record.key.encode(), headers_of(record), _milliseconds(record))
        for record in records
    ]
    gc.collect()
    began = time.perf_counter()
    sent = [
        producer.send(topic, value=value, key=key, headers=headers, timestamp_ms=at)
        for topic, value, key, headers, at in ready
    ]
    for each in sent:
        each.get(timeout=_PATIENCE_SECONDS)
    return time.perf_counter() - began


def _sent_by_confluent(producer: Any, records: Sequence[OutboxRecord]) -> float:  # noqa: ANN401 - as above
    """Do the same through the other client."""
    ready = [
        (record.topic, record.payload, record.key.encode(), headers_of(record), _milliseconds(record))
        for record in records
    ]
    failed: list[object] = []

    def tell(error: object, _message: object) -> None:
        if error is not None:
            failed.append(error)

    gc.collect()
    began = time.perf_counter()
    for topic, value, key, headers, at in ready:
        producer.produce(topic, value=value, key=key, headers=headers, timestamp=at, on_delivery=tell)
    left = producer.flush(_PATIENCE_SECONDS)
    seconds = time.perf_counter() - began
    if left or failed:
        raise KafkaException(f"{left} left, {failed[:1]}")
    return seconds


def _milliseconds(record: OutboxRecord) -> int:
    return int(record.occurred_at.timestamp() * 1000)


# --- from commit to consumer ------------------------------------------------------------------------------------------


def latencies(settings: Settings, *, events: int, per_second: float) -> Generator[list[float], None, None]:
    """
    Yield the milliseconds from each commit of a change of a profile until a consumer's handler has its event, sorted.

    The relay is a process of its own; whoever writes and the consumer are this one.
    """
    users = _users(settings)
    with contextlib.closing(_publisher(settings)) as publisher:
        # The topics are there before anybody asks for them.
        publisher.producer()
    committed: dict[str, float] = {}
    handled: dict[str, float] = {}
    stop = threading.Event()
    consumer = EventConsumer(_source(settings, f"latency-{uuid_utils.uuid7()}", [f"{settings.topic_prefix}users"]))
    consumer.on(_TYPE)(lambda event: handled.__setitem__(event.data["displayName"], time.perf_counter()))
    thread = threading.Thread(target=consumer.run, args=(stop,))
    with _process(_relay_process, settings), bootstrap(settings) as service:
        thread.start()
        try:
            for turn in itertools.count():
                committed.clear()
                # The first is for connections and caches.
                for number in range(events if turn else int(per_second)):
                    due = time.perf_counter() + 1 / per_second
                    name = f"{uuid_utils.uuid7()}"
                    service.use_cases.profiles.patch(user_id=users[number % len(users)], patch={"display_name": name})
                    committed[name] = time.perf_counter()
                    time.sleep(max(0.0, due - time.perf_counter()))
                _until(lambda: committed.keys() <= handled.keys())
                if turn:
                    yield sorted((handled[name] - at) * 1000 for name, at in committed.items())
        finally:
            stop.set()
            thread.join()


@contextlib.contextmanager
def _process(work: Callable[..., None], *arguments: object) -> Iterator[Pipe]:
    """Have a process do *work*, which says when it is ready, and ends when it is told nothing."""
    spawning = multiprocessing.get_context("spawn")
    parent, child = spawning.Pipe()
    process = spawning.Process(target=work, args=(*arguments, child), daemon=True)
    process.start()
    try:
        parent.recv()
        yield parent
    finally:
        parent.send(None)
        process.join()


def _relay_process(settings: Settings, pipe: Pipe) -> None:
    configure_logging(settings)
    with _relaying(settings):
        pipe.send(None)
        pipe.recv()


# --- consumer ---------------------------------------------------------------------------------------------------------


def consume(settings: Settings, *, events: int, most: int) -> Generator[Measured, None, None]:
    """
    Measure the events a second that a consumer applies, beside its client alone.

    Args:
        most: Events whose effects are written in one transaction, at most; 1 for a transaction each.
    """
    topic = f"{settings.topic_prefix}consumed-{most}"
    spec = TopicSpec(name=topic)
    with contextlib.closing(_publisher(settings, spec)) as publisher:
        _sent(publisher, _records(topic, events))
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS effect (key text, sequence bigint, event_id text)")
        while True:
            group = f"{most}-{uuid_utils.uuid7()}"
            alone = _polled(_source(settings, f"alone-{group}", [topic]), events)
            applied = _consumed(_source(settings, f"inbox-{group}", [topic]), settings, events, most)
            if (effects := _one(connection, "SELECT count(*) FROM effect")) != events:
                raise AssertionError(f"{effects} effects of {events} events")
            connection.execute("TRUNCATE effect, userservice_inbox")
            yield Measured(applied, alone)


def _source(settings: Settings, group: str, topics: Sequence[str]) -> KafkaEventSource | ConfluentEventSource:
    is_confluent = settings.kafka_client is KafkaClient.CONFLUENT_KAFKA
    kind = ConfluentEventSource if is_confluent else KafkaEventSource
    return kind(settings.kafka_bootstrap_servers, group=group, topics=topics)


def _polled(source: KafkaEventSource | ConfluentEventSource, events: int) -> float:
    """Take *events* with the client of *source* and nothing else; return how many a second, from the first on."""
    gc.collect()
    client = source._connected()  # noqa: SLF001 - with the settings that it has there
    take = _taken_by_confluent(client) if isinstance(client, Consumer) else _taken_by_kafka_python(client)
    taken, first, began = 0, 0, 0.0
    for number in take:
        if not taken:
            began, first = time.perf_counter(), number
        taken += number
        if taken >= events:
            break
    seconds = time.perf_counter() - began
    source.close()
    return (events - first) / seconds


def _taken_by_kafka_python(client: KafkaConsumer) -> Iterator[int]:
    while True:
        if taken := sum(map(len, client.poll(timeout_ms=100).values())):
            yield taken


def _taken_by_confluent(client: Consumer) -> Iterator[int]:
    while True:
        if taken := [message for message in client.consume(500, timeout=0.1) if message.error() is None]:
            yield len(taken)


def _consumed(source: KafkaEventSource | ConfluentEventSource, settings: Settings, events: int, most: int) -> float:
    """Apply *events* with the inbox, and return how many a second, from the first that were applied."""
    own = threading.local()

    @contextlib.contextmanager
    def begin() -> Iterator[psycopg.Connection]:
        if not hasattr(own, "connection"):
            own.connection = psycopg.connect(settings.database_url)
        with own.connection.transaction():
            yield own.connection

    inbox = PostgresInbox(begin)
    inbox.create_tables()
    consumer = EventConsumer(source, inbox=inbox)
    applied: list[tuple[float, int]] = []

    def write(consumed: Sequence[ConsumedEvent], connection: psycopg.Connection) -> None:
        connection.execute(
            "INSERT INTO effect SELECT * FROM unnest(%s::text[], %s::bigint[], %s::text[])",
            (
                [event.key for event in consumed],
                [event.sequence for event in consumed],
                [event.id for event in consumed],
            ),
        )
        applied.append((time.perf_counter(), len(consumed)))

    if most == 1:
        consumer.on(_TYPE)(lambda event, connection: write([event], connection))
    else:
        consumer.on_batch(_TYPE, most=most)(write)
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,))
    gc.collect()
    thread.start()
    try:
        _until(lambda: sum(count for _, count in list(applied)) >= events)
    finally:
        stop.set()
        thread.join()
    applied.sort()
    (first_at, first), (last_at, _) = applied[0], applied[-1]
    return (events - first) / (last_at - first_at)


# --- outbox -----------------------------------------------------------------------------------------------------------


class _WithoutEvents:
    """A unit of work whose transactions record nothing; it is only measured."""

    def __init__(self, inner: UnitOfWork) -> None:
        self._inner = inner

    def run(self, work: Callable[[Transaction], T]) -> T:
        return self._inner.run(lambda transaction: work(cast("Transaction", _Silent(transaction))))


class _Silent:
    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self.profiles = inner.profiles

    def record(self, event: object) -> None:
        """Forget it."""


def patches(settings: Settings, *, connections: int, seconds: float) -> Generator[Measured, None, None]:
    """Measure the changes of profiles a second with their events, beside the same writes without."""
    users = _users(settings)
    processes = min(connections, effective_cpus())
    shares = [connections // processes + (number < connections % processes) for number in range(processes)]
    with psycopg.connect(settings.database_url, autocommit=True) as connection, contextlib.ExitStack() as running:
        pipes = [
            running.enter_context(_process(_patch_process, settings, users[number::processes], share))
            for number, share in enumerate(shares)
        ]

        def run(*, records: bool, seconds: float) -> float:
            connection.execute("TRUNCATE outbox")
            connection.execute("VACUUM ANALYZE users, user_profiles")
            connection.execute("CHECKPOINT")
            for pipe in pipes:
                pipe.send((records, seconds))
            return float(sum(pipe.recv() for pipe in pipes))

        for records in (False, True):
            run(records=records, seconds=1.0)
        while True:
            # Whoever began is the second of the next round.
            alone, recording = run(records=False, seconds=seconds), run(records=True, seconds=seconds)
            yield Measured(recording, alone)
            recording, alone = run(records=True, seconds=seconds), run(records=False, seconds=seconds)
            yield Measured(recording, alone)


def _patch_process(settings: Settings, users: Sequence[UserId], threads: int, pipe: Pipe) -> None:
    configure_logging(settings)
    with bootstrap(attrs.evolve(settings, database_pool_size=threads)) as service:
        recording = service.use_cases.profiles
        silent = copy.copy(recording)
        silent._uow = _WithoutEvents(recording._uow)  # noqa: SLF001 - the same but for that
        pipe.send(None)
        while (wanted := pipe.recv()) is not None:
            records, seconds = wanted
            pipe.send(_patched(recording if records else silent, users, threads, seconds))


def _patched(profiles: Profiles, users: Sequence[UserId], threads: int, seconds: float) -> float:
    """Change profiles on all *threads*, each those of its own users, and return how many a second."""
    done = [0] * threads
    ends_at = time.perf_counter() + seconds

    def work(number: int) -> None:
        own = users[number::threads]
        for turn in itertools.count():
            if time.perf_counter() >= ends_at:
                return
            profiles.patch(user_id=own[turn % len(own)], patch={"bio": f"This is {time.perf_counter_ns()}."})
            done[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - began)


def _users(settings: Settings) -> list[UserId]:
    with psycopg.connect(settings.database_url) as connection:
        rows = connection.execute(
            "SELECT user_id FROM users JOIN user_profiles USING (user_id)"
            " WHERE status = 'active' AND deleted_at IS NULL"
        ).fetchall()
    return [UserId(user_id) for (user_id,) in rows]


def _one(connection: psycopg.Connection, query: str) -> Any:  # noqa: ANN401 - any column
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _until(condition: Callable[[], bool]) -> float:
    """Wait for *condition*, and return when it held."""
    deadline = time.perf_counter() + _PATIENCE_SECONDS
    while not condition():
        if time.perf_counter() > deadline:
            raise TimeoutError
        time.sleep(_LOOK_SECONDS)
    return time.perf_counter()
