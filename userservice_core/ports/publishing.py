"""Publishing events: the outbox as relays see it, and the bus."""

from __future__ import annotations

import enum
import zlib
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

LANES = 64
"""Keys are spread over this many lanes; a lane is relayed by one relay at a time, in order."""


def lane_of(topic: str, key: str) -> int:
    """Return the lane of a key; it is stored with each record, so the function never changes."""
    return zlib.crc32(f"{topic}\0{key}".encode()) % LANES


@attrs.frozen(kw_only=True)
class OutboxRecord:
    """
    One event as it waits in the outbox.

    Attributes:
        position: Identity in commit-independent order of insertion; within a key it is the order of the events.
        topic: With its prefix.
        type: CloudEvents `type`, such as `userservice.user.registered.v1`.
        source: CloudEvents `source`.
        sequence: Number of the event within topic and key, from 1 without gaps; None for keys that promise no order.
        payload: The data, JSON in UTF-8.
    """

    position: int
    id: UUID
    lane: int
    topic: str
    key: str
    type: str
    source: str
    subject: str
    occurred_at: datetime
    sequence: int | None
    traceparent: str | None
    payload: bytes = attrs.field(repr=False)


@attrs.frozen
class Lease:
    """The right to relay a lane, until it expires or a higher fence is given out."""

    lane: int
    fence: int


@attrs.frozen(kw_only=True)
class ParkedEvent:
    """
    A record that was set aside because it could not be published.

    Attributes:
        cause: What the bus, or the mail server, said of it.
        parked_at: When it was set aside, by the database's clock.
    """

    record: OutboxRecord
    cause: str
    parked_at: datetime


@attrs.frozen
class Backlog:
    """
    What waits in the outbox.

    Attributes:
        oldest_age_seconds: Of the oldest record, 0.0 where nothing waits.
        parked: How many records are set aside; they do not count among the others.
    """

    records: int
    oldest_age_seconds: float
    parked: int = 0


class OutboxStore(Protocol):
    """
    The outbox as relays see it. All times are the database's.

    Relays hold lanes by lease. A lane's records are read in order, sent, and deleted only while the lease's fence
    stands.
    """

    def claim(self, relay_id: str, *, lease_seconds: float) -> tuple[Lease, ...]:
        """
        Take this relay's fair share of the lanes and renew those it holds: one statement for all of them.

        A relay takes free and expired lanes, up to its share among the relays alive; one that holds more than its
        share lets the surplus go. A relay that comes back under the same id takes its own lanes at once, under a
        higher fence.

        Returns:
            The lanes held now, in order of their number; a lane renewed keeps its fence.
        """
        ...

    def release(self, relay_id: str) -> None:
        """Give all lanes back at once, for a relay that stops."""
        ...

    def read(
        self, leases: Sequence[Lease], *, limit: int, without_topics: Sequence[str] = ()
    ) -> tuple[OutboxRecord, ...]:
        """
        Return the oldest waiting records of each leased lane, in order of position within a lane.

        Args:
            leases: Lanes to read; one whose fence no longer stands yields nothing.
            limit: Records per lane and topic, at most.
            without_topics: Topics to pass over, because the bus refuses them at present.
        """
        ...

    def delete(self, leases: Sequence[Lease], records: Sequence[OutboxRecord]) -> int:
        """
        Remove records that the bus acknowledged.

        Returns:
            How many were removed; records of a lane whose fence no longer stands stay.
        """
        ...

    def park(self, lease: Lease, record: OutboxRecord, *, cause: str) -> bool:
        """
        Set a record aside that cannot be published, with its cause.

        Later records of its key wait behind it if it has a sequence; a key without sequences promises no order, so
        there the next ones go on.

        Returns:
            Whether it was parked; False where the fence no longer stands.
        """
        ...

    def backlog(self) -> Backlog:
        """Count what waits."""
        ...

    def rotate(self) -> None:
        """Empty storage that holds no waiting record, so that an old snapshot held open does not slow the reads."""
        ...


class ParkedEventReader(Protocol):
    """Reads on the primary what was set aside. Safe to use from many threads."""

    def list_parked(self, *, after: int = 0, limit: int) -> tuple[ParkedEvent, ...]:
        """
        Return parked records in order of position, in one statement.

        Args:
            after: Only those with a greater position.
            limit: As many at most.
        """
        ...


class ParkedEventRepository(Protocol):
    """What was set aside, within a transaction."""

    def get(self, position: int) -> ParkedEvent:
        """
        Return a parked record, and lock it.

        Raises:
            NotFoundError: If none of this position is parked.
        """
        ...

    def put_back(self, event: ParkedEvent) -> None:
        """
        Move a record that :meth:`get` returned back into the outbox; relays are woken after the commit.

        It keeps its position, and with it its place before all later records of its key.
        """
        ...

    def drop(self, event: ParkedEvent) -> None:
        """
        Give a record that :meth:`get` returned up for good: it is never published.

        Later records of its key go on, and their consumers see a gap in the sequence.
        """
        ...


class Reach(enum.Enum):
    """What a failure concerns, and so what is left alone for a while before it is tried again."""

    BUS = "bus"
    TOPIC = "topic"
    KEY = "key"


@attrs.frozen
class Delivery:
    """
    What became of one record of a wave.

    Attributes:
        error: None if the bus acknowledged it, else the cause.
        retriable: Whether sending the same record again can help.
        reach: How far a failure reaches.
    """

    record: OutboxRecord
    error: str | None = None
    retriable: bool = True
    reach: Reach = Reach.BUS


class EventPublisher(Protocol):
    """
    A bus. Sends waves of records; a record is acknowledged once the bus holds it durably.

    Not shared between threads: a relay has its own.
    """

    def publish(self, records: Sequence[OutboxRecord]) -> tuple[Delivery, ...]:
        """
        Send *records* in order and wait for all acknowledgements.

        Within a key, records acknowledged are a prefix of those given: after a failed one of a key no later one of
        it is acknowledged. A failure discards whatever the client still buffers, so nothing old is sent after
        something newer.

        Returns:
            One delivery for each record, in the order given. Failures are told here, not raised.
        """
        ...

    def close(self) -> None:
        """Free the connections; what was not acknowledged counts as not sent."""
        ...
