"""Consuming events: what a consumer gets, where it gets it from, and how it knows what it has already done."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from userservice_core.ports.publishing import OutboxRecord

T_co = TypeVar("T_co", covariant=True)


@attrs.frozen(kw_only=True)
class ConsumedEvent:
    """
    A CloudEvent as a handler gets it.

    Attributes:
        id: Unique within its source; a UUIDv7 for events of the user service.
        type: Such as `userservice.user.registered.v1`.
        sequence: Number of the event within topic and key; None where the key promises no order.
        occurred_at: In UTC; None where the producer does not say.
        data: The JSON value, decoded; what the handler asked for, where it named a class.
    """

    id: str
    type: str
    source: str
    topic: str
    key: str
    subject: str | None = None
    occurred_at: datetime | None = None
    sequence: int | None = None
    traceparent: str | None = None
    data: Any = attrs.field(default=None, repr=False)

    @property
    def identity(self) -> str:
        """What tells this event from any other (CloudEvents 1.0 §3.1.1), to be given to others as idempotency key."""
        return f"{self.source}#{self.id}"


@attrs.frozen(kw_only=True, eq=False)
class Arrival:
    """
    One record as it came from the bus, readable or not.

    Attributes:
        partition: Name of the stream that it is part of; within one, positions rise.
        key: What its order holds within; None where it has none.
        event: None for a tombstone, and for what is no event at all.
        fault: Why it cannot be handled; None where it can. An event with a fault has no usable data.
        bytes_held: Memory that it takes, about.
        attempts: How often it has failed before it was put aside, where it comes from the dead letters.
        raw: The source's own; of no meaning to others.
    """

    partition: str
    position: int
    topic: str
    key: str | None
    event: ConsumedEvent | None = None
    fault: str | None = None
    bytes_held: int = 0
    attempts: int = 0
    raw: Any = attrs.field(default=None, repr=False)

    @property
    def is_tombstone(self) -> bool:
        """Whether it says that its key is gone, by having no value."""
        return self.event is None and self.fault is None


class EventSource(Protocol):
    """
    The events of one group, as one member of it gets them.

    Members share the partitions; what is not acknowledged comes again, to whoever holds the partition then.
    """

    @property
    def group(self) -> str:
        """The name of the group."""
        ...

    def poll(self, *, timeout_seconds: float) -> Sequence[Arrival]:
        """
        Return what has arrived since the last call, in order within a partition; wait up to *timeout_seconds* for it.

        To be called all the time, also while everything is paused: it is the member's sign of life.

        Raises:
            UnavailableError: If the bus does not answer; the next call tries again.
            ConflictError: If somebody else runs under this member's name.
        """
        ...

    def done(self, arrival: Arrival) -> None:
        """Say that an arrival needs not come again. For any thread; nothing for an arrival whose partition was lost."""
        ...

    def commit(self) -> None:
        """
        Tell the bus what is done, so far as nothing before it is open.

        What cannot be told now is told with the next commit, or comes again.

        Raises:
            ConflictError: If somebody else runs under this member's name.
        """
        ...

    def pause(self, partitions: Collection[str]) -> None:
        """Have nothing arrive from *partitions*, and from all others again; it replaces what was paused before."""
        ...

    def when_lost(self, callback: Callable[[frozenset[str]], None]) -> None:
        """
        Call *callback* with the names of partitions that go to another member, before they do.

        It is called on a thread of the source's choice, and may take a second.
        """
        ...

    def lag(self) -> int | None:
        """Return how many records of the member's partitions are not done; None where it cannot be told."""
        ...

    def put_aside(self, arrival: Arrival, *, cause: str, attempts: int) -> None:
        """
        Add *arrival* to the dead letters of the group, durably, in order within a key. For any thread.

        Raises:
            UnavailableError: If it cannot be kept now.
        """
        ...

    def replay(self, handle: Callable[[Arrival], None]) -> int:
        """
        Give every dead letter of the group to *handle*, in order within a key, and remove it when that returns.

        Those that are put aside meanwhile are left for the next time. When *handle* raises, its letter and those after
        it stay.

        Returns:
            How many were given.
        """
        ...

    def close(self) -> None:
        """Commit what is done, give the partitions back, and free the connections."""
        ...


class Verdict(enum.Enum):
    """What an inbox says of an event."""

    FRESH = "fresh"
    REPEATED = "repeated"
    BEHIND = "behind"


class AfterDeadLetter(enum.Enum):
    """What becomes of the later events of a key, one of which was put aside."""

    PARK_KEY = "park-key"
    """They are put aside too, so that a replay applies them in order."""
    GO_ON = "go-on"
    """They are applied; a replay applies the one that was put aside after them."""


