"""The outbox as relays see it, a bus, a signal and a mail sender, each within this process."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from userservice_core.infrastructure.memory.store import NEVER, ParkedRecord
from userservice_core.ports.publishing import LANES, Backlog, Delivery, Lease, ParkedEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from userservice_core.errors import MailDeliveryError
    from userservice_core.infrastructure.memory.store import InMemoryStore, LaneRow
    from userservice_core.ports.mail import Mail
    from userservice_core.ports.publishing import OutboxRecord

_log = logging.getLogger(__name__)


class InMemoryOutboxStore:
    """A :class:`~userservice_core.ports.publishing.OutboxStore`; one object is one run of a relay."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def claim(self, relay_id: str, *, lease_seconds: float) -> tuple[Lease, ...]:
        with self._store.held():
            now = self._store.monotonic()
            share = self._share(relay_id, now=now, lease_seconds=lease_seconds)
            takeable = [row for row in self._store.lanes if now >= row.expires_at or row.relay_id == relay_id]
            takeable.sort(key=lambda row: (not self._is_held(row, now), row.relay_id != relay_id))
            for row in takeable[share:]:
                self._let_go(row)
            for row in takeable[:share]:
                row.fence += not self._is_held(row, now)
                row.relay_id, row.run, row.expires_at = relay_id, self, now + lease_seconds
            return tuple(Lease(lane, row.fence) for lane, row in enumerate(self._store.lanes) if row.run is self)

    def release(self, relay_id: str) -> None:
        with self._store.held():
            self._store.relays_seen_at.pop(relay_id, None)
            for row in self._store.lanes:
                self._let_go(row)

    def read(
        self, leases: Sequence[Lease], *, limit: int, without_topics: Sequence[str] = ()
    ) -> tuple[OutboxRecord, ...]:
        with self._store.held():
            rows = self._store.rows
            aside = (parked.event.record for parked in rows.parked)
            held_up = {(record.topic, record.key) for record in aside if record.sequence is not None}
            found: list[OutboxRecord] = []
            for lane in sorted(self._standing(leases)):
                of_lane = (
                    waiting.record
                    for waiting in rows.outbox
                    if waiting.record.lane == lane
                    and waiting.record.topic not in without_topics
                    and (waiting.record.topic, waiting.record.key) not in held_up
                )
                found.extend(itertools.islice(of_lane, limit))
            return tuple(found)

    def delete(self, leases: Sequence[Lease], records: Sequence[OutboxRecord]) -> int:
        with self._store.held():
            standing = self._standing(leases)
            gone = {record.position for record in records if record.lane in standing}
            rows = self._store.rows.copy()
            rows.outbox = [waiting for waiting in rows.outbox if waiting.record.position not in gone]
            deleted = len(self._store.rows.outbox) - len(rows.outbox)
            self._store.rows = rows
            return deleted

    def park(self, lease: Lease, record: OutboxRecord, *, cause: str) -> bool:
        with self._store.held():
            since = {waiting.record.position: waiting.since for waiting in self._store.rows.outbox}
            if self.delete([lease], [record]) == 0:
                return False
            rows = self._store.rows.copy()
            event = ParkedEvent(record=record, cause=cause, parked_at=datetime.now(UTC))
            rows.parked.append(ParkedRecord(event, since[record.position]))
            self._store.rows = rows
            return True

    def backlog(self) -> Backlog:
        rows = self._store.read()
        oldest = min((each.since for each in rows.outbox), default=math.inf)
        return Backlog(len(rows.outbox), max(0.0, self._store.monotonic() - oldest), len(rows.parked))

    def rotate(self) -> None:
        """Do nothing: what was deleted takes no room."""

    def _share(self, relay_id: str, *, now: float, lease_seconds: float) -> int:
        seen_at = self._store.relays_seen_at
        seen_at[relay_id] = now
        return math.ceil(LANES / sum(now - at < lease_seconds for at in seen_at.values()))

    def _is_held(self, row: LaneRow, now: float) -> bool:
        return row.run is self and now < row.expires_at

    def _let_go(self, row: LaneRow) -> None:
        if row.run is self:
            row.relay_id, row.run, row.expires_at = None, None, NEVER

    def _standing(self, leases: Sequence[Lease]) -> set[int]:
        now, lanes = self._store.monotonic(), self._store.lanes
        return {
            lease.lane
            for lease in leases
            if lanes[lease.lane].fence == lease.fence and now < lanes[lease.lane].expires_at
        }


class InMemoryEventPublisher:
    """
    A :class:`~userservice_core.ports.publishing.EventPublisher` that keeps what it is given.

    Attributes:
        published: What was acknowledged, in order.
        failing: Says of a record what is wrong with it, None for nothing; to be set by a test.
    """

    def __init__(self) -> None:
        self.published: list[OutboxRecord] = []
        self.failing: Callable[[OutboxRecord], Delivery | None] = lambda _: None

    def publish(self, records: Sequence[OutboxRecord]) -> tuple[Delivery, ...]:
        failed: set[tuple[str, str]] = set()
        return tuple(self._publish(record, failed) for record in records)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def _publish(self, record: OutboxRecord, failed: set[tuple[str, str]]) -> Delivery:
        if (record.topic, record.key) in failed:
            return Delivery(record, "an earlier event of this key was not acknowledged")
        failure = self.failing(record)
        if failure is not None:
            failed.add((record.topic, record.key))
            return failure
        self.published.append(record)
        return Delivery(record)


class InMemoryMailSender:
    """
    A :class:`~userservice_core.ports.mail.MailSender` that keeps what it is given.

    Attributes:
        sent: In order.
        failure: Raised instead of taking a mail; to be set by a test.
    """

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.failure: MailDeliveryError | None = None

    def send(self, mail: Mail) -> None:
        if self.failure is not None:
            raise self.failure
        self.sent.append(mail)


class InMemorySignal:
    """A :class:`~userservice_core.ports.revocations.Signal` between the objects of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[str, list[Callable[[], None]]] = {}
        self._pending: set[str] = set()

    def notify(self, channel: str) -> None:
        with self._lock:
            if channel in self._pending or not self._callbacks.get(channel):
                return
            self._pending.add(channel)
        threading.Thread(target=self._call, args=(channel,), daemon=True).start()

    def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], None]:
        with self._lock:
            self._callbacks.setdefault(channel, []).append(callback)

        def end() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._callbacks[channel].remove(callback)

        return end

    def _call(self, channel: str) -> None:
        with self._lock:
            self._pending.discard(channel)
            callbacks = tuple(self._callbacks[channel])
        for callback in callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - a fault of one listener is not that of the others
                _log.exception("a listener of %s failed", channel)
