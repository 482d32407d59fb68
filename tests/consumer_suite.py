"""What a consumer promises, whatever carries the events and wherever the inbox is: the same tests over every bus."""

from __future__ import annotations

import contextlib
import operator
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import pytest

from tests.outbox_records import outbox_record, sequences_of
from userservice_core.errors import EventRejectedError, ProgrammingError, UnavailableError
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.messaging.consumer import EventConsumer, Retries
from userservice_core.ports.consuming import AfterDeadLetter, ConsumedEvent, EventSource, Inbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from userservice_core.ports.publishing import OutboxRecord

Transaction = Any
"""What an inbox gives a handler; each bus has its own."""

TYPE = "example.thing.happened.v1"
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
QUICK = Retries(attempts=3, first_seconds=0.01, longest_seconds=0.02)


class Bus(Protocol):
    """One bus with one topic of the test, an inbox, and effects that are written in its transactions."""

    topic: str

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Have consumers get *records*, in their order."""
        ...

    def source(self, group: str) -> EventSource:
        """Return a new member of *group*."""
        ...

    def inbox(self) -> Inbox[Any]:
        """Return the inbox of the test."""
        ...

    def write(self, event: ConsumedEvent, transaction: Transaction) -> None:
        """Write the effect of *event*."""
        ...

    def effects(self) -> list[tuple[str, int | None]]:
        """Return the key and sequence of each effect that was committed, in order."""
        ...

    def dead_letters(self) -> list[tuple[str, int | None, str]]:
        """Return key, sequence and cause of each dead letter that was not replayed, in order within a key."""
        ...


@contextlib.contextmanager
def running(consumer: EventConsumer) -> Iterator[None]:
    """Consume within the block; whatever ended the consumer early is raised at its end."""
    stop, raised = threading.Event(), []

    def run() -> None:
        try:
            consumer.run(stop)
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the test
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if raised:
        raise raised[0]


def until(holds: Callable[[], bool], *, seconds: float = 20) -> None:
    """Return once *holds* does, and fail if it does not within *seconds*."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.01)