class Inbox(Protocol[T_co]):
    """
    What a group has already applied: per topic and key the last sequence, and the ids of what was put aside.

    An event without sequence is remembered by itself. *T_co* is what a handler writes its effect with, such as a
    connection in a transaction.
    """

    def judge(self, group: str, event: ConsumedEvent, *, rule: AfterDeadLetter, is_replay: bool = False) -> Verdict:
        """Return what :meth:`apply` would say at this moment, without a lock."""
        ...

    def apply(
        self,
        group: str,
        events: Sequence[ConsumedEvent],
        effect: Callable[[Sequence[ConsumedEvent], T_co], None],
        *,
        rule: AfterDeadLetter,
        is_replay: bool = False,
    ) -> tuple[Verdict, ...]:
        """
        Call *effect* with those of *events* that are fresh, if any, and remember them: in one transaction.

        Events of a key stand in order in *events*. Two that apply the same event at once wait for each other, and only
        one calls its effect. When *effect* raises, nothing is remembered, and the error is raised on.

        Args:
            is_replay: Whether they come from the dead letters. Then one that was parked is fresh: under
                :attr:`AfterDeadLetter.PARK_KEY` the first of its key alone.

        Returns:
            A verdict for each, in the order given.
        """
        ...

    def park(self, group: str, event: ConsumedEvent) -> None:
        """
        Remember that *event* was put aside: it is passed, and waits for a replay.

        An event that was applied meanwhile is not parked, nor is one without sequence.
        """
        ...

    def forget(self, *, older_than_seconds: float) -> None:
        """Forget events without sequence that were remembered longer ago; older repeats would be applied again."""
        ...

    def is_outage(self, error: BaseException) -> bool:
        """Tell whether *error* says that the inbox cannot be reached, so that no event is to blame."""
        ...


class InboxRepository(Protocol):
    """What the groups of the service itself have applied, within a transaction: beside what their events change."""

    def judge(self, group: str, event: ConsumedEvent, *, rule: AfterDeadLetter, is_replay: bool = False) -> Verdict:
        """Return what :meth:`take` would say at this moment, without a lock."""
        ...

    def take(
        self, group: str, events: Sequence[ConsumedEvent], *, rule: AfterDeadLetter, is_replay: bool = False
    ) -> tuple[Verdict, ...]:
        """
        Judge *events* as :meth:`Inbox.apply` does, and remember those that are fresh with the commit.

        Before anything else of the transaction: it locks their keys, and whatever else is locked comes after.
        """
        ...

    def park(self, group: str, event: ConsumedEvent) -> None:
        """Remember that *event* was put aside, as :meth:`Inbox.park` does."""
        ...

    def forget(self, *, older_than_seconds: float) -> None:
        """Forget events without sequence that were remembered longer ago."""
        ...


@attrs.frozen
class KeyState:
    """
    What an inbox knows of one key.

    Attributes:
        last_sequence: Of the last event that was applied or put aside; 0 for none.
        parked: Ids of what was put aside, in the order of the key.
    """

    last_sequence: int = 0
    parked: tuple[str, ...] = ()

    def judge(self, event_id: str, sequence: int, *, rule: AfterDeadLetter, is_replay: bool) -> Verdict:
        """Say what an event of the key is."""
        if is_replay and event_id in self.parked:
            is_first = self.parked[0] == event_id
            return Verdict.FRESH if is_first or rule is AfterDeadLetter.GO_ON else Verdict.BEHIND
        if sequence <= self.last_sequence:
            return Verdict.REPEATED
        if self.parked and rule is AfterDeadLetter.PARK_KEY:
            return Verdict.BEHIND
        return Verdict.FRESH

    def applied(self, event_id: str, sequence: int) -> KeyState:
        """Return what is known after an event was applied."""
        parked = tuple(other for other in self.parked if other != event_id)
        return KeyState(max(self.last_sequence, sequence), parked)

    def with_parked(self, event_id: str, sequence: int) -> KeyState:
        """Return what is known after an event was put aside."""
        if sequence <= self.last_sequence:
            return self
        return KeyState(sequence, (*self.parked, event_id))


def arrival_of(record: OutboxRecord, *, partition: str, attempts: int = 0) -> Arrival:
    """Return a record of the outbox as it arrives where no other form of it travels."""
    data, fault = decoded(record.payload)
    return Arrival(
        partition=partition,
        position=record.position,
        topic=record.topic,
        key=record.key,
        event=ConsumedEvent(
            id=str(record.id),
            type=record.type,
            source=record.source,
            topic=record.topic,
            key=record.key,
            subject=record.subject,
            occurred_at=record.occurred_at,
            sequence=record.sequence,
            traceparent=record.traceparent,
            data=data,
        ),
        fault=fault,
        bytes_held=len(record.payload),
        attempts=attempts,
        raw=record,
    )


def decoded(payload: bytes) -> tuple[Any, str | None]:
    """Return the value of JSON in UTF-8, and what is wrong with it; never raises, whatever is given."""
    try:
        return msgspec.json.decode(payload), None
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return None, f"the data is no JSON: {error}"
