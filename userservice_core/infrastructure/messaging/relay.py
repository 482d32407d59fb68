"""
The relay: moves what waits in the outbox to where it goes, in order for each key, at least once.

It holds lanes by lease, renewed by a thread of its own. Each line - the bus, the mail - has a thread too, so that
one that
stands still does not hold up the other. A line reads the oldest records of all lanes, sends them, waits until all are
acknowledged, and deletes those that were; only then does it read on. No transaction is open while it waits.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import attrs
import structlog

from userservice_core.errors import UserServiceError
from userservice_core.ports.context import deadline_after
from userservice_core.ports.failpoints import failpoint
from userservice_core.ports.publishing import EventPublisher, Lease
from userservice_core.ports.revocations import OUTBOX_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.publishing import Delivery, OutboxStore
    from userservice_core.ports.revocations import Signal

_log = structlog.get_logger("userservice.relay")

LEASE_SECONDS: Final = 3.0
_RENEW_SECONDS: Final = 1.0
_STORE_TIMEOUT_SECONDS: Final = 2.0
_SHORTEST_POLL_SECONDS: Final = 0.05
_LONGEST_POLL_SECONDS: Final = 0.25
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_ROTATE_SECONDS: Final = 30.0
_MEASURE_SECONDS: Final = 5.0


@attrs.frozen(kw_only=True)
class Line:
    """
    One way out of the outbox.

    Attributes:
        name: For logs and metrics.
        without_topics: The topics that other lines take.
    """

    name: str
    publisher: EventPublisher
    without_topics: tuple[str, ...] = ()


class Relay:
    """Relays until it is told to stop; another one takes its lanes over within the time of a lease if it dies."""

    def __init__(
        self,
        store: OutboxStore,
        lines: Iterable[Line],
        signal: Signal | None,
        *,
        relay_id: str,
        metrics: Metrics,
        records_per_lane: int = 100,
    ) -> None:
        """
        Wire a relay; nothing is done before :meth:`run` or :meth:`wave`.

        Args:
            store: The outbox.
            lines: Ways out, which together take every topic, each one once.
            signal: Wakes it when something was written; None to only poll.
            relay_id: Stable name: under it a relay that comes back takes its lanes at once.
            metrics: Counts what is published, and shows what waits.
            records_per_lane: At most, in one wave.
        """
        self._store = store
        self._signal = signal
        self._relay_id = relay_id
        self._metrics = metrics
        self._leases = _Leases()
        self._lines = tuple(
            _RunningLine(line, store, self._leases, metrics, records_per_lane=records_per_lane) for line in lines
        )

    def run(self, stop: threading.Event) -> None:
        """Relay until *stop* is set, then give the lanes back."""
        unlisten = None if self._signal is None else self._signal.listen(OUTBOX_CHANNEL, self._wake_lines)
        keeper = threading.Thread(target=self._keep, args=(stop,), name="userservice-leases")
        runners = [
            threading.Thread(target=line.run, args=(stop,), name=f"userservice-relay-{line.name}")
            for line in self._lines
        ]
        for thread in (keeper, *runners):
            thread.start()
        stop.wait()
        self._wake_lines()
        for thread in (*runners, keeper):
            thread.join()
        if unlisten is not None:
            unlisten()
        self._release()

    def wave(self) -> int:
        """Claim lanes and send one wave on each line, for tests; returns how many records were published."""
        self._leases.replace(self._store.claim(self._relay_id, lease_seconds=LEASE_SECONDS))
        return sum(line.wave() for line in self._lines)

    def _wake_lines(self) -> None:
        for line in self._lines:
            line.wake()

    def _keep(self, stop: threading.Event) -> None:
        """Renew the leases each second, and now and then look after the outbox."""
        rotate_at = measure_at = time.monotonic()
        while True:
            self._renew()
            now = time.monotonic()
            if now >= measure_at:
                measure_at = now + _MEASURE_SECONDS
                self._measure()
            if now >= rotate_at:
                rotate_at = now + _ROTATE_SECONDS
                self._try("rotate", self._store.rotate)
            if stop.wait(_RENEW_SECONDS):
                return

    def _renew(self) -> None:
        began = time.monotonic()
        try:
            with deadline_after(_STORE_TIMEOUT_SECONDS):
                leases = self._store.claim(self._relay_id, lease_seconds=LEASE_SECONDS)
        except UserServiceError as error:
            _log.warning("leases cannot be renewed", error=error.code)
            return
        self._leases.replace(leases, valid_until=began + LEASE_SECONDS)
        self._metrics.gauge("relay_lanes", len(leases))

    def _measure(self) -> None:
        def measure() -> None:
            backlog = self._store.backlog()
            self._metrics.gauge("outbox_records", backlog.records)
            self._metrics.gauge("outbox_oldest_age_seconds", backlog.oldest_age_seconds)

        self._try("measure", measure)

    def _release(self) -> None:
        self._try("release", lambda: self._store.release(self._relay_id))

    def _try(self, what: str, action: Callable[[], object]) -> None:
        try:
            with deadline_after(_STORE_TIMEOUT_SECONDS):
                action()
        except UserServiceError as error:
            _log.warning("the outbox does not answer", doing=what, error=error.code)


class _Leases:
    """The lanes held at present, as all threads of a relay see them; nobody's once their time is over."""

    def __init__(self) -> None:
        self._held: tuple[tuple[Lease, ...], float] = ((), 0.0)

    def replace(self, leases: tuple[Lease, ...], *, valid_until: float = float("inf")) -> None:
        self._held = (leases, valid_until)

    def now(self) -> tuple[Lease, ...]:
        leases, valid_until = self._held
        return leases if time.monotonic() < valid_until else ()