class ConsumerScene:
    """What tests of consumers stand on."""

    @pytest.fixture
    def bus(self) -> Bus:
        """One that nobody else uses, and whose groups get everything that is published."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def metrics(self) -> InMemoryMetrics:
        """What the consumers of the test count."""
        return InMemoryMetrics()

    @pytest.fixture
    def consumer(self, bus: Bus, metrics: InMemoryMetrics) -> EventConsumer:
        """One without handlers, that does not wait long before it tries again."""
        return EventConsumer(bus.source("g"), inbox=bus.inbox(), retries=QUICK, metrics=metrics)

    def again(self, bus: Bus, metrics: InMemoryMetrics, **options: Any) -> EventConsumer:  # noqa: ANN401
        """Return another member of the same group."""
        return EventConsumer(bus.source("g"), inbox=bus.inbox(), retries=QUICK, metrics=metrics, **options)

    def event(self, bus: Bus, key: str, sequence: int | None, *, payload: bytes = b'{"n": 1}') -> OutboxRecord:
        """Return an event of the topic."""
        record = outbox_record(key, sequence, topic=bus.topic, payload=payload)
        return attrs.evolve(record, type=TYPE)


class ConsumerSuite(ConsumerScene):
    """For :class:`~userservice_core.infrastructure.messaging.consumer.EventConsumer`."""

    def test_each_event_has_its_effect_once_and_in_order(self, bus: Bus, consumer: EventConsumer) -> None:
        """Within a key; the handler writes with the inbox's transaction."""
        consumer.on(TYPE)(bus.write)
        records = [self.event(bus, key, number) for number in range(1, 11) for key in "abcde"]
        bus.publish(records)

        with running(consumer):
            until(lambda: len(bus.effects()) >= len(records))

        effects = bus.effects()
        assert {key: sequences_of(records, key) for key in "abcde"} == {
            key: [number for other, number in effects if other == key] for key in "abcde"
        }
        assert len(effects) == len(records)

    def test_a_handler_gets_the_whole_event(self, bus: Bus, consumer: EventConsumer) -> None:
        """As it was published."""
        got: list[ConsumedEvent] = []
        consumer.on(TYPE)(got.append)
        record = attrs.evolve(
            self.event(bus, "a", 1), traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        )
        bus.publish([record])

        with running(consumer):
            until(lambda: bool(got))

        assert got == [
            ConsumedEvent(
                id=str(record.id),
                type=TYPE,
                source="/userservice",
                topic=bus.topic,
                key="a",
                subject="a",
                occurred_at=record.occurred_at,
                sequence=1,
                traceparent=record.traceparent,
                data={"n": 1},
            )
        ]

    def test_a_repeat_has_no_effect(self, bus: Bus, consumer: EventConsumer, metrics: InMemoryMetrics) -> None:
        """Whether it follows at once or after later ones."""
        consumer.on(TYPE)(bus.write)
        first, second, third = (self.event(bus, "a", number) for number in (1, 2, 3))
        bus.publish([first, first, second, first, third, second, third])

        with running(consumer):
            until(lambda: metrics.counts["consumer", "repeated"] == 4)

        assert bus.effects() == [("a", 1), ("a", 2), ("a", 3)]

    def test_repeats_change_nothing_however_many_and_however_late(
        self, bus: Bus, consumer: EventConsumer, metrics: InMemoryMetrics
    ) -> None:
        """Each event one to five times, its repeats up to ten places later: as if each had come once."""
        consumer.on(TYPE)(bus.write)
        chance = random.Random(4711)  # noqa: S311 - it is to be the same again
        once = [self.event(bus, key, number) for number in range(1, 13) for key in "abcde"]
        placed = [(float(place), record) for place, record in enumerate(once)]
        placed += [
            (place + chance.uniform(0, 10), record)
            for place, record in enumerate(once)
            for _ in range(chance.randrange(5))
        ]
        placed.sort(key=operator.itemgetter(0))

        with running(consumer):
            bus.publish([record for _, record in placed])
            until(lambda: metrics.counts.total() == len(placed))

        assert metrics.counts["consumer", "repeated"] == len(placed) - len(once) > len(once)
        for key in "abcde":
            assert [number for other, number in bus.effects() if other == key] == list(range(1, 13))

    def test_what_is_done_does_not_come_again(
        self, bus: Bus, consumer: EventConsumer, metrics: InMemoryMetrics
    ) -> None:
        """A member that stops tells the bus, so the next one goes on where it stopped."""
        consumer.on(TYPE)(bus.write)
        bus.publish([self.event(bus, "a", number) for number in range(1, 6)])
        with running(consumer):
            until(lambda: len(bus.effects()) == 5)

        next_one = self.again(bus, metrics)
        next_one.on(TYPE)(bus.write)
        with running(next_one):
            bus.publish([self.event(bus, "a", 6)])
            until(lambda: len(bus.effects()) == 6)

        assert metrics.counts["consumer", "repeated"] == 0

    def test_a_stop_waits_for_the_handler(self, bus: Bus, consumer: EventConsumer) -> None:
        """What is at work is finished, what waits is left for later."""
        began, go_on = threading.Event(), threading.Event()

        @consumer.on(TYPE)
        def slow(event: ConsumedEvent, transaction: Transaction) -> None:
            began.set()
            assert go_on.wait(20)
            bus.write(event, transaction)

        bus.publish([self.event(bus, "a", 1), self.event(bus, "a", 2)])
        stop = threading.Event()
        thread = threading.Thread(target=consumer.run, args=(stop,))
        thread.start()
        assert began.wait(20)
        stop.set()
        until(lambda: not consumer.is_healthy())
        go_on.set()
        thread.join()

        assert bus.effects() == [("a", 1)]

    def test_a_key_that_fails_holds_no_other_up(self, bus: Bus, consumer: EventConsumer) -> None:
        """It is tried again after a while, and its later events wait for it."""
        others_are_done = threading.Event()

        @consumer.on(TYPE)
        def failing(event: ConsumedEvent, transaction: Transaction) -> None:
            bus.write(event, transaction)
            if event.key == "bad" and event.sequence == 1 and not others_are_done.is_set():
                # Rolled back together with what was written.
                raise UnavailableError

        records = [self.event(bus, key, number) for number in (1, 2) for key in ("bad", *"abcdefgh")]
        bus.publish(records)

        with running(consumer):
            until(lambda: len(bus.effects()) == 16)
            without_it = bus.effects()
            others_are_done.set()
            until(lambda: len(bus.effects()) == 18)

        assert "bad" not in {key for key, _ in without_it}
        assert bus.effects()[16:] == [("bad", 1), ("bad", 2)]

    def test_a_hopeless_event_is_put_aside_and_its_key_waits(
        self, bus: Bus, consumer: EventConsumer, metrics: InMemoryMetrics
    ) -> None:
        """With its cause; later ones of the key are put aside behind it, and other keys go on."""
        tries = []

        @consumer.on(TYPE)
        def failing(event: ConsumedEvent, transaction: Transaction) -> None:
            bus.write(event, transaction)
            if (event.key, event.sequence) == ("bad", 2):
                tries.append(event)
                raise ValueError("no such thing")

        bus.publish([self.event(bus, key, number) for number in (1, 2, 3, 4) for key in ("bad", "good")])

        with running(consumer):
            until(lambda: len(bus.effects()) == 5 and metrics.counts["consumer", "behind"] == 2)

        assert sorted(bus.effects()) == [("bad", 1), *(("good", number) for number in (1, 2, 3, 4))]
        assert len(tries) == QUICK.attempts
        assert bus.dead_letters() == [
            ("bad", 2, "ValueError: no such thing"),
            ("bad", 3, "behind a dead letter of its key"),
            ("bad", 4, "behind a dead letter of its key"),
        ]
        assert metrics.counts["consumer", "dead-letter"] == 1

    def test_a_replay_applies_a_key_in_order(self, bus: Bus, metrics: InMemoryMetrics) -> None:
        """What still fails stays, with all that is behind it; then the key goes on as ever."""
        broken = {2, 4}

        def handle(event: ConsumedEvent, transaction: Transaction) -> None:
            if event.sequence in broken:
                raise EventRejectedError
            bus.write(event, transaction)

        def replayed() -> dict[str, int]:
            replaying = self.again(bus, metrics)
            replaying.on(TYPE)(handle)
            return replaying.replay_dead_letters()

        first = self.again(bus, metrics)
        first.on(TYPE)(handle)
        bus.publish([self.event(bus, "a", number) for number in (1, 2, 3, 4, 5)])
        with running(first):
            until(lambda: metrics.counts["consumer", "behind"] == 3)

        assert replayed() == {"failed": 1, "behind": 3}
        broken.discard(2)
        assert replayed() == {"applied": 2, "failed": 1, "behind": 1}
        broken.discard(4)
        assert replayed() == {"applied": 2}
        assert replayed() == {}
        last = self.again(bus, metrics)
        last.on(TYPE)(handle)
        with running(last):
            bus.publish([self.event(bus, "a", 6)])
            until(lambda: len(bus.effects()) == 6)

        assert [("a", number) for number in (1, 2, 3, 4, 5, 6)] == bus.effects()
        assert bus.dead_letters() == []

    def test_a_key_may_go_on_after_a_dead_letter(self, bus: Bus, metrics: InMemoryMetrics) -> None:
        """Where the order matters less than the delay; a replay still applies what was put aside."""
        is_broken = True

        def handle(event: ConsumedEvent, transaction: Transaction) -> None:
            if is_broken and event.sequence == 2:
                raise EventRejectedError
            bus.write(event, transaction)

        consumer = self.again(bus, metrics, after_dead_letter=AfterDeadLetter.GO_ON)
        consumer.on(TYPE)(handle)
        bus.publish([self.event(bus, "a", number) for number in (1, 2, 3)])
        with running(consumer):
            until(lambda: len(bus.effects()) == 2)
        is_broken = False
        replaying = self.again(bus, metrics, after_dead_letter=AfterDeadLetter.GO_ON)
        replaying.on(TYPE)(handle)

        assert replaying.replay_dead_letters() == {"applied": 1}
        assert bus.effects() == [("a", 1), ("a", 3), ("a", 2)]

    def test_what_nobody_handles_is_counted_and_passed(
        self, bus: Bus, consumer: EventConsumer, metrics: InMemoryMetrics
    ) -> None:
        """Types and versions that come to be later break no consumer of today."""
        consumer.on(TYPE)(bus.write)
        event = self.event(bus, "a", 1)
        bus.publish(
            [
                attrs.evolve(event, type="example.other.v1"),
                attrs.evolve(self.event(bus, "a", 2), type="example.thing.happened.v2"),
                self.event(bus, "a", 3),
            ]
        )

        with running(consumer):
            until(lambda: len(bus.effects()) == 1)

        assert (metrics.counts["consumer", "unhandled"], metrics.counts["consumer", "unknown-version"]) == (1, 1)
        assert bus.dead_letters() == []

    def test_data_of_another_shape_is_put_aside(
        self, bus: Bus, consumer: EventConsumer, metrics: InMemoryMetrics
    ) -> None:
        """Whether the handler names a class, or the type is one of the service's; new members do no harm."""

        @attrs.frozen
        class Thing:
            n: int

        got: list[object] = []
        consumer.on(TYPE, data=Thing)(lambda event: got.append(event.data))
        consumer.on("userservice.user.email_verified.v1")(lambda event: got.append(event.data))
        of_user = attrs.evolve(
            self.event(bus, "c", 1),
            type="userservice.user.email_verified.v1",
            payload=b'{"userId": "01890a5d-ac96-774b-bcce-b302099a8057", "email": "a@b.example", "new": true}',
        )
        bus.publish(
            [
                self.event(bus, "a", 1, payload=b'{"n": "one"}'),
                self.event(bus, "b", 1, payload=b'{"n": 1, "more": 2}'),
                of_user,
                attrs.evolve(of_user, payload=b'{"userId": "nobody"}', key="d"),
            ]
        )

        with running(consumer):
            until(lambda: metrics.counts["consumer", "dead-letter"] == 2 and len(got) == 2)

        assert sorted(key for key, _, _ in bus.dead_letters()) == ["a", "d"]
        assert Thing(1) in got

    def test_a_batch_is_handled_together(self, bus: Bus, metrics: InMemoryMetrics) -> None:
        """In one transaction, in order within a key; one that is to blame costs the others nothing."""
        sizes: list[int] = []
        consumer = self.again(bus, metrics, workers=1)

        @consumer.on_batch(TYPE, most=10)
        def many(events: Sequence[ConsumedEvent], transaction: Transaction) -> None:
            sizes.append(len(events))
            for event in events:
                if event.key == "bad":
                    raise EventRejectedError
                bus.write(event, transaction)

        records = [self.event(bus, key, number) for number in range(1, 11) for key in "abc"]
        bus.publish([*records[:15], self.event(bus, "bad", 1), *records[15:], *records[:3]])

        with running(consumer):
            until(lambda: len(bus.effects()) == 30 and metrics.counts["consumer", "dead-letter"] == 1)
            until(lambda: metrics.counts["consumer", "repeated"] == 3)

        effects = bus.effects()
        assert {key: list(range(1, 11)) for key in "abc"} == {
            key: [number for other, number in effects if other == key] for key in "abc"
        }
        assert 1 < max(sizes) <= 10

    def test_events_without_a_number_are_known_by_themselves(
        self, bus: Bus, consumer: EventConsumer, metrics: InMemoryMetrics
    ) -> None:
        """Their key promises no order, so none of them passes another."""
        consumer.on(TYPE)(bus.write)
        one, other = self.event(bus, "a", None), self.event(bus, "a", None)
        bus.publish([one, other, one, other, one])

        with running(consumer):
            until(lambda: metrics.counts["consumer", "repeated"] == 3)

        assert bus.effects() == [("a", None)] * 2

    def test_a_handler_without_a_transaction_is_not_called_for_a_repeat(
        self, bus: Bus, consumer: EventConsumer, metrics: InMemoryMetrics
    ) -> None:
        """Only a crash between the call and the memory of it repeats the call, under the same identity."""
        called: list[str] = []
        consumer.on(TYPE)(lambda event: called.append(event.identity))
        first = self.event(bus, "a", 1)
        bus.publish([first, first, self.event(bus, "a", 2), first])

        with running(consumer):
            until(lambda: metrics.counts["consumer", "repeated"] == 2)

        assert (len(called), len(set(called))) == (2, 2)
        assert called[0] == f"/userservice#{first.id}"

    def test_groups_are_apart(self, bus: Bus, consumer: EventConsumer, metrics: InMemoryMetrics) -> None:
        """Each gets everything, and what one has applied says nothing of another."""
        consumer.on(TYPE)(bus.write)
        other = EventConsumer(bus.source("other"), inbox=bus.inbox(), metrics=metrics)
        other.on(TYPE)(bus.write)
        bus.publish([self.event(bus, "a", 1)])

        with running(consumer), running(other):
            until(lambda: len(bus.effects()) == 2)

        assert bus.effects() == [("a", 1)] * 2

    def test_too_much_at_once_waits_on_the_bus(self, bus: Bus, metrics: InMemoryMetrics) -> None:
        """What was taken in is bounded, while a handler is slow."""
        go_on = threading.Event()
        consumer = self.again(bus, metrics, most_per_partition=20)

        @consumer.on(TYPE)
        def slow(event: ConsumedEvent, transaction: Transaction) -> None:
            assert go_on.wait(20)
            bus.write(event, transaction)

        bus.publish([self.event(bus, "a", number) for number in range(1, 4)])
        with running(consumer):
            until(consumer.is_healthy)
            bus.publish([self.event(bus, "a", number) for number in range(4, 301)])
            time.sleep(0.3)
            held = len(consumer._queues)  # noqa: SLF001 - what is held is the point
            go_on.set()
            until(lambda: len(bus.effects()) == 300, seconds=60)

        assert held < 300
        assert list(range(1, 301)) == [number for _, number in bus.effects()]

    def test_health_is_that_of_polling(self, consumer: EventConsumer) -> None:
        """Before and after there is none."""
        assert not consumer.is_healthy()
        with running(consumer):
            until(consumer.is_healthy)
        assert not consumer.is_healthy()

    def test_a_transaction_needs_an_inbox(self, bus: Bus) -> None:
        """It is said at the start, not at the first event."""
        consumer = EventConsumer(bus.source("g"))
        consumer.on(TYPE)(bus.write)

        with pytest.raises(ProgrammingError):
            consumer.run(threading.Event())
