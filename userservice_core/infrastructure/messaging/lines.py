"""One way out of the outbox: reads the oldest records of all lanes, sends them, and deletes those that arrived."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import attrs
import structlog

from userservice_core.errors import UserServiceError
from userservice_core.infrastructure.messaging.pauses import Pauses
from userservice_core.ports.failpoints import failpoint
from userservice_core.ports.publishing import EventPublisher, Lease, Reach
from userservice_core.ports.tracing import SpanKind, installed_tracer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.publishing import Delivery, OutboxRecord, OutboxStore
    from userservice_core.ports.tracing import Span, Tracer

_log = structlog.get_logger("userservice.relay")

_SHORTEST_POLL_SECONDS: Final = 0.05
_LONGEST_POLL_SECONDS: Final = 0.25
_PAUSE_AFTER_ERROR_SECONDS: Final = 0.1
_MOST_PASSED_OVER: Final = 10_000
_TOLD_AGAIN_SECONDS: Final = 60.0
_LONG_WAVE_SECONDS: Final = 5.0
"""Half the time that a publisher waits for the answer to one request, so that twice as much still fits into that."""


@attrs.frozen(kw_only=True)
class Line:
    """
    One way out of the outbox.

    Attributes:
        name: For logs and metrics.
        without_topics: The topics that other lines take.
        records_per_lane: And topic, at most, in one wave; as many are repeated if the relay dies in it. Fewer through
            a line that takes too long for so many, see :class:`WaveSize`.
    """

    name: str
    publisher: EventPublisher
    without_topics: tuple[str, ...] = ()
    records_per_lane: int = 50


class HeldLeases:
    """The lanes held at present, as all threads of a relay see them; nobody's once their time is over."""

    def __init__(self) -> None:
        self._held: tuple[tuple[Lease, ...], float] = ((), 0.0)

    def replace(self, leases: tuple[Lease, ...], *, valid_until: float = float("inf")) -> None:
        """Hold *leases* until a point of the monotonic clock."""
        self._held = (leases, valid_until)

    def now(self) -> tuple[Lease, ...]:
        """Return what is held at this moment."""
        leases, valid_until = self._held
        return leases if time.monotonic() < valid_until else ()


