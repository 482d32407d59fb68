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
import statistics
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs
import confluent_kafka
import kafka
import msgspec
import psycopg
import uuid_utils.compat as uuid_utils
from confluent_kafka import Consumer, KafkaException
from kafka import KafkaConsumer

from benchmarks.dataset.loading import load
from benchmarks.dataset.people import People
from tests.servers.kafka import KafkaBroker
from userservice_core import EventConsumer, PostgresInbox
from userservice_core.bootstrap import (
    bootstrap,
    configure_logging,
    effective_cpus,
    kafka_topics,
    new_key_ring,
)
from userservice_core.config import Settings
from userservice_core.domain.event_data import event_data, wire_type
from userservice_core.domain.events import ProfileUpdated, Topic
from userservice_core.domain.ids import EventId, UserId
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.messaging.cloudevents import headers_of
from userservice_core.infrastructure.messaging.confluent_events import ConfluentEventSource
from userservice_core.infrastructure.messaging.confluent_publisher import ConfluentEventPublisher
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher
from userservice_core.infrastructure.messaging.lines import Line
from userservice_core.infrastructure.messaging.relay import Relay
from userservice_core.infrastructure.postgres import migrate
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.embedded import EmbeddedPostgres
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
from userservice_core.infrastructure.postgres.signal import PostgresSignal
from userservice_core.ports.publishing import OutboxRecord, lane_of
from userservice_core.ports.revocations import OUTBOX_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection as Pipe

    from userservice_core.application.profiles import Profiles
    from userservice_core.ports.consuming import ConsumedEvent
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

T = TypeVar("T")

_KEYS: Final = 5_000
_USERS: Final = 1_000
_PATIENCE_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.005
_AT_ONCE: Final = 1_000

_FILL: Final = """
    INSERT INTO outbox (lane, id, aggregatetype, aggregateid, type, source, subject, occurred_at, sequence, payload)
    SELECT lane, id, topic, key, type, source, key, occurred_at, sequence, payload FROM relayed
    WHERE number <= %s ORDER BY number
"""


@attrs.frozen(kw_only=True)
class Rounds:
    """
    What one round after the other gave, of a figure and of its limit.

    Attributes:
        figure: A second.
        limit: A second, in the same rounds.
    """

    figure: tuple[float, ...]
    limit: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of the ratios of each round."""
        return statistics.median(one / limit for one, limit in zip(self.figure, self.limit, strict=True))


@attrs.frozen(kw_only=True)
class Scene:
    """A broker and a database with the schema."""

    broker: KafkaBroker
    settings: Settings

    def of_client(self, client: str) -> Settings:
        """Return the settings that use one client of Kafka, with topics of their own."""
        return attrs.evolve(
            self.settings, kafka_client=type(self.settings.kafka_client)(client), topic_prefix=f"{client}."
        )


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """Start both."""
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="userservice-bench-")))
        folder.chmod(0o755)
        database = EmbeddedPostgres(folder / "postgres")
        running.callback(database.stop)
        dsn = database.start()
        (folder / "kafka").mkdir()
        broker = KafkaBroker(folder / "kafka")
        broker.start()
        running.callback(broker.stop)
        settings = Settings.from_environment(
            {
                "USERSERVICE_PROFILE": "test",
                "USERSERVICE_ISSUER": "https://accounts.example.com",
                "USERSERVICE_DATABASE_URL": dsn,
                "USERSERVICE_DATABASE_DIRECT_URL": dsn,
                "USERSERVICE_DATA_DIR": str(folder),
                "USERSERVICE_KEYRING": new_key_ring(),
                "USERSERVICE_LOG_LEVEL": "WARNING",
                "USERSERVICE_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
                "USERSERVICE_RETENTION_INTERVAL_SECONDS": "0",
            }
        )
        configure_logging(settings)
        migrate.upgrade(dsn)
        load(People(users=_USERS, seed=1, until=datetime.now(UTC)), dsn)
        yield Scene(broker=broker, settings=settings)


def versions() -> dict[str, str]:
    """Return those of what is measured."""
    return {
        "kafka-python": kafka.__version__,
        "confluent-kafka": confluent_kafka.__version__,
        "librdkafka": confluent_kafka.libversion()[0],
        "psycopg": psycopg.__version__,
    }


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


def relay(scene: Scene, *, client: str, events: int, rounds: int) -> Rounds:
    """Measure the events a second of a relay with as many waiting, beside its producer alone."""
    settings = scene.of_client(client)
    records = _records(f"{settings.topic_prefix}users", events)
    figure, limit = [], []
    with (
        psycopg.connect(settings.database_url, autocommit=True) as connection,
        contextlib.closing(_publisher(settings)) as publisher,
        _relaying(settings) as metrics,
    ):
        _lay_ready(connection, records)
        producer = publisher.producer()
        bare = _sent_by_confluent if client == "confluent-kafka" else _sent_by_kafka_python
        for number in range(rounds + 1):
            alone = bare(producer, records)
            through = _relayed(connection, metrics, events)
            # The first is for connections, plans and caches.
            if number:
                limit.append(events / alone)
                figure.append(events / through)
    return Rounds(figure=tuple(figure), limit=tuple(limit))


def _publisher(settings: Settings) -> KafkaEventPublisher | ConfluentEventPublisher:
    kind = ConfluentEventPublisher if settings.kafka_client.value == "confluent-kafka" else KafkaEventPublisher
    return kind(settings.kafka_bootstrap_servers, client_id="bare", topics=kafka_topics(settings))


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


def latencies(scene: Scene, *, client: str, events: int, per_second: float) -> list[float]:
    """Return the milliseconds from each commit of a change of a profile until a consumer's handler has its event."""
    settings = scene.of_client(client)
    users = _users(settings)
    with contextlib.closing(_publisher(settings)) as publisher:
        # The topics are there before anybody asks for them.
        publisher.producer()
    committed: dict[str, float] = {}
    handled: dict[str, float] = {}
    stop = threading.Event()
    spawning = multiprocessing.get_context("spawn")
    parent, child = spawning.Pipe()
    relay_process = spawning.Process(target=_relay_process, args=(settings, child), daemon=True)
    relay_process.start()
    consumer = EventConsumer(_source(settings, f"latency-{uuid_utils.uuid7()}", [f"{settings.topic_prefix}users"]))
    consumer.on("userservice.profile.updated.v1")(
        lambda event: handled.__setitem__(event.data["displayName"], time.perf_counter())
    )
    thread = threading.Thread(target=consumer.run, args=(stop,))
    thread.start()
    try:
        parent.recv()
        with bootstrap(settings) as service:
            profiles = service.use_cases.profiles
            profiles.patch(user_id=users[0], patch={"display_name": client})
            _until(lambda: client in handled)
            for number in range(events):
                due = time.perf_counter() + 1 / per_second
                name = f"Number {number} through {client}"
                profiles.patch(user_id=users[number % len(users)], patch={"display_name": name})
                committed[name] = time.perf_counter()
                time.sleep(max(0.0, due - time.perf_counter()))
            _until(lambda: committed.keys() <= handled.keys())
    finally:
        stop.set()
        thread.join()
        parent.send(None)
        relay_process.join()
    return sorted((handled[name] - at) * 1000 for name, at in committed.items())


