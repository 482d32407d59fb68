"""From PostgreSQL to Kafka through relays that are stopped, frozen, killed and cut off."""

from __future__ import annotations

import contextlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.integration.messaging.outboxes import wait_until, waiting, write
from tests.outbox_records import keys_of_one_lane, outbox_record
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher
from userservice_core.infrastructure.messaging.lines import Line
from userservice_core.infrastructure.messaging.relay import Relay
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
from userservice_core.infrastructure.postgres.signal import PostgresSignal
from userservice_core.ports.failpoints import install_failpoints
from userservice_core.ports.publishing import LANES, lane_of
from userservice_core.ports.revocations import OUTBOX_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from tests.integration.messaging.topics import Arrival, Topics
    from userservice_core.infrastructure.postgres.database import Database

_KEYS = [f"k{number}" for number in range(8)]


class _Crash(BaseException):
    """The end of the process, as far as the code under test can tell."""


class _Relaying:
    """A relay of its own process, but for the process."""

    def __init__(self, pool: Database, topics: Topics, relay_id: str, *, patience_seconds: float = 30) -> None:
        self.metrics = InMemoryMetrics()
        self.publisher = KafkaEventPublisher(
            [topics.broker.bootstrap_servers], client_id=relay_id, patience_seconds=patience_seconds
        )
        line = Line(name="bus", publisher=self.publisher)
        store = PostgresOutboxStore(pool)
        self.relay = Relay(store, [line], None, relay_id=relay_id, metrics=self.metrics)

    @property
    def lanes(self) -> float:
        """How many lanes it held at its last claim."""
        return self.metrics.gauges.get("relay_lanes", 0)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Relay within the block."""
        stop = threading.Event()
        thread = threading.Thread(target=self.relay.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(40)
            assert not thread.is_alive()


@pytest.fixture
def relaying(pool: Database, topics: Topics) -> Iterator[_Relaying]:
    """A relay that is driven wave by wave."""
    one = _Relaying(pool, topics, "r")
    yield one
    one.publisher.close()


def _write_many(database: str, topic: str, key: str, *, events: int) -> None:
    """Write events of one key, some in one transaction, each after a moment."""
    chance = random.Random(key)  # noqa: S311 - no secret
    with psycopg.connect(database) as connection:
        for number in range(1, events + 1):
            write(connection, outbox_record(key, number, topic=topic))
            if chance.random() < 0.5:
                threading.Event().wait(chance.uniform(0, 0.005))
                connection.commit()


def _succeeded(written: Iterable[Future[None]]) -> None:
    for outcome in written:
        outcome.result(60)


def _first_occurrences(arrivals: Sequence[Arrival], key: str) -> list[int]:
    return list(dict.fromkeys(arrival.sequence for arrival in arrivals if arrival.key == key))


def test_each_key_keeps_its_order_while_relays_come_and_go(
    pool: Database, database: str, observer: psycopg.Connection, topics: Topics
) -> None:
    """Writers in parallel, two relays that share the lanes, one that is stopped midway: all arrives, in order."""
    name, events = topics.create(), 150
    first, second = _Relaying(pool, topics, "1"), _Relaying(pool, topics, "2")
    with second.running():
        with first.running(), ThreadPoolExecutor(len(_KEYS)) as writers:
            written = [writers.submit(_write_many, database, name, key, events=events) for key in _KEYS]
            wait_until(lambda: first.lanes == second.lanes == LANES / 2)
        _succeeded(written)
        wait_until(lambda: second.lanes == LANES)
        wait_until(lambda: waiting(observer) == 0)

    arrivals = topics.arrivals()
    assert {key: _first_occurrences(arrivals, key) for key in _KEYS} == {
        key: list(range(1, events + 1)) for key in _KEYS
    }
    assert first.metrics.counts["relay_bus", "ok"] + second.metrics.counts["relay_bus", "ok"] == len(arrivals)


@pytest.mark.parametrize(
    ("step", "times"),
    [("relay.read", 1), ("relay.published", 2), ("relay.deleted", 1)],
)
def test_a_relay_that_is_killed_leaves_repeats_only(
    step: str, times: int, pool: Database, observer: psycopg.Connection, topics: Topics
) -> None:
    """Between sending and deleting: the next run sends the same event again, with the same id; else once."""
    name = topics.create()
    record = outbox_record("a", 1, topic=name)
    write(observer, record)

    def crash(passed: str) -> None:
        if passed == step:
            raise _Crash

    killed, next_run = _Relaying(pool, topics, "r"), _Relaying(pool, topics, "r")
    install_failpoints(crash)
    try:
        with pytest.raises(_Crash):
            killed.relay.wave()
    finally:
        install_failpoints(None)
    next_run.relay.wave()
    killed.publisher.close()
    next_run.publisher.close()

    ids = [arrival.headers["ce_id"] for arrival in topics.arrivals()]
    assert (ids, waiting(observer)) == ([str(record.id)] * times, 0)


def test_a_late_commit_is_published_too(
    relaying: _Relaying, observer: psycopg.Connection, database: str, topics: Topics
) -> None:
    """Though records with higher numbers went before it."""
    name = topics.create()
    with psycopg.connect(database) as late:
        write(late, outbox_record("late", 1, topic=name))
        write(observer, outbox_record("early", 1, topic=name))
        relaying.relay.wave()
        late.commit()
    relaying.relay.wave()

    assert sorted(arrival.key for arrival in topics.arrivals()) == ["early", "late"]
    assert waiting(observer) == 0


def test_a_poisoned_record_parks_its_key_only(
    relaying: _Relaying, observer: psycopg.Connection, topics: Topics
) -> None:
    """The others of its lane, its partition and its wave go on."""
    name = topics.create(partitions=1, max_message_bytes="2000")
    poisoned, healthy = keys_of_one_lane(2, topic=name)
    write(observer, outbox_record(poisoned, 1, topic=name, payload=b'"' + b"x" * 4000 + b'"'))
    write(observer, *(outbox_record(key, number, topic=name) for number in (2, 3) for key in (poisoned, healthy)))

    relaying.relay.wave()
    relaying.relay.wave()

    assert [(arrival.key, arrival.sequence) for arrival in topics.arrivals()] == [(healthy, 2), (healthy, 3)]
    parked = observer.execute("SELECT aggregateid, sequence, cause FROM outbox_parked").fetchall()
    assert parked == [(poisoned, 1, "the event is larger than the broker takes")]
    assert waiting(observer) == 2


def test_a_hot_key_holds_no_other_lane_up(relaying: _Relaying, observer: psycopg.Connection, topics: Topics) -> None:
    """However much waits of one key: what others wrote last goes out with the next wave."""
    name, hot = topics.create(), "hot"
    keys = [f"k{number}" for number in range(40)]
    others = [key for key in keys if lane_of(name, key) != lane_of(name, hot)]
    write(observer, *(outbox_record(hot, number, topic=name) for number in range(1, 1001)))
    write(observer, *(outbox_record(key, 1, topic=name) for key in others))

    relaying.relay.wave()

    arrived = {arrival.key for arrival in topics.arrivals()}
    assert arrived == {hot, *others}
    assert waiting(observer) > 900


def test_no_transaction_is_open_while_the_broker_is_waited_for(
    relaying: _Relaying, observer: psycopg.Connection, topics: Topics
) -> None:
    """It would hold back vacuum, and locks with it."""
    write(observer, outbox_record("a", 1, topic=topics.create()))
    seen = []

    def look(step: str) -> None:
        if step in {"relay.read", "relay.published"}:
            rows = observer.execute(
                "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchall()
            seen.append({state for (state,) in rows})

    install_failpoints(look)
    try:
        relaying.relay.wave()
    finally:
        install_failpoints(None)

    assert seen == [{"idle"}, {"idle"}]


def test_a_commit_wakes_the_relay_of_another_process(
    pool: Database, database: str, observer: psycopg.Connection, topics: Topics
) -> None:
    """Through the server, sooner than it would look by itself."""
    name = topics.create()
    with contextlib.closing(PostgresSignal(database)) as listening, contextlib.closing(PostgresSignal(database)) as own:
        one = _Relaying(pool, topics, "r")
        store = PostgresOutboxStore(pool)
        one.relay = Relay(
            store, [Line(name="bus", publisher=one.publisher)], listening, relay_id="r", metrics=one.metrics
        )
        with one.running():
            wait_until(lambda: one.lanes == LANES)
            write(observer, outbox_record("a", 1, topic=name))
            own.notify(OUTBOX_CHANNEL)
            wait_until(lambda: waiting(observer) == 0)

    assert len(topics.arrivals()) == 1


@pytest.mark.exclusive
@pytest.mark.usefixtures("refused_connections")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_goes_and_comes_back_loses_nothing(
    pool: Database, database: str, observer: psycopg.Connection, topics: Topics
) -> None:
    """Killed under load, so that some records are on their way: all arrive, in order, soon after it is back."""
    name, events = topics.create(), 100
    one = _Relaying(pool, topics, "r", patience_seconds=3)
    with one.running(), ThreadPoolExecutor(len(_KEYS)) as writers:
        written = [writers.submit(_write_many, database, name, key, events=events) for key in _KEYS]
        wait_until(lambda: one.metrics.counts["relay_bus", "ok"] > 50)
        topics.broker.kill9()
        _succeeded(written)
        wait_until(lambda: one.metrics.counts["relay_bus", "failed"] > 0)
        waited = waiting(observer)
        topics.broker.start()
        wait_until(lambda: waiting(observer) == 0, seconds=30)

    arrivals = topics.arrivals()
    assert waited > 0
    assert {key: _first_occurrences(arrivals, key) for key in _KEYS} == {
        key: list(range(1, events + 1)) for key in _KEYS
    }
