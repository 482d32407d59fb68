"""The consumer over a real Kafka broker."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
import uuid
from typing import TYPE_CHECKING

import attrs
import pytest
from kafka import KafkaProducer

from tests.consumer_suite import QUICK, TYPE, ConsumerSuite, running, until
from tests.integration.messaging.consumer_process import consumer_process
from tests.integration.messaging.effects import PostgresEffects
from tests.integration.messaging.topics import Topics
from userservice_core.errors import ConflictError, EventRejectedError
from userservice_core.infrastructure.messaging.consumer import EventConsumer
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.context import ForkServerProcess

    import psycopg

    from tests.servers.kafka import KafkaBroker
    from userservice_core.infrastructure.memory import InMemoryMetrics
    from userservice_core.ports.consuming import ConsumedEvent
    from userservice_core.ports.publishing import OutboxRecord


class KafkaBus(PostgresEffects):
    """A topic of the broker, with the effects in PostgreSQL."""

    def __init__(self, dsn: str, topics: Topics, publisher: KafkaEventPublisher) -> None:
        super().__init__(dsn)
        self.topics = topics
        self.topic = topics.create("things", max_message_bytes="4000000")
        self._publisher = publisher

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Publish as a relay does."""
        deliveries = self._publisher.publish(records)
        assert [delivery.error for delivery in deliveries] == [None] * len(records)

    def send(self, record: _Poison, *, key: str) -> None:
        """Send a record as it is, past all that keeps events in shape."""
        producer = KafkaProducer(bootstrap_servers=self.topics.broker.bootstrap_servers, max_request_size=4_000_000)
        try:
            headers = list(record.headers)
            producer.send(self.topic, key=key.encode(), value=record.value, headers=headers).get(timeout=10)
        finally:
            producer.close()

    def source(self, group: str, **options: str | float) -> KafkaEventSource:
        """Return a new member."""
        servers = [self.topics.broker.bootstrap_servers]
        return KafkaEventSource(servers, group=f"{self.topics.prefix}{group}", topics=[self.topic], **options)  # type: ignore[arg-type]

    def dead_letters(self) -> list[tuple[str, int | None, str]]:
        """Return what is kept for the group and was not replayed."""
        if not self.topics.exists("things.dlq"):
            return []
        replayed = self.topics.committed(f"{self.topics.prefix}g.dlq", "things.dlq")
        return [
            (
                arrival.key,
                int(arrival.headers["ce_sequence"]) if "ce_sequence" in arrival.headers else None,
                arrival.headers["dlq_cause"],
            )
            for arrival in self.topics.arrivals("things.dlq")
            if arrival.offset >= replayed.get(arrival.partition, 0)
        ]


