"""Lines to the broker that break in the midst of what they carry, or are open and carry nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from tests.consumer_suite import TYPE, running, until
from tests.integration.messaging.effects import PostgresEffects
from tests.integration.messaging.outboxes import wait_until, waiting, write
from tests.outbox_records import outbox_record
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.messaging import lines
from userservice_core.infrastructure.messaging.confluent_events import ConfluentEventSource
from userservice_core.infrastructure.messaging.confluent_publisher import ConfluentEventPublisher
from userservice_core.infrastructure.messaging.consumer import EventConsumer
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher
from userservice_core.infrastructure.messaging.lines import Line as RelayLine
from userservice_core.infrastructure.messaging.relay import Relay
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.integration.messaging.topics import Topics
    from tests.servers.kafka import KafkaBroker
    from tests.servers.run import ServersOfRun
    from tests.servers.toxiproxy import Line, Toxiproxy
    from userservice_core.infrastructure.postgres.database import Database

pytestmark = [
    pytest.mark.usefixtures("refused_connections"),
    # The library leaves sockets that were refused to the garbage collector, which comes by at any time.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

_KEYS: Final = "abcde"
_PATIENCE_SECONDS: Final = 1.5
_REQUEST_SECONDS: Final = 1.0
_LARGE: Final = b'"%s"' % (b"x" * 500)


@attrs.frozen
class _Client:
    """One client library or the other, and what it calls the time that a request may take."""

    publisher: type[KafkaEventPublisher | ConfluentEventPublisher]
    source: type[KafkaEventSource | ConfluentEventSource]
    request_timeout: str


@pytest.fixture(
    params=[
        _Client(KafkaEventPublisher, KafkaEventSource, "request_timeout_ms"),
        _Client(ConfluentEventPublisher, ConfluentEventSource, "socket.timeout.ms"),
    ],
    ids=["kafka-python", "confluent-kafka"],
)
def client(request: pytest.FixtureRequest) -> _Client:
    """Either client."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def line(kafka_broker: KafkaBroker, toxiproxy: Toxiproxy, servers_of_run: ServersOfRun) -> Iterator[Line]:
    """The line to the broker, of this test alone."""
    with (
        servers_of_run.locked("line-to-the-broker"),
        toxiproxy.line(kafka_broker.behind_proxy, port=kafka_broker.proxy_port) as opened,
    ):
        yield opened


@attrs.frozen
class _Toxic:
    """Something that is wrong with what a line carries, one way or both."""

    kind: str
    ways: tuple[bool, ...]
    attributes: dict[str, int]

    @contextlib.contextmanager
    def on(self, line: Line) -> Iterator[None]:
        """Have it be wrong for the block."""
        with contextlib.ExitStack() as toxics:
            for upstream in self.ways:
                toxics.enter_context(line.toxic(self.kind, upstream=upstream, **self.attributes))
            yield


_SILENT: Final = _Toxic("timeout", (False, True), {"timeout": 0})
_RESET: Final = _Toxic("reset_peer", (True,), {"timeout": 0})
# In the midst of the first batch of records, and in that of the answer to it.
_CUT_REQUEST: Final = _Toxic("limit_data", (True,), {"bytes": 1_000})
_CUT_ANSWER: Final = _Toxic("limit_data", (False,), {"bytes": 30})


def test_no_line_that_breaks_loses_an_event(
    client: _Client, pool: Database, observer: psycopg.Connection, topics: Topics, line: Line
) -> None:
    """
    That nothing gets through is found while it lasts, also where the line just falls silent; then all arrives.

    Each time events wait already when the line breaks, and others follow while it is broken.
    """
    name, metrics = topics.create(), InMemoryMetrics()
    publisher = client.publisher(
        [line.address],
        client_id="test",
        patience_seconds=_PATIENCE_SECONDS,
        connect_patience_seconds=1,
        request_timeout_seconds=_REQUEST_SECONDS,
    )
    relay = Relay(
        PostgresOutboxStore(pool), [RelayLine(name="bus", publisher=publisher)], None, relay_id="r", metrics=metrics
    )
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    numbers = iter(range(1, 1_000))

    def write_some() -> None:
        for number in (next(numbers), next(numbers)):
            write(observer, *(outbox_record(key, number, topic=name, payload=_LARGE) for key in _KEYS))

    try:
        for toxic in (_SILENT, _CUT_REQUEST, _CUT_ANSWER, _RESET):
            write_some()
            failed = metrics.counts["relay_bus", "failed"]
            with toxic.on(line):
                write_some()
                wait_until(lambda: metrics.counts["relay_bus", "failed"] > failed)  # noqa: B023 - called at once
                assert waiting(observer) > 0
            wait_until(lambda: waiting(observer) == 0)
    finally:
        stop.set()
        thread.join()

    arrivals = topics.arrivals()
    last = next(numbers)
    for key in _KEYS:
        sequences = [arrival.sequence for arrival in arrivals if arrival.key == key]
        assert list(dict.fromkeys(sequences)) == list(range(1, last)), key


