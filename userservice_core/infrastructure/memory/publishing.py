"""The outbox as relays see it, a bus, a signal and a mail sender, each within this process."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.ports.publishing import LANES, Backlog, Delivery, Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from userservice_core.errors import MailDeliveryError
    from userservice_core.infrastructure.memory.store import InMemoryStore
    from userservice_core.ports.mail import Mail
    from userservice_core.ports.publishing import OutboxRecord

_NEVER: Final = float("-inf")


@attrs.define
class _LaneRow:
    """Who relays a lane, and until when."""

    fence: int = 0
    relay_id: str | None = None
    run: object = None
    expires_at: float = _NEVER


class _Lanes:
    """The rows of the lanes that all runs of all relays of a store share."""

    def __init__(self) -> None:
        self.rows = [_LaneRow() for _ in range(LANES)]
        self.seen_at: dict[str, float] = {}


class InMemoryOutboxStore:
    """
    A :class:`~userservice_core.ports.publishing.OutboxStore`; one object is one run of a relay.

    Further runs, of the same relay or of others, are made by :meth:`another_run`.
    """

    def __init__(
        self, store: InMemoryStore, *, monotonic: Callable[[], float] = time.monotonic, lanes: _Lanes | None = None
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._lanes = lanes or _Lanes()

    def another_run(self) -> InMemoryOutboxStore:
        """Return what another process would have: the same lanes, and no lease."""
        return InMemoryOutboxStore(self._store, monotonic=self._monotonic, lanes=self._lanes)

    def claim(self, relay_id: str, *, lease_seconds: float) -> tuple[Lease, ...]:
        with self._store.lock:
            now = self._monotonic()
            seen = self._lanes.seen_at
            seen[relay_id] = now
            alive = sum(now - at < lease_seconds for at in seen.values())
            share = math.ceil(LANES / alive)
            mine = [row for row in self._lanes.rows if self._is_held(row, now)]
            for row in mine[share:]:
                row.relay_id, row.run, row.expires_at = None, None, _NEVER
            wanted = share - len(mine)
            free = [row for row in self._lanes.rows if row.run is not self and self._may_take(row, relay_id, now)]
            free.sort(key=lambda row: row.relay_id != relay_id)
            for row in free[: max(0, wanted)]:
                row.fence += 1
                row.relay_id, row.run = relay_id, self
            for row in self._lanes.rows:
                if row.run is self:
                    row.expires_at = now + lease_seconds
            return tuple(Lease(lane, row.fence) for lane, row in enumerate(self._lanes.rows) if row.run is self)

    def release(self, relay_id: str) -> None:
        with self._store.lock:
            self._lanes.seen_at.pop(relay_id, None)
            for row in self._lanes.rows:
                if row.run is self:
                    row.relay_id, row.run, row.expires_at = None, None, _NEVER

    def read(
        self, leases: Sequence[Lease], *, limit: int, without_topics: Sequence[str] = ()
    ) -> tuple[OutboxRecord, ...]:
        with self._store.lock:
            rows = self._store.rows
            parked = {(record.topic, record.key) for record, _ in rows.parked}
            found: list[OutboxRecord] = []
            for lane in sorted(self._standing(leases)):
                of_lane = (
                    record
                    for record in rows.outbox
                    if record.lane == lane
                    and record.topic not in without_topics
                    and (record.topic, record.key) not in parked
                )
                found.extend(sorted(of_lane, key=lambda record: record.position)[:limit])
            return tuple(found)

    def delete(self, leases: Sequence[Lease], records: Sequence[OutboxRecord]) -> int:
        with self._store.lock:
            standing = self._standing(leases)
            gone = {record.position for record in records if record.lane in standing}
            rows = self._store.rows.copy()
            rows.outbox = [record for record in rows.outbox if record.position not in gone]
            deleted = len(self._store.rows.outbox) - len(rows.outbox)
            self._store.rows = rows
            return deleted

    def park(self, lease: Lease, record: OutboxRecord, *, cause: str) -> bool:
        with self._store.lock:
            if self.delete([lease], [record]) == 0:
                return False
            rows = self._store.rows.copy()
            rows.parked.append((record, cause))
            self._store.rows = rows
            return True

    def backlog(self) -> Backlog:
        waiting = self._store.rows.outbox
        if not waiting:
            return Backlog(0, 0.0)
        oldest = min(record.occurred_at for record in waiting).timestamp()
        return Backlog(len(waiting), max(0.0, time.time() - oldest))

    def rotate(self) -> None:
        """Do nothing: what was deleted takes no room."""

    def _is_held(self, row: _LaneRow, now: float) -> bool:
        return row.run is self and now < row.expires_at

    def _may_take(self, row: _LaneRow, relay_id: str, now: float) -> bool:
        return row.run is None or now >= row.expires_at or row.relay_id == relay_id

    def _standing(self, leases: Sequence[Lease]) -> set[int]:
        now = self._monotonic()
        rows = self._lanes.rows
        return {
            lease.lane
            for lease in leases
            if rows[lease.lane].fence == lease.fence and now < rows[lease.lane].expires_at
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

    def notify(self, channel: str) -> None:
        with self._lock:
            callbacks = tuple(self._callbacks.get(channel, ()))
        if callbacks:
            threading.Thread(target=_call_all, args=(callbacks,), daemon=True).start()

    def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], None]:
        with self._lock:
            self._callbacks.setdefault(channel, []).append(callback)

        def unlisten() -> None:
            with self._lock:
                self._callbacks[channel].remove(callback)

        return unlisten


def _call_all(callbacks: Sequence[Callable[[], None]]) -> None:
    for callback in callbacks:
        callback()