class TestKafkaConsumer(ConsumerSuite):
    """Each test with a topic and a database of its own."""

    @pytest.fixture
    def bus(self, kafka_broker: KafkaBroker, database: str) -> Iterator[KafkaBus]:
        """With nothing on it."""
        with contextlib.closing(KafkaEventPublisher([kafka_broker.bootstrap_servers], client_id="test")) as publisher:
            yield KafkaBus(database, Topics(kafka_broker, prefix=f"c{uuid.uuid4().hex}."), publisher)

    # --- what only Kafka does -----------------------------------------------------------------------------------------

    @pytest.mark.asvs("1.5.2")
    def test_a_poison_record_blocks_nobody(
        self, bus: KafkaBus, consumer: EventConsumer, metrics: InMemoryMetrics
    ) -> None:
        """Whatever a record is, it goes to the dead letters with its cause, or is passed and counted."""
        consumer.on(TYPE)(bus.write)
        good = [self.event(bus, f"k{number % 50}", number // 50 + 1) for number in range(500)]
        for number, poison in enumerate(_POISON):
            bus.publish(good[number * 50 : number * 50 + 50])
            bus.send(poison, key=f"poison-{number}")
        bus.publish(good[len(_POISON) * 50 :])

        with running(consumer):
            until(lambda: len(bus.effects()) == 500, seconds=40)
            until(lambda: metrics.counts["consumer", "dead-letter"] == len(_POISON) - 1)

        assert metrics.counts["consumer", "tombstone"] == 1
        causes = {key: cause for key, _, cause in bus.dead_letters()}
        assert set(causes) == {f"poison-{number}" for number, poison in enumerate(_POISON) if poison.value is not None}
        assert all(cause.startswith("EventRejectedError: ") for cause in causes.values())
        assert metrics.counts["consumer", "retried"] == 0

    def test_a_dead_letter_is_what_it_was(
        self, bus: KafkaBus, consumer: EventConsumer, metrics: InMemoryMetrics
    ) -> None:
        """Key, value and headers as they came, and beside them where it stood, why it failed, and how often."""

        @consumer.on(TYPE)
        def failing(_event: ConsumedEvent) -> None:
            raise ValueError("never")

        record = self.event(bus, "a", 1)
        bus.publish([record])
        with running(consumer):
            until(lambda: metrics.counts["consumer", "dead-letter"] == 1)

        (letter,) = bus.topics.arrivals("things.dlq")
        (original,) = bus.topics.arrivals("things")
        assert (letter.key, letter.value, letter.partition) == (original.key, original.value, original.partition)
        assert {**letter.headers, **original.headers} == letter.headers
        assert letter.headers["dlq_cause"] == "ValueError: never"
        assert letter.headers["dlq_attempts"] == str(QUICK.attempts)
        assert letter.headers["dlq_topic"] == bus.topic
        assert letter.headers["dlq_partition"] == f"{bus.topic}-{original.partition}"
        assert letter.headers["dlq_position"] == str(original.offset)

    def test_a_topic_replayed_twice_changes_nothing(self, bus: KafkaBus, metrics: InMemoryMetrics) -> None:
        """The inbox outlives the offsets."""
        records = [self.event(bus, f"k{number % 10}", number // 10 + 1) for number in range(200)]
        bus.publish(records)
        for times in (1, 2, 3):
            consumer = self.again(bus, metrics)
            consumer.on_batch(TYPE)(bus.write_all)
            with running(consumer):
                until(lambda: metrics.counts.total() >= 200 * times, seconds=40)  # noqa: B023 - called at once
            bus.topics.rewind(f"{bus.topics.prefix}g", "things")

        assert (metrics.counts["consumer", "applied"], metrics.counts["consumer", "repeated"]) == (200, 400)
        assert len(bus.effects()) == 200

    def test_a_handler_may_be_slower_than_the_poll_interval(self, bus: KafkaBus, metrics: InMemoryMetrics) -> None:
        """The member polls meanwhile, so its partitions stay with it and the event is not handled twice."""
        source = bus.source("g", session_seconds=6.0, most_silent_seconds=1.0)
        consumer = EventConsumer(source, inbox=bus.inbox(), metrics=metrics, workers=1)
        calls = []

        @consumer.on(TYPE)
        def slow(event: ConsumedEvent) -> None:
            calls.append(event.sequence)
            if event.sequence == 1:
                time.sleep(2.5)

        bus.publish([self.event(bus, "a", number) for number in (1, 2)])
        with running(consumer):
            until(lambda: metrics.counts["consumer", "applied"] == 2)

        assert calls == [1, 2]
        assert metrics.counts["consumer", "repeated"] == 0

    def test_two_under_one_name_are_told(self, bus: KafkaBus, metrics: InMemoryMetrics) -> None:
        """The one that came first ends with what it would have told, and says why; its work was the other's too."""
        first, second = (
            EventConsumer(bus.source("g", member_id="same"), inbox=bus.inbox(), metrics=metrics) for _ in range(2)
        )
        for consumer in (first, second):
            consumer.on(TYPE)(bus.write)
        stop, raised = threading.Event(), []

        def run() -> None:
            try:
                first.run(stop)
            except ConflictError as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        bus.publish([self.event(bus, "a", 1)])
        until(lambda: len(bus.effects()) == 1)
        with running(second):
            for number in itertools.count(2):
                bus.publish([self.event(bus, "a", number)])
                until(lambda: len(bus.effects()) == number)  # noqa: B023 - called at once
                if not thread.is_alive():
                    break
                thread.join(0.3)
        stop.set()
        thread.join()

        assert len(raised) == 1

    def test_a_topic_is_replaced_by_one_with_more_partitions(
        self, bus: KafkaBus, metrics: InMemoryMetrics, kafka_broker: KafkaBroker
    ) -> None:
        """Once the old one is used up; what the relay sent to both is applied once, and each key keeps its order."""
        records = [self.event(bus, f"k{number % 10}", number // 10 + 1) for number in range(200)]
        bus.publish(records[:100])
        before = self.again(bus, metrics)
        before.on(TYPE)(bus.write)
        with running(before):
            until(lambda: len(bus.effects()) == 100)
        new = bus.topics.create("things.v2", partitions=8)
        with contextlib.closing(
            KafkaEventPublisher([kafka_broker.bootstrap_servers], client_id="test", topic_names={bus.topic: new})
        ) as publisher:
            # As of a relay that was stopped before it knew that the last ones had arrived.
            assert all(delivery.error is None for delivery in publisher.publish(records[90:]))
        source = KafkaEventSource(
            [kafka_broker.bootstrap_servers],
            group=f"{bus.topics.prefix}g",
            topics=[new],
            known_as={new: bus.topic},
        )
        after = EventConsumer(source, inbox=bus.inbox(), metrics=metrics)

        @after.on(TYPE)
        def handle(event: ConsumedEvent, transaction: psycopg.Connection) -> None:
            if event.key == "k9" and event.sequence == 20:
                raise EventRejectedError
            bus.write(event, transaction)

        with running(after):
            until(lambda: metrics.counts["consumer", "applied"] == 199)
            until(lambda: metrics.counts["consumer", "dead-letter"] == 1)

        assert metrics.counts["consumer", "repeated"] == 10
        for key in {record.key for record in records}:
            expected = list(range(1, 20 if key == "k9" else 21))
            assert [number for other, number in bus.effects() if other == key] == expected
        assert [(key, number) for key, number, _ in bus.dead_letters()] == [("k9", 20)]

    def test_members_come_and_go(self, bus: KafkaBus, metrics: InMemoryMetrics) -> None:
        """Every two seconds for twenty; no effect is lost or doubled, and each key keeps its order."""
        numbers, keys = range(1, 41), [f"k{number}" for number in range(25)]
        chance = random.Random(4711)  # noqa: S311 - a test that is the same each time
        members: list[contextlib.ExitStack] = []

        def join() -> None:
            consumer = EventConsumer(bus.source("g"), inbox=bus.inbox(), metrics=metrics)
            consumer.on(TYPE)(bus.write)
            members.append(contextlib.ExitStack())
            members[-1].enter_context(running(consumer))

        join()
        for round_ in range(10):
            round_ends_at = time.monotonic() + 2.0
            if len(members) < 2 or (len(members) < 4 and chance.random() < 0.6):
                join()
            else:
                members.pop(chance.randrange(len(members))).close()
            for number in numbers[round_ * 4 : round_ * 4 + 4]:
                bus.publish([self.event(bus, key, number) for key in keys for _ in range(chance.randint(1, 2))])
            time.sleep(max(0.0, round_ends_at - time.monotonic()))
        try:
            until(lambda: len(bus.effects()) >= len(numbers) * len(keys), seconds=30)
        finally:
            for member in members:
                member.close()

        effects = bus.effects()
        assert {key: list(numbers) for key in keys} == {
            key: [number for other, number in effects if other == key] for key in keys
        }

    def test_killed_consumers_lose_and_double_nothing(self, bus: KafkaBus, database: str) -> None:
        """At any moment, with `kill -9`; whoever comes back goes on."""
        numbers, keys = range(1, 45), [f"k{number}" for number in range(20)]
        chance = random.Random(4711)  # noqa: S311 - as above
        servers, group = bus.topics.broker.bootstrap_servers, f"{bus.topics.prefix}g"

        def start(member_id: str) -> ForkServerProcess:
            return consumer_process(database, servers, group=group, topic=bus.topic, member_id=member_id)

        processes = {name: start(name) for name in "ab"}
        kills = 0
        for number in numbers:
            bus.publish([self.event(bus, key, number) for key in keys])
            time.sleep(chance.uniform(0.1, 0.8))
            if number % 2 == 0:
                name = chance.choice("ab")
                processes[name].kill()
                processes[name].join()
                processes[name] = start(name)
                kills += 1
        try:
            until(lambda: len(bus.effects()) >= len(numbers) * len(keys), seconds=45)
        finally:
            for process in processes.values():
                process.terminate()
                process.join()

        effects = bus.effects()
        assert kills >= 20
        assert {key: list(numbers) for key in keys} == {
            key: [number for other, number in effects if other == key] for key in keys
        }
        assert [process.exitcode for process in processes.values()] == [0, 0]

    def test_a_partition_that_was_paused_comes_back(self, bus: KafkaBus, metrics: InMemoryMetrics) -> None:
        """Also where records of it were fetched and not taken yet, on every partition at once."""
        consumer = self.again(bus, metrics, most_per_partition=50)
        consumer.on_batch(TYPE)(bus.write_all)
        for number in range(1, 5):
            bus.publish([self.event(bus, f"k{key}", number) for key in range(500)])

        with running(consumer):
            until(lambda: metrics.counts["consumer", "applied"] == 2000, seconds=30)

        assert len(bus.effects()) == 2000

    @pytest.mark.exclusive
    @pytest.mark.usefixtures("refused_connections")
    # The library leaves sockets that were refused to the garbage collector, which comes by at any time.
    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_broker_that_dies_costs_nothing(self, bus: KafkaBus, metrics: InMemoryMetrics) -> None:
        """While it is away the consumer waits, also with a dead letter in its hands; then it goes on by itself."""
        killed = threading.Event()
        consumer = EventConsumer(bus.source("g"), inbox=bus.inbox(), metrics=metrics)

        @consumer.on(TYPE)
        def handle(event: ConsumedEvent, transaction: psycopg.Connection) -> None:
            if event.key == "bad":
                if not killed.is_set():
                    killed.set()
                    bus.topics.broker.kill9()
                raise EventRejectedError
            bus.write(event, transaction)

        bus.publish([self.event(bus, key, number) for number in (1, 2, 3) for key in "abc"])
        with running(consumer):
            until(lambda: len(bus.effects()) == 9)
            bus.publish([self.event(bus, "bad", 1)])
            assert killed.wait(20)
            until(lambda: metrics.counts["consumer", "put-aside-failed"] > 0)
            bus.topics.broker.start()
            until(lambda: metrics.counts["consumer", "dead-letter"] == 1, seconds=60)
            bus.publish([self.event(bus, key, number) for number in (4, 5) for key in "abc"])
            until(lambda: len(bus.effects()) == 15, seconds=60)

        assert sorted(bus.effects()) == [(key, number) for key in "abc" for number in (1, 2, 3, 4, 5)]
        assert [key for key, _, _ in bus.dead_letters()] == ["bad"]


@attrs.frozen
class _Poison:
    """A record that no handler can take."""

    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


_HEADERS = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"1"),
    ("ce_type", TYPE.encode()),
    ("ce_source", b"/elsewhere"),
)
_POISON = (
    _Poison(b"\xff", _HEADERS),
    _Poison(b"\xff"),
    _Poison(None, _HEADERS),
    _Poison(b"{}", (*_HEADERS[:3], ("ce_source", b"\xff"))),
    _Poison(b"{}", (("ce_specversion", b"0.3"), *_HEADERS[1:])),
    _Poison(b"{}", (*_HEADERS, ("ce_sequence", b"-1"))),
    _Poison(b"{}", (*_HEADERS, ("ce_time", b"yesterday"))),
    _Poison(b"[" * 100_000, _HEADERS),
    _Poison(b'{"a": "' + b"x" * 2_000_000, _HEADERS),
)
