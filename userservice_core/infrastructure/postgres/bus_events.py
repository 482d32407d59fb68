"""PostgreSQL as the source of events, for one machine without Kafka: a member of a group of the bus."""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs
from sqlalchemy import text

from userservice_core.errors import ConflictError, UserServiceError
from userservice_core.infrastructure.postgres.bus import PostgresEventGroup
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.outbox_store import record_of
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.ports.consuming import Arrival, arrival_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from userservice_core.ports.publishing import Lease, OutboxRecord

_log = logging.getLogger("userservice.consumer")

_LEASE_SECONDS: Final = 3.0
_RENEW_SECONDS: Final = 1.0
_READ_PER_LANE: Final = 100
_SHORTEST_POLL_SECONDS: Final = 0.02
_REPLAYED_AT_ONCE: Final = 100

_LAG: Final = Statement(text("SELECT count(*) FROM bus_delivery WHERE group_name = :group_name"))
_COLUMNS: Final = "id, lane, topic, key, type, source, subject, occurred_at, sequence, traceparent"
_PUT_ASIDE: Final = Statement(
    text(
        f"""
        INSERT INTO bus_dead_letter (group_name, seq, {_COLUMNS}, payload, cause, attempts)
        VALUES (:group_name, :seq, :id, :lane, :topic, :key, :type, :source, :subject, :occurred_at, :sequence,
            :traceparent, CAST(:payload AS json), :cause, :attempts)
        """  # noqa: S608 - a constant of ours
    )
)
_LAST_LETTER: Final = Statement(text("SELECT max(number) FROM bus_dead_letter WHERE group_name = :group_name"))
_LETTERS: Final = Statement(
    text(
        f"""
        SELECT number, attempts, seq, {_COLUMNS}, payload::text FROM bus_dead_letter
        WHERE group_name = :group_name AND number <= :last ORDER BY number LIMIT :rows
        """  # noqa: S608 - a constant of ours
    )
)
_REMOVE_LETTER: Final = Statement(
    text("DELETE FROM bus_dead_letter WHERE group_name = :group_name AND number = :number")
)


