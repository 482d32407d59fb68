"""What a relay does with what its publisher says, over an outbox in memory."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import structlog

from tests.outbox_records import keys_of_one_lane, outbox_record, sequences_of
from userservice_core.infrastructure.memory import (
    InMemoryEventPublisher,
    InMemoryMetrics,
    InMemoryOutboxStore,
    InMemorySignal,
    InMemoryStore,
)
from userservice_core.infrastructure.memory.store import WaitingRecord
from userservice_core.infrastructure.messaging import lines
from userservice_core.infrastructure.messaging.lines import Line, WaveSize
from userservice_core.infrastructure.messaging.relay import LEASE_SECONDS, Relay
from userservice_core.ports.publishing import LANES, Delivery, OutboxRecord, Reach
from userservice_core.ports.revocations import OUTBOX_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from userservice_core.ports.publishing import Backlog, Lease

_AUTH = "userservice.auth"


class _ClosingPublisher(InMemoryEventPublisher):
    """Counts how often its buffer was discarded."""

    closings = 0

    def close(self) -> None:
        self.closings += 1


@attrs.define
class _Scene:
    """One relay, and everything around it."""

    store: InMemoryStore = attrs.field(factory=InMemoryStore)
    publisher: _ClosingPublisher = attrs.field(factory=_ClosingPublisher)
    metrics: InMemoryMetrics = attrs.field(factory=InMemoryMetrics)
    signal: InMemorySignal = attrs.field(factory=InMemorySignal)
    records_per_lane: int = 50

    def add(self, *records: OutboxRecord) -> None:
        """Have *records* wait, in their order."""
        with self.store.held():
            rows = self.store.rows.copy()
            for record in records:
                rows.last_position += 1
                placed = attrs.evolve(record, position=rows.last_position)
                rows.outbox.append(WaitingRecord(placed, since=self.store.monotonic()))
            self.store.rows = rows

    def relay(self, relay_id: str = "r", *, outbox: InMemoryOutboxStore | None = None) -> Relay:
        """Return a relay, or a later run of it."""
        line = Line(name="bus", publisher=self.publisher, records_per_lane=self.records_per_lane)
        outbox = outbox or InMemoryOutboxStore(self.store)
        return Relay(outbox, [line], self.signal, relay_id=relay_id, metrics=self.metrics)

    def waiting(self) -> list[OutboxRecord]:
        """Return what waits."""
        return [waiting.record for waiting in self.store.rows.outbox]

    def parked(self) -> list[tuple[str, str]]:
        """Return the key and the cause of what was set aside."""
        return [(parked.event.record.key, parked.event.cause) for parked in self.store.rows.parked]

    def fail(self, key: str, *, retriable: bool = True, reach: Reach = Reach.BUS) -> None:
        """Let the publisher refuse the records of a key."""
        self.publisher.failing = lambda record: (
            Delivery(record, "refused", retriable=retriable, reach=reach) if record.key == key else None
        )

    def let_all_pass(self) -> None:
        """Let the publisher take everything again."""
        self.publisher.failing = lambda _: None


@pytest.fixture
def scene() -> _Scene:
    """An empty outbox and a publisher that takes everything."""
    return _Scene()


@contextlib.contextmanager
def _running(relay: Relay) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- one wave ---------------------------------------------------------------------------------------------------------


def test_a_wave_publishes_in_order_and_deletes(scene: _Scene) -> None:
    """What was acknowledged does not wait any more, and is counted."""
    scene.add(*(outbox_record(key, number) for number in (1, 2, 3) for key in "abc"))

    published = scene.relay().wave()

    assert (published, scene.waiting(), scene.metrics.counts["relay_bus", "ok"]) == (9, [], 9)
    assert {key: sequences_of(scene.publisher.published, key) for key in "abc"} == {key: [1, 2, 3] for key in "abc"}


def test_lines_share_the_topics(scene: _Scene) -> None:
    """Each topic goes its own way."""
    scene.add(outbox_record("a"), outbox_record("a", topic=_AUTH))
    other = InMemoryEventPublisher()
    ways = [
        Line(name="bus", publisher=scene.publisher, without_topics=(_AUTH,)),
        Line(name="mail", publisher=other, without_topics=("userservice.users",)),
    ]

    Relay(InMemoryOutboxStore(scene.store), ways, None, relay_id="r", metrics=scene.metrics).wave()

    assert [record.topic for record in scene.publisher.published] == ["userservice.users"]
    assert [record.topic for record in other.published] == [_AUTH]


# --- failures ---------------------------------------------------------------------------------------------------------


def test_what_can_never_be_published_is_parked_and_its_key_waits(scene: _Scene) -> None:
    """Other keys of the lane go on, so one poisoned record stops one key only."""
    poisoned, healthy = keys_of_one_lane(2)
    scene.add(*(outbox_record(key, number) for number in (1, 2) for key in (poisoned, healthy)))
    scene.fail(poisoned, retriable=False)
    relay = scene.relay()

    relay.wave()
    scene.let_all_pass()
    relay.wave()

    assert scene.parked() == [(poisoned, "refused")]
    assert sequences_of(scene.waiting(), poisoned) == [2]
    assert sequences_of(scene.publisher.published, healthy) == [1, 2]
    assert scene.metrics.counts["relay_bus", "parked"] == 1


def test_a_key_without_sequences_goes_on_behind_a_parked_record(scene: _Scene) -> None:
    """It promises no order: a mailbox that refused one mail gets the next one."""
    scene.add(outbox_record("a", None))
    scene.fail("a", retriable=False)
    relay = scene.relay()
    relay.wave()
    scene.let_all_pass()
    scene.add(outbox_record("a", None))

    assert relay.wave() == 1


def test_a_key_that_fails_holds_up_no_other(scene: _Scene) -> None:
    """Not even where its records are all that a wave would read of the lane."""
    scene.records_per_lane = 1
    failing, healthy = keys_of_one_lane(2)
    scene.add(outbox_record(failing, 1), outbox_record(failing, 2), outbox_record(healthy, 1))
    scene.fail(failing, reach=Reach.KEY)
    relay = scene.relay()

    for _ in range(4):
        relay.wave()

    assert sequences_of(scene.publisher.published, healthy) == [1]
    assert sequences_of(scene.waiting(), failing) == [1, 2]
    assert scene.metrics.counts["relay_bus", "failed"] == 1


def test_a_topic_that_fails_holds_up_no_other(scene: _Scene) -> None:
    """It is left alone for a while, and tried again then."""
    scene.add(outbox_record("a", topic=_AUTH), outbox_record("b", topic=_AUTH))
    scene.publisher.failing = lambda record: (
        Delivery(record, "no such topic", reach=Reach.TOPIC) if record.topic == _AUTH else None
    )
    relay = scene.relay()
    relay.wave()
    scene.let_all_pass()
    scene.add(outbox_record("c"))

    published = relay.wave()

    assert (published, sorted(record.key for record in scene.waiting())) == (1, ["a", "b"])
    assert scene.metrics.counts["relay_bus", "failed"] == 1


def test_a_bus_that_fails_is_left_alone_and_found_again(scene: _Scene) -> None:
    """Everything waits meanwhile, and nothing is lost or reordered."""
    scene.add(*(outbox_record("a", number) for number in (1, 2, 3)))
    scene.fail("a")
    relay = scene.relay()

    relay.wave()
    scene.let_all_pass()
    during = relay.wave()
    _wait_until(lambda: relay.wave() > 0)

    assert during == 0
    assert sequences_of(scene.publisher.published, "a") == [1, 2, 3]


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_wave_that_outlasts_its_time_is_followed_by_smaller_ones() -> None:
    """Half of what arrived, then the double as long as that is quick; refusals and distance change nothing."""
    size = WaveSize(50)
    records = [outbox_record(key, 1) for key in map(str, range(10))]
    arrived = [Delivery(record) for record in records]
    refused = [Delivery(record, "no broker can be reached") for record in records]
    steps = (
        (0.1, arrived, 50),
        (0.1, refused, 50),
        (20.0, arrived, 50),
        (30.0, [*arrived[:4], *refused[4:]], 10),
        (8.0, arrived, 10),
        (4.0, arrived, 20),
        (0.1, refused, 20),
        (30.0, refused, 1),
        (1.0, arrived, 2),
        *((1.0, arrived, expected) for expected in (4, 8, 16, 32, 50, 50)),
    )

    told = []
    for seconds, deliveries, _ in steps:
        size.took(seconds, deliveries)
        told.append(size.records)

    assert told == [expected for _, _, expected in steps]


def test_a_relay_that_lost_its_lanes_deletes_nothing_and_discards_its_buffer(scene: _Scene) -> None:
    """It was frozen while it sent; who has the lanes now publishes again, which consumers drop."""
    scene.add(outbox_record("a", 1), outbox_record("a", 2))

    def steal(_: OutboxRecord) -> None:
        InMemoryOutboxStore(scene.store).claim("r", lease_seconds=LEASE_SECONDS)

    scene.publisher.failing = steal
    scene.relay().wave()
    scene.let_all_pass()

    assert (len(scene.waiting()), scene.publisher.closings) == (2, 1)
    assert scene.relay().wave() == 2


def test_a_relay_that_is_told_to_stop_gives_its_lanes_back(scene: _Scene) -> None:
    """So another one goes on at once."""
    with _running(scene.relay()):
        _wait_until(lambda: scene.metrics.gauges.get("relay_lanes") == LANES)

    assert len(InMemoryOutboxStore(scene.store).claim("other", lease_seconds=LEASE_SECONDS)) == LANES
    assert scene.publisher.closings == 1


def test_two_relays_under_one_id_are_told_of(scene: _Scene) -> None:
    """They would take each other's lanes for ever: everything would still be published, but mostly twice."""
    relay = scene.relay()
    with structlog.testing.capture_logs() as logs, _running(relay):
        _wait_until(lambda: scene.metrics.gauges.get("relay_lanes") == LANES)
        InMemoryOutboxStore(scene.store).claim("r", lease_seconds=LEASE_SECONDS)
        _wait_until(lambda: any("same id" in line["event"] for line in logs))