class WaveSize:
    """
    How many records of a lane, and topic, go into a wave: as many as allowed, or as few as the line bears.

    A wave that outlasts its publisher's patience is given up, and what was on its way goes out once more. Through a
    line that is too narrow that would be the same each time; so the next one has half of what arrived, and later ones
    grow again while there is time to spare. What takes long because of the distance, and arrives, changes nothing.
    """

    def __init__(self, most: int) -> None:
        """Begin with *most*."""
        self.records = most
        self._most = most

    def took(self, seconds: float, deliveries: Sequence[Delivery]) -> None:
        """Learn from a wave, how long it took, and what became of it."""
        failed = sum(
            delivery.error is not None and delivery.retriable and delivery.reach is Reach.BUS for delivery in deliveries
        )
        if seconds < _LONG_WAVE_SECONDS:
            # One that failed sooner was refused, and says nothing of how much the line carries.
            self.records = self.records if failed else min(self._most, 2 * self.records)
        elif failed:
            self.records = max(1, self.records * (len(deliveries) - failed) // (2 * len(deliveries)))


class RunningLine:
    """A line at work, with what it leaves alone for a while because it failed."""

    def __init__(self, line: Line, store: OutboxStore, leases: HeldLeases, metrics: Metrics) -> None:
        self.name = line.name
        self._line = line
        self._store = store
        self._leases = leases
        self._metrics = metrics
        self._woken = threading.Event()
        self._told: dict[tuple[Reach, str], tuple[str | None, float]] = {}
        self._passed_over = 0
        self._size = WaveSize(line.records_per_lane)
        # A bus that is back is to be found at once; a topic that is missing makes each wave wait for it.
        self._bus = Pauses[None](first_seconds=0.1, longest_seconds=1.0)
        self._topics = Pauses[str](first_seconds=1.0, longest_seconds=30.0)
        self._keys = Pauses[tuple[str, str]](first_seconds=1.0, longest_seconds=300.0)

    def wake(self) -> None:
        """Have the next wave begin at once."""
        self._woken.set()

    def run(self, stop: threading.Event) -> None:
        """Send waves until *stop* is set: without a pause while there is work, seldom while there is none."""
        poll_seconds = _SHORTEST_POLL_SECONDS
        while not stop.is_set():
            self._woken.clear()
            if self._guarded_wave():
                poll_seconds = _SHORTEST_POLL_SECONDS
                continue
            self._woken.wait(poll_seconds)
            poll_seconds = min(poll_seconds * 1.5, _LONGEST_POLL_SECONDS)
        self._line.publisher.close()

    def wave(self) -> int:
        """Send the oldest records of all lanes, and return how many were published."""
        leases = self._leases.now()
        if not leases or self._bus.current():
            return 0
        records = self._read(leases)
        if not records:
            return 0
        failpoint("relay.read")
        began = time.monotonic()
        tracer = installed_tracer()
        deliveries = (
            self._line.publisher.publish(records) if tracer is None else self._published_in_spans(records, tracer)
        )
        failpoint("relay.published")
        self._size.took(time.monotonic() - began, deliveries)
        return self._settle(leases, deliveries)

    def _published_in_spans(self, records: Sequence[OutboxRecord], tracer: Tracer) -> Sequence[Delivery]:
        """Publish each record that belongs to a trace in a span, of which what handles it is a part."""
        spans: dict[int, Span] = {}
        sent = []
        for record in records:
            if record.traceparent is None:
                sent.append(record)
                continue
            span = spans[record.position] = tracer.begin(
                SpanKind.PRODUCER,
                f"send {record.topic}",
                parent=record.traceparent,
                attributes={
                    "messaging.operation.type": "send",
                    "messaging.destination.name": record.topic,
                    "messaging.message.id": str(record.id),
                    "cloudevents.event_type": record.type,
                },
            )
            sent.append(attrs.evolve(record, traceparent=span.traceparent or record.traceparent))
        errors: dict[int, str | None] = dict.fromkeys(spans, "unknown")
        try:
            deliveries = self._line.publisher.publish(sent)
            errors.update(
                (delivery.record.position, None if delivery.error is None else delivery.reach.value)
                for delivery in deliveries
            )
        finally:
            for position, span in spans.items():
                span.end(error=errors[position])
        return deliveries

    def _read(self, leases: Sequence[Lease]) -> Sequence[OutboxRecord]:
        """Read past the records of keys that are left alone, so that they do not hide what is behind them."""
        found = self._store.read(
            leases,
            limit=self._size.records + self._passed_over,
            without_topics=(*self._line.without_topics, *self._topics.current()),
        )
        left_alone = self._keys.current()
        if not left_alone:
            self._passed_over = 0
            return found
        records = [record for record in found if (record.topic, record.key) not in left_alone]
        self._passed_over = min(len(found) - len(records), _MOST_PASSED_OVER)
        return records

    def _guarded_wave(self) -> int:
        try:
            return self.wave()
        except UserServiceError as error:
            _log.warning("a wave was given up", line=self.name, error=error.code)
        except Exception:  # noqa: BLE001
            # Whatever it is, nothing was deleted that was not acknowledged; the next wave begins anew.
            _log.exception("a wave failed", line=self.name)
            self._line.publisher.close()
        time.sleep(_PAUSE_AFTER_ERROR_SECONDS)
        return 0

    def _settle(self, leases: Sequence[Lease], deliveries: Sequence[Delivery]) -> int:
        done = [delivery.record for delivery in deliveries if delivery.error is None]
        if done:
            self._delete(leases, done)
        for delivery in _first_failures(deliveries):
            if delivery.retriable:
                self._leave_alone(delivery)
            else:
                self._park(leases, delivery)
        return len(done)

    def _delete(self, leases: Sequence[Lease], done: Sequence[OutboxRecord]) -> None:
        if self._store.delete(leases, done) < len(done):
            # A lease was lost meanwhile: somebody else goes on with the lane, and what is still buffered must not be
            # sent after what they send.
            self._line.publisher.close()
        failpoint("relay.deleted")
        self._metrics.count(f"relay_{self.name}", times=len(done))
        self._bus.passed(None)
        self._told.pop((Reach.BUS, ""), None)
        for topic in {record.topic for record in done}:
            self._told.pop((Reach.TOPIC, topic), None)
            self._topics.passed(topic)
        if self._keys:
            for record in done:
                self._keys.passed((record.topic, record.key))

    def _leave_alone(self, delivery: Delivery) -> None:
        record = delivery.record
        seconds = self._begin_pause(delivery)
        self._metrics.count(f"relay_{self.name}", outcome="failed")
        tell = _log.debug if self._is_told(delivery) else _log.warning
        tell(
            "not published, and left alone for a while",
            line=self.name,
            reach=delivery.reach.value,
            topic=record.topic,
            event_id=str(record.id),
            seconds=seconds,
            cause=delivery.error,
        )

    def _is_told(self, delivery: Delivery) -> bool:
        """Tell whether the log has said just this of the bus or the topic a moment ago; of keys it says everything."""
        if delivery.reach is Reach.KEY:
            return False
        place = (delivery.reach, delivery.record.topic if delivery.reach is Reach.TOPIC else "")
        cause, told_at = self._told.get(place, (None, 0.0))
        now = time.monotonic()
        if cause == delivery.error and now < told_at + _TOLD_AGAIN_SECONDS:
            return True
        self._told[place] = delivery.error, now
        return False

    def _begin_pause(self, delivery: Delivery) -> float:
        record = delivery.record
        match delivery.reach:
            case Reach.KEY:
                return self._keys.failed((record.topic, record.key))
            case Reach.TOPIC:
                return self._topics.failed(record.topic)
            case Reach.BUS:
                return self._bus.failed(None)

    def _park(self, leases: Sequence[Lease], delivery: Delivery) -> None:
        record, cause = delivery.record, delivery.error or ""
        lease = next(lease for lease in leases if lease.lane == record.lane)
        if self._store.park(lease, record, cause=cause):
            self._metrics.count(f"relay_{self.name}", outcome="parked")
            _log.error(
                "an event was set aside, and later ones of its key wait if it has a sequence",
                topic=record.topic,
                event_id=str(record.id),
                cause=cause,
            )


def _first_failures(deliveries: Sequence[Delivery]) -> Iterator[Delivery]:
    """Yield what failed, without what only waits behind it, and a bus or a topic that failed only once."""
    seen: set[tuple[Reach, str, str]] = set()
    for delivery in deliveries:
        if delivery.error is None:
            continue
        record = delivery.record
        key = (Reach.KEY, record.topic, record.key)
        if key in seen:
            continue
        seen.add(key)
        if delivery.retriable and delivery.reach is not Reach.KEY:
            place = (delivery.reach, record.topic if delivery.reach is Reach.TOPIC else "", "")
            if place in seen:
                continue
            seen.add(place)
        yield delivery