def _relay_process(settings: Settings, pipe: Pipe) -> None:
    configure_logging(settings)
    with _relaying(settings):
        pipe.send(None)
        pipe.recv()


# --- consumer ---------------------------------------------------------------------------------------------------------


def consume(scene: Scene, *, client: str, events: int, rounds: int, most: int = 500) -> Rounds:
    """
    Measure the events a second that a consumer applies, beside its client alone.

    Args:
        most: Events whose effects are written in one transaction; 1 for a transaction each.
    """
    settings = scene.of_client(client)
    topic = f"{settings.topic_prefix}consumed"
    scene.broker.create_topics([topic], partitions=24)
    with contextlib.closing(_publisher(settings)) as publisher:
        producer = publisher.producer()
        bare = _sent_by_confluent if client == "confluent-kafka" else _sent_by_kafka_python
        bare(producer, _records(topic, events))
    figure, limit = [], []
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS effect (key text, sequence bigint, event_id text)")
        for number in range(rounds):
            name = f"{client}-{most}-{number}-{time.time()}"
            limit.append(_polled(_source(settings, f"bare-{name}", [topic]), events))
            figure.append(_consumed(_source(settings, f"inbox-{name}", [topic]), settings, events, most))
            (applied,) = connection.execute("SELECT count(*) FROM effect").fetchone() or (0,)
            assert applied == events, f"{applied} effects of {events} events"
            connection.execute("TRUNCATE effect, userservice_inbox")
    return Rounds(figure=tuple(figure), limit=tuple(limit))


def _source(settings: Settings, group: str, topics: Sequence[str]) -> KafkaEventSource | ConfluentEventSource:
    kind = ConfluentEventSource if settings.kafka_client.value == "confluent-kafka" else KafkaEventSource
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
        consumer.on("userservice.profile.updated.v1")(lambda event, connection: write([event], connection))
    else:
        consumer.on_batch("userservice.profile.updated.v1", most=most)(write)
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


def patches(scene: Scene, *, connections: int, seconds: float, rounds: int) -> Rounds:
    """Measure the changes of profiles a second with their events, beside the same writes without."""
    settings = scene.settings
    users = _users(settings)
    processes = min(connections, effective_cpus())
    shares = [connections // processes + (number < connections % processes) for number in range(processes)]
    with psycopg.connect(settings.database_url, autocommit=True) as connection, contextlib.ExitStack() as running:
        pipes = [
            running.enter_context(_patching(settings, users[number::processes], threads=share))
            for number, share in enumerate(shares)
        ]

        def run(*, records: bool, seconds: float) -> float:
            connection.execute("TRUNCATE outbox")
            connection.execute("VACUUM ANALYZE users, user_profiles")
            connection.execute("CHECKPOINT")
            for pipe in pipes:
                pipe.send((records, seconds))
            return float(sum(pipe.recv() for pipe in pipes))

        figure: list[float] = []
        limit: list[float] = []
        for records in (False, True):
            run(records=records, seconds=1.0)
        for number in range(rounds):
            # Who begins takes turns too.
            for records in (False, True) if number % 2 else (True, False):
                (figure if records else limit).append(run(records=records, seconds=seconds))
    return Rounds(figure=tuple(figure), limit=tuple(limit))


@contextlib.contextmanager
def _patching(settings: Settings, users: Sequence[UserId], *, threads: int) -> Iterator[Pipe]:
    spawning = multiprocessing.get_context("spawn")
    parent, child = spawning.Pipe()
    process = spawning.Process(target=_patch_process, args=(settings, users, threads, child), daemon=True)
    process.start()
    try:
        parent.recv()
        yield parent
    finally:
        parent.send(None)
        process.join()


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