# --- running ----------------------------------------------------------------------------------------------------------


def test_a_signal_wakes_it(scene: _Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It need not wait for its next look."""
    monkeypatch.setattr(lines, "_SHORTEST_POLL_SECONDS", 60)
    monkeypatch.setattr(lines, "_LONGEST_POLL_SECONDS", 60)

    with _running(scene.relay()):
        _wait_until(lambda: scene.metrics.gauges.get("relay_lanes") == LANES)
        scene.add(outbox_record())
        scene.signal.notify(OUTBOX_CHANNEL)

        _wait_until(lambda: len(scene.publisher.published) == 1)


def test_without_a_signal_it_looks_by_itself(scene: _Scene) -> None:
    """Signals may be lost."""
    with _running(scene.relay()):
        scene.add(outbox_record())

        _wait_until(lambda: len(scene.publisher.published) == 1)


def test_a_publisher_that_breaks_its_promise_stops_nothing(scene: _Scene) -> None:
    """It tells failures; one that raises all the same is closed, and tried again."""
    raised: list[bool] = []

    def break_once(_: OutboxRecord) -> None:
        if not raised:
            raised.append(True)
            raise RuntimeError("not told but raised")

    scene.publisher.failing = break_once
    scene.add(outbox_record("a", 1), outbox_record("a", 2))

    with _running(scene.relay()):
        _wait_until(lambda: not scene.waiting())

    assert sequences_of(scene.publisher.published, "a") == [1, 2]


class _BreakingOutbox(InMemoryOutboxStore):
    """Fails in ways that no port allows."""

    broken = False

    def claim(self, relay_id: str, *, lease_seconds: float) -> tuple[Lease, ...]:
        self._check()
        return super().claim(relay_id, lease_seconds=lease_seconds)

    def read(
        self, leases: Sequence[Lease], *, limit: int, without_topics: Sequence[str] = ()
    ) -> tuple[OutboxRecord, ...]:
        self._check()
        return super().read(leases, limit=limit, without_topics=without_topics)

    def backlog(self) -> Backlog:
        self._check()
        return super().backlog()

    def _check(self) -> None:
        if self.broken:
            raise ZeroDivisionError


def test_an_outbox_that_breaks_is_found_again(scene: _Scene) -> None:
    """No thread of a relay ends before it is told to: without one of them the process would only look alive."""
    outbox = _BreakingOutbox(scene.store)
    with structlog.testing.capture_logs() as logs, _running(scene.relay(outbox=outbox)):
        _wait_until(lambda: scene.metrics.gauges.get("relay_lanes") == LANES)
        outbox.broken = True
        scene.add(outbox_record())
        _wait_until(lambda: _says(logs, "the outbox cannot be looked after") and _says(logs, "a wave failed"))
        outbox.broken = False

        _wait_until(lambda: not scene.waiting())


def _says(logs: Sequence[Any], what: str) -> bool:
    return any(line["event"] == what for line in logs)


def test_what_waits_is_measured(scene: _Scene) -> None:
    """An operator is warned by how much waits, and for how long."""
    scene.add(outbox_record("a", 1), outbox_record("a", 2))
    scene.fail("a")

    with _running(scene.relay()):
        _wait_until(lambda: "outbox_oldest_age_seconds" in scene.metrics.gauges)

    assert scene.metrics.gauges["outbox_records"] == 2
    assert scene.metrics.gauges["outbox_oldest_age_seconds"] >= 0
    assert scene.metrics.gauges["outbox_parked"] == 0


def test_a_relay_drains_and_leaves_nothing_running(scene: _Scene) -> None:
    """It ends as soon as nothing waits, and gives its lanes back at once."""
    scene.add(*(outbox_record(f"k{number}") for number in range(100)))
    before = threading.active_count()
    began = time.monotonic()

    left = scene.relay("one").drain(seconds=20)

    assert (left.records, len(scene.publisher.published)) == (0, 100)
    assert time.monotonic() - began < 10
    assert threading.active_count() == before
    assert len(InMemoryOutboxStore(scene.store).claim("other", lease_seconds=LEASE_SECONDS)) == LANES


def test_a_relay_that_cannot_drain_says_what_waits(scene: _Scene) -> None:
    """It does not stay beyond its time."""
    scene.add(outbox_record("a"), outbox_record("b"))
    scene.publisher.failing = lambda record: Delivery(record, "refused")
    began = time.monotonic()

    left = scene.relay().drain(seconds=0.5)

    assert left.records == 2
    assert time.monotonic() - began < 5


def test_where_nothing_waits_nothing_is_claimed(scene: _Scene) -> None:
    """A schedule that calls often in vain costs one question."""
    assert scene.relay().drain(seconds=10).records == 0
    assert "relay_lanes" not in scene.metrics.gauges