class PostgresEventSource:
    """
    Implements :class:`~userservice_core.ports.consuming.EventSource`.

    A partition is a lane. Each event is acknowledged by itself, so nothing that is done comes again after one that is
    still open.
    """

    def __init__(
        self,
        database: str | Database,
        *,
        group: str,
        topics: Collection[str],
        member_id: str | None = None,
        foreign_topics: Collection[str] = (),
    ) -> None:
        """
        Name the database of the user service; nothing is connected yet.

        Args:
            database: As libpq takes it (`postgresql://…`), or connections that somebody else closes.
            group: Name of the group; it gets what is published after it first ran.
            topics: To be consumed; what else arrives is passed over.
            member_id: A name of this member alone that outlives a restart; the host's if not given.
            foreign_topics: Those of *topics* whose events do not count the events of a key in their sequence; the
                inbox remembers each by itself.
        """
        self._is_owner = isinstance(database, str)
        self._database = Database(database, pool_size=4) if isinstance(database, str) else database
        self._group_name = group
        self._topics = frozenset(topics)
        self._foreign_topics = frozenset(foreign_topics)
        self._member_id = member_id or socket.gethostname()
        self._group = PostgresEventGroup(self._database, group=group)
        self._is_registered = False
        self._lost: Callable[[frozenset[str]], None] = lambda _: None
        self._leases: tuple[Lease, ...] = ()
        self._renew_at = self._valid_until = 0.0
        self._paused: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        # By lane and position; whether it is done.
        self._open: dict[int, dict[int, Arrival]] = {}
        self._done: dict[int, Arrival] = {}

    @property
    def group(self) -> str:
        return self._group_name

    def poll(self, *, timeout_seconds: float) -> Sequence[Arrival]:
        deadline = time.monotonic() + timeout_seconds
        pause = _SHORTEST_POLL_SECONDS
        while True:
            self._renew()
            arrivals = self._read()
            left = deadline - time.monotonic()
            if arrivals or left <= 0:
                return arrivals
            time.sleep(min(pause, left))
            pause *= 2

    def done(self, arrival: Arrival) -> None:
        with self._lock:
            if self._open.get(arrival.raw.lane, {}).get(arrival.position) is arrival:
                self._done[arrival.position] = arrival

    def commit(self) -> None:
        with self._lock:
            done = list(self._done.values())
        if not done:
            return
        try:
            self._group.acknowledge(self._leases, [arrival.raw for arrival in done])
        except UserServiceError as error:
            _log.info("what is done could not be told: %s", error.code)
            return
        with self._lock:
            for arrival in done:
                self._done.pop(arrival.position, None)
                self._open.get(arrival.raw.lane, {}).pop(arrival.position, None)

    def pause(self, partitions: Collection[str]) -> None:
        self._paused = frozenset(partitions)

    def when_lost(self, callback: Callable[[frozenset[str]], None]) -> None:
        self._lost = callback

    def lag(self) -> int | None:
        try:
            row = self._database.fetch_one(_LAG, group_name=self._group_name)
        except UserServiceError:
            return None
        return None if row is None else int(row[0])

    def put_aside(self, arrival: Arrival, *, cause: str, attempts: int) -> None:
        record = arrival.raw
        self._database.execute(
            _PUT_ASIDE,
            group_name=self._group_name,
            seq=record.position,
            id=record.id,
            lane=record.lane,
            topic=record.topic,
            key=record.key,
            type=record.type,
            source=record.source,
            subject=record.subject,
            occurred_at=record.occurred_at,
            sequence=record.sequence,
            traceparent=record.traceparent,
            payload=record.payload.decode(),
            cause=cause.replace("\0", ""),
            attempts=attempts,
        )

    def replay(self, handle: Callable[[Arrival], None]) -> int:
        row = self._database.fetch_one(_LAST_LETTER, group_name=self._group_name)
        last = None if row is None else row[0]
        replayed = 0
        while last is not None:
            letters = self._database.fetch_all(_LETTERS, group_name=self._group_name, last=last, rows=_REPLAYED_AT_ONCE)
            if not letters:
                break
            for number, attempts, *columns in letters:
                record = record_of(tuple(columns))
                handle(self._arrival(record, attempts=attempts))
                self._database.execute(_REMOVE_LETTER, group_name=self._group_name, number=number)
                replayed += 1
        return replayed

    def close(self) -> None:
        self.commit()
        try:
            self._group.release(self._member_id)
        except UserServiceError as error:
            _log.info("the lanes could not be given back, and end by themselves: %s", error.code)
        with self._lock:
            self._open.clear()
            self._done.clear()
        self._leases, self._renew_at = (), 0.0
        if self._is_owner:
            self._database.close()

    def _renew(self) -> None:
        began = time.monotonic()
        if began >= self._valid_until and self._leases:
            self._replace(())
        if began < self._renew_at:
            return
        if not self._is_registered:
            self._group.register()
            self._is_registered = True
        # A lane may go with this claim, and what is done of it should not come again elsewhere.
        self.commit()
        try:
            leases = self._group.claim(self._member_id, lease_seconds=_LEASE_SECONDS)
        except ConflictError:
            _log.error("the group was away for too long and has missed events: %s", self._group_name)
            self._is_registered = False
            return
        self._valid_until = began + _LEASE_SECONDS
        self._renew_at = began + _RENEW_SECONDS
        self._replace(leases)

    def _replace(self, leases: tuple[Lease, ...]) -> None:
        """Hold *leases* from now on; a lane that is gone, or was gone for a moment, begins anew."""
        gone = {lease.lane for lease in set(self._leases) - set(leases)}
        if gone:
            self._lost(frozenset(map(_name_of, gone)))
            self.commit()
            with self._lock:
                for lane in gone:
                    for position in self._open.pop(lane, {}):
                        self._done.pop(position, None)
        self._leases = leases

    def _read(self) -> list[Arrival]:
        leases = [lease for lease in self._leases if _name_of(lease.lane) not in self._paused]
        if not leases:
            return []
        with self._lock:
            most_open = max((len(self._open.get(lease.lane, ())) for lease in leases), default=0)
        arrivals = []
        for record in self._group.read(leases, limit=_READ_PER_LANE + most_open):
            arrival = self._arrival(record)
            with self._lock:
                of_lane = self._open.setdefault(record.lane, {})
                if record.position in of_lane:
                    continue
                of_lane[record.position] = arrival
                if record.topic in self._topics:
                    arrivals.append(arrival)
                else:
                    self._done[record.position] = arrival
        return arrivals

    def _arrival(self, record: OutboxRecord, *, attempts: int = 0) -> Arrival:
        arrival = arrival_of(record, partition=_name_of(record.lane), attempts=attempts)
        if record.topic not in self._foreign_topics or arrival.event is None:
            return arrival
        return attrs.evolve(arrival, event=attrs.evolve(arrival.event, sequence=None))


def _name_of(lane: int) -> str:
    return f"lane-{lane}"