def test_a_narrow_line_carries_a_backlog(
    monkeypatch: pytest.MonkeyPatch,
    pool: Database,
    observer: psycopg.Connection,
    topics: Topics,
    line: Line,
) -> None:
    """Far more than it takes in the time for a wave: waves become as small as it needs, and all arrives in order."""
    monkeypatch.setattr(lines, "_LONG_WAVE_SECONDS", _REQUEST_SECONDS / 2)
    name, metrics, keys = topics.create(), InMemoryMetrics(), [f"k{number}" for number in range(100)]
    publisher = KafkaEventPublisher(
        [line.address],
        client_id="test",
        patience_seconds=_PATIENCE_SECONDS,
        request_timeout_seconds=_REQUEST_SECONDS,
    )
    relay_line = RelayLine(name="bus", publisher=publisher)
    relay = Relay(PostgresOutboxStore(pool), [relay_line], None, relay_id="r", metrics=metrics)
    with observer.transaction():
        for number in (1, 2, 3):
            write(observer, *(outbox_record(key, number, topic=name, payload=_LARGE) for key in keys))
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    with line.toxic("bandwidth", rate=60, upstream=True):
        thread.start()
        try:
            wait_until(lambda: waiting(observer) == 0, seconds=60)
        finally:
            stop.set()
            thread.join()

    assert metrics.counts["relay_bus", "failed"] > 0
    arrivals = topics.arrivals()
    for key in keys:
        assert list(dict.fromkeys(each.sequence for each in arrivals if each.key == key)) == [1, 2, 3]


def test_no_line_that_breaks_doubles_an_effect(
    client: _Client, database: str, kafka_broker: KafkaBroker, topics: Topics, line: Line
) -> None:
    """A consumer behind it goes on by itself once the line is good again; what came meanwhile is consumed once."""
    name, effects, metrics = topics.create(), PostgresEffects(database), InMemoryMetrics()
    settings: dict[str, Any] = {client.request_timeout: int(_REQUEST_SECONDS * 1000)}
    source = client.source(
        [line.address], group=topics.name("g"), topics=[name], session_seconds=6.0, client_settings=settings
    )
    consumer = EventConsumer(source, inbox=effects.inbox(), metrics=metrics)
    consumer.on(TYPE)(effects.write)
    numbers = iter(range(1, 1_000))
    publisher = KafkaEventPublisher([kafka_broker.bootstrap_servers], client_id="test")

    def publish_some() -> None:
        records = [outbox_record(key, number, topic=name) for number in (next(numbers), next(numbers)) for key in _KEYS]
        assert all(
            delivery.error is None
            for delivery in publisher.publish([attrs.evolve(record, type=TYPE) for record in records])
        )

    with contextlib.closing(publisher), running(consumer):
        publish_some()
        until(lambda: len(effects.effects()) == 10)
        for count, toxic in ((20, _SILENT), (30, _CUT_ANSWER)):
            with toxic.on(line):
                publish_some()
                # For longer than a request may take, so that the connections are given up.
                time.sleep(1.5 * _REQUEST_SECONDS)
            until(lambda: len(effects.effects()) >= count, seconds=30)  # noqa: B023 - called at once

    next_number = next(numbers)
    for key in _KEYS:
        assert [number for other, number in effects.effects() if other == key] == list(range(1, next_number)), key
