"""The consumer over a bus in memory."""

from __future__ import annotations

import contextlib
import http.client
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.consumer_suite import QUICK, TYPE, ConsumerSuite, running, until
from tests.outbox_records import outbox_record
from userservice_core.errors import UnavailableError
from userservice_core.infrastructure.memory import (
    InMemoryEventPublisher,
    InMemoryEventSource,
    InMemoryInbox,
    InMemoryMetrics,
)
from userservice_core.infrastructure.messaging.consumer import EventConsumer
from userservice_core.infrastructure.messaging.probes import serve_probes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from userservice_core.ports.consuming import ConsumedEvent
    from userservice_core.ports.publishing import OutboxRecord

Effects = list[tuple[str, int | None]]


class InMemoryBus:
    """A publisher, the sources of its groups, and effects in a list."""

    topic = "things"

    def __init__(self) -> None:
        self._publisher = InMemoryEventPublisher()
        self._sources: dict[str, InMemoryEventSource] = {}
        self._effects: Effects = []
        self.the_inbox = InMemoryInbox(self._begin)

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Publish."""
        self._publisher.publish(records)

    def source(self, group: str) -> InMemoryEventSource:
        """Return the only source of *group*."""
        if group not in self._sources:
            self._sources[group] = InMemoryEventSource(self._publisher, group=group, topics=[self.topic])
        return self._sources[group]

    def inbox(self) -> InMemoryInbox[Effects]:
        """Return the one there is."""
        return self.the_inbox

    def write(self, event: ConsumedEvent, transaction: Any) -> None:  # noqa: ANN401 - the inbox's own
        """Write key and number."""
        transaction.append((event.key, event.sequence))

    def effects(self) -> Effects:
        """Return what was committed."""
        return list(self._effects)

    def dead_letters(self) -> list[tuple[str, int | None, str]]:
        """Return those of all groups."""
        return [
            (arrival.key or "", None if arrival.event is None else arrival.event.sequence, cause)
            for source in self._sources.values()
            for arrival, cause, _ in source.dead_letters
        ]

    @contextlib.contextmanager
    def _begin(self) -> Iterator[Effects]:
        new: Effects = []
        yield new
        self._effects += new


class TestInMemoryConsumer(ConsumerSuite):
    """Each test with a bus of its own."""

    @pytest.fixture
    def bus(self) -> InMemoryBus:
        """With nothing on it."""
        return InMemoryBus()

    def test_an_inbox_that_is_away_blames_no_event(
        self, bus: InMemoryBus, consumer: EventConsumer, metrics: InMemoryMetrics
    ) -> None:
        """Everything waits until it is back, however often that is tried; nothing is put aside."""
        consumer.on(TYPE)(bus.write)
        bus.the_inbox.failure = OSError("away")
        bus.publish([self.event(bus, "a", 1)])

        with running(consumer):
            until(lambda: metrics.counts["consumer", "outage"] > 10)
            bus.the_inbox.failure = None
            until(lambda: len(bus.effects()) == 1)

        assert bus.dead_letters() == []

    def test_what_is_given_up_is_not_handled_again(
        self, bus: InMemoryBus, consumer: EventConsumer, metrics: InMemoryMetrics
    ) -> None:
        """However often it could not be put aside; its key waits meanwhile, and its cause stays that of the handler."""
        tries = []

        @consumer.on(TYPE)
        def failing(event: ConsumedEvent, transaction: Any) -> None:  # noqa: ANN401 - the inbox's own
            if event.sequence == 1:
                tries.append(event)
                raise ValueError("no such thing")
            bus.write(event, transaction)

        bus.source("g").failure = UnavailableError("away")
        bus.publish([self.event(bus, "a", 1), self.event(bus, "b", 2)])

        with running(consumer):
            until(lambda: metrics.counts["consumer", "put-aside-failed"] > 5)
            bus.source("g").failure = None
            until(lambda: bool(bus.dead_letters()) and bus.effects() == [("b", 2)])

        assert len(tries) == QUICK.attempts
        assert bus.dead_letters() == [("a", 1, "ValueError: no such thing")]

    def test_what_is_taken_away_comes_again_without_effect(self, bus: InMemoryBus, consumer: EventConsumer) -> None:
        """However often a rebalance takes the partitions."""
        consumer.on(TYPE)(bus.write)
        with running(consumer):
            for number in range(1, 201):
                bus.publish([self.event(bus, str(number % 7), number)])
                if number % 10 == 0:
                    bus.source("g").lose()
            until(lambda: len(bus.effects()) == 200)

        effects = bus.effects()
        assert effects == list(dict.fromkeys(effects))
        assert all(
            [number for other, number in effects if other == key]
            == sorted(number or 0 for other, number in effects if other == key)
            for key in "0123456"
        )


def test_probes_say_whether_the_consumer_lives(bus_of_probes: InMemoryBus) -> None:
    """And what it counts."""
    consumer = EventConsumer(bus_of_probes.source("g"), metrics=InMemoryMetrics())
    consumer.on(TYPE)(lambda _: None)

    with serve_probes(consumer, host="127.0.0.1", port=0) as port:
        before = _get(port, "/health/live")
        with running(consumer):
            until(consumer.is_healthy)
            bus_of_probes.publish([attrs.evolve(outbox_record("a", 1, topic="things"), type=TYPE)])
            until(lambda: b'consumer{outcome="applied"} 1' in _get(port, "/metrics")[1])
            during = _get(port, "/health/live")
        elsewhere = _get(port, "/")

    assert [status for status, _ in (before, during, elsewhere)] == [503, 200, 404]


@pytest.fixture
def bus_of_probes() -> InMemoryBus:
    """With nothing on it."""
    return InMemoryBus()


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