class _RunningLine:
    """A line at work, with the topics that it leaves alone for a while because they failed."""

    def __init__(
        self, line: Line, store: OutboxStore, leases: _Leases, metrics: Metrics, *, records_per_lane: int
    ) -> None:
        self.name = line.name
        self._publisher = line.publisher
        self._without_topics = line.without_topics
        self._store = store
        self._leases = leases
        self._metrics = metrics
        self._records_per_lane = records_per_lane
        self._breakers: dict[str, _Breaker] = {}
        self._woken = threading.Event()

    def wake(self) -> None:
        """Have the next wave begin at once."""
        self._woken.set()

    def run(self, stop: threading.Event) -> None:
        """Send waves until *stop* is set: without a pause while there is work, seldom while there is none."""
        poll_seconds = _SHORTEST_POLL_SECONDS
        while not stop.is_set():
            self._woken.clear()
            moved = self._guarded_wave()
            if moved:
                poll_seconds = _SHORTEST_POLL_SECONDS
                continue
            self._woken.wait(poll_seconds)
            poll_seconds = min(poll_seconds * 1.5, _LONGEST_POLL_SECONDS)
        self._publisher.close()

    def wave(self) -> int:
        """Send the oldest records of all lanes, and return how many were published."""
        leases = self._leases.now()
        if not leases:
            return 0
        records = self._store.read(
            leases, limit=self._records_per_lane, without_topics=(*self._without_topics, *self._open_breakers())
        )
        if not records:
            return 0
        failpoint("relay.read")
        deliveries = self._publisher.publish(records)
        failpoint("relay.published")
        return self._settle(leases, deliveries)

    def _guarded_wave(self) -> int:
        try:
            return self.wave()
        except UserServiceError as error:
            _log.warning("a wave was given up", line=self.name, error=error.code)
        except Exception:  # noqa: BLE001
            # Whatever it is, nothing was deleted that was not acknowledged; the next wave begins anew.
            _log.exception("a wave failed", line=self.name)
            self._publisher.close()
        time.sleep(_FIRST_PAUSE_SECONDS)
        return 0

    def _settle(self, leases: Sequence[Lease], deliveries: Sequence[Delivery]) -> int:
        done = [delivery.record for delivery in deliveries if delivery.error is None]
        if done:
            if self._store.delete(leases, done) < len(done):
                # A lease was lost meanwhile: somebody else goes on with the lane, and what is still buffered must not
                # be sent after what they send.
                self._publisher.close()
            failpoint("relay.deleted")
        self._metrics.count(f"relay_{self.name}", times=len(done))
        self._park(leases, deliveries)
        self._trip_breakers(deliveries)
        return len(done)

    def _park(self, leases: Sequence[Lease], deliveries: Sequence[Delivery]) -> None:
        lease_of = {lease.lane: lease for lease in leases}
        for delivery in deliveries:
            if delivery.error is None or delivery.retriable:
                continue
            record = delivery.record
            if self._store.park(lease_of[record.lane], record, cause=delivery.error):
                self._metrics.count(f"relay_{self.name}", outcome="parked")
                _log.error(
                    "an event was set aside, and later ones of its key wait",
                    topic=record.topic,
                    event_id=str(record.id),
                    cause=delivery.error,
                )

    def _open_breakers(self) -> list[str]:
        now = time.monotonic()
        return [topic for topic, breaker in self._breakers.items() if now < breaker.closed_at]

    def _trip_breakers(self, deliveries: Sequence[Delivery]) -> None:
        """Leave a topic alone for a while when nothing of it went through, longer each time."""
        went = {delivery.record.topic for delivery in deliveries if delivery.error is None}
        failed = {d.record.topic: d.error for d in deliveries if d.error is not None and d.retriable}
        for topic in went:
            self._breakers.pop(topic, None)
        for topic, cause in failed.items():
            self._metrics.count(f"relay_{self.name}", outcome="failed")
            if topic not in went:
                self._breakers[topic] = breaker = _Breaker.after(self._breakers.get(topic))
                _log.warning("a topic is left alone", topic=topic, seconds=breaker.pause_seconds, cause=cause)


@attrs.frozen
class _Breaker:
    """A pause of a topic, twice as long as the one before it."""

    pause_seconds: float
    closed_at: float

    @classmethod
    def after(cls, earlier: _Breaker | None) -> _Breaker:
        pause = _FIRST_PAUSE_SECONDS if earlier is None else min(earlier.pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
        return cls(pause, time.monotonic() + pause)
