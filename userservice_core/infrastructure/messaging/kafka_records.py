"""Records of Kafka as events arrive in them, whichever client took them; and what becomes of those put aside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.infrastructure.messaging.cloudevents import event_of
from userservice_core.infrastructure.messaging.kafka_topics import DEFAULT_PARTITIONS, TopicSpec
from userservice_core.ports.consuming import Arrival

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from userservice_core.infrastructure.messaging.kafka_topics import TopicState

DEAD_LETTER_SUFFIX: Final = ".dlq"
LARGEST_DEAD_LETTER_BYTES: Final = 16 * 1024 * 1024
"""A dead letter is larger than what it was made of, by its headers."""


@attrs.frozen(eq=False)
class Raw:
    """A record as it was, for the dead letters; and where it is ticked off."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp_ms: int
    offsets: Offsets | None = None


class Offsets:
    """The offsets of a partition that have arrived, and which are done; for one assignment of it."""

    def __init__(self) -> None:
        self._open: dict[int, bool] = {}
        self._next: int | None = None
        self._committed: int | None = None

    def arrived(self, offset: int) -> None:
        self._open[offset] = False

    def done(self, offset: int) -> None:
        if offset in self._open:
            self._open[offset] = True
        while self._open:
            first, is_done = next(iter(self._open.items()))
            if not is_done:
                break
            del self._open[first]
            self._next = first + 1

    @property
    def open(self) -> int:
        return len(self._open)

    def to_commit(self) -> int | None:
        """Return the first offset that is not done, if it has moved since it was committed."""
        return None if self._next == self._committed else self._next

    def committed(self, offset: int) -> None:
        self._committed = offset


@attrs.frozen
class Record:
    """A record, as kafka-python names what is in it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int


def arrival_of(
    *,
    topic: str,
    partition: int,
    offset: int,
    raw: Raw,
    is_sequenced: bool,
    attempts: int = 0,
    known_as: str | None = None,
) -> Arrival:
    """Return a record as it arrives, whatever is in it; its topic may be known by another name than it has."""
    stream, topic = f"{topic}-{partition}", known_as or topic
    key = None if raw.key is None else raw.key.decode(errors="backslashreplace")
    headers = dict(raw.headers)
    event, fault = event_of(headers, topic=topic, key=key, value=raw.value, is_sequenced=is_sequenced)
    return Arrival(
        partition=stream,
        position=offset,
        topic=topic,
        key=key,
        event=event,
        fault=fault,
        bytes_held=len(raw.value or b""),
        attempts=attempts,
        raw=raw,
    )


def raw_record(
    *, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]], timestamp_ms: int
) -> Raw:
    """Return a record that did not come by a consumer of ours."""
    return Raw(key, value, tuple(headers), timestamp_ms)


def dead_letter_of(record: Record, *, group: str, foreign_topics: Collection[str]) -> Arrival | None:
    """Return what a record of a topic of dead letters was; None where it is another group's."""
    headers = dict(record.headers)
    if headers.get("dlq_group") != group.encode():
        return None
    topic = (headers.get("dlq_topic") or b"").decode() or record.topic.removesuffix(DEAD_LETTER_SUFFIX)
    arrival = arrival_of(
        topic=topic,
        partition=record.partition,
        offset=record.offset,
        raw=Raw(record.key, record.value, tuple(record.headers), record.timestamp),
        is_sequenced=topic not in foreign_topics,
        attempts=int(headers.get("dlq_attempts") or 0),
    )
    # Where it stood at first, however often it is put aside.
    return attrs.evolve(
        arrival,
        partition=(headers.get("dlq_partition") or b"").decode(),
        position=int(headers.get("dlq_position") or 0),
    )


def dead_letter_headers(arrival: Arrival, *, group: str, cause: str, attempts: int) -> list[tuple[str, bytes | None]]:
    """Return the headers of the dead letter that *arrival* becomes: its own, and what is told of it."""
    raw: Raw = arrival.raw
    told = {
        "dlq_group": group,
        "dlq_cause": cause,
        "dlq_attempts": str(attempts),
        "dlq_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "dlq_topic": arrival.topic,
        "dlq_partition": arrival.partition,
        "dlq_position": str(arrival.position),
    }
    kept = [(name, value) for name, value in raw.headers if not name.startswith("dlq_")]
    return [*kept, *((name, value.encode()) for name, value in told.items())]


def dead_letter_topic(name: str, *, like: TopicState | None) -> TopicSpec:
    """Return what is wanted of a topic of dead letters: as many partitions as the topic *like* has that they are of."""
    partitions = DEFAULT_PARTITIONS if like is None else like.partitions
    return TopicSpec(name=name, partitions=partitions, settings={"max.message.bytes": str(LARGEST_DEAD_LETTER_BYTES)})
