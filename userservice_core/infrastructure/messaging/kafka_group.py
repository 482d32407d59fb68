"""A member of a group of Kafka and its dead letters, whichever client it consumes with."""

from __future__ import annotations

import abc
import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from userservice_core.errors import ConflictError
from userservice_core.infrastructure.messaging.kafka_records import (
    DEAD_LETTER_SUFFIX,
    Offsets,
    Raw,
    Record,
    arrival_of,
    dead_letter_headers,
    dead_letter_topic,
)
from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
from userservice_core.infrastructure.messaging.kafka_topics import create_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from userservice_core.infrastructure.messaging.kafka_topics import TopicAdmin
    from userservice_core.ports.consuming import Arrival

C = TypeVar("C")
P = TypeVar("P")

_log = logging.getLogger("userservice.consumer")

POLLED_AT_ONCE: Final = 100
SEND_SECONDS: Final = 15.0
"""How long a dead letter is waited for."""
CONNECT_PATIENCE_SECONDS: Final = 5.0
MILLISECONDS: Final = 1000

Place = tuple[str, int]
"""A topic and the number of a partition."""


def name_of(place: Place) -> str:
    """Return what a partition is called outside of the clients."""
    return f"{place[0]}-{place[1]}"


def someone_else() -> ConflictError:
    """Return what is raised where a member's name is taken."""
    return ConflictError("Another consumer runs under this member's name.")


class GroupMember(abc.ABC, Generic[C]):
    """
    What a member of a group was given, and how far it has come.

    Partitions move one by one, not all at once (cooperative assignment). A member with a name of its own keeps its
    partitions over a restart (static membership). All members of a group use one client.
    """

    def __init__(
        self,
        bootstrap_servers: Sequence[str],
        *,
        group: str,
        topics: Sequence[str],
        member_id: str | None = None,
        foreign_topics: Collection[str] = (),
        known_as: Mapping[str, str] | None = None,
        session_seconds: float = 45.0,
        most_silent_seconds: float = 300.0,
        security: KafkaSecurity | None = None,
        client_settings: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Name the brokers; nothing is connected yet.

        Args:
            bootstrap_servers: `host:port` of some of them.
            group: Name of the group; it begins with the oldest events that the topics hold.
            topics: To be consumed; those that are missing are waited for.
            member_id: A name of this member alone that outlives a restart, such as that of a stateful set's pod.
            foreign_topics: Those of *topics* whose events do not count the events of a key in their extension
                `sequence`; the inbox remembers each by itself.
            known_as: The former name of each of *topics* that has replaced another one; events arrive under it, so
                that the inbox goes on where it was, and dead letters stay together.
            session_seconds: How long a member may be gone before its partitions go to others.
            most_silent_seconds: How long this process may not poll before it counts as gone; the consumer polls all
                the time, however slow its handlers are. With confluent-kafka it is not less than the session.
            security: Whether over TLS, and who we are; neither if not given.
            client_settings: Further settings of the clients as their library calls them, such as `client_rack` of
                kafka-python and `client.rack` of confluent-kafka.
        """
        self._bootstrap_servers = list(bootstrap_servers)
        self._group = group
        self._topics = list(topics)
        self._member_id = member_id
        self._foreign_topics = frozenset(foreign_topics)
        self._known_as = dict(known_as or {})
        self._session_seconds = session_seconds
        self._most_silent_seconds = most_silent_seconds
        self._security = security or KafkaSecurity()
        self._client_settings = dict(client_settings or {})
        self._consumer: C | None = None
        self._lost: Callable[[frozenset[str]], None] = lambda _: None
        self._lock = threading.Lock()
        self._offsets: dict[Place, Offsets] = {}
        self._paused: frozenset[Place] = frozenset()
        self._dead_letters = self._new_dead_letters()

    @property
    def group(self) -> str:
        return self._group

    def done(self, arrival: Arrival) -> None:
        offsets = arrival.raw.offsets
        if offsets is not None:
            with self._lock:
                offsets.done(arrival.position)

    def when_lost(self, callback: Callable[[frozenset[str]], None]) -> None:
        self._lost = callback

    def put_aside(self, arrival: Arrival, *, cause: str, attempts: int) -> None:
        with self._translated():
            self._dead_letters.add(arrival, group=self._group, cause=cause, attempts=attempts)

    @abc.abstractmethod
    def _new_dead_letters(self) -> DeadLetters[Any]:
        """Return what writes dead letters; it has not connected yet."""

    @abc.abstractmethod
    def _translated(self) -> contextlib.AbstractContextManager[None]:
        """Raise the library's errors within the block as ours."""

    def _heartbeat_seconds(self) -> float:
        return min(3.0, self._session_seconds / 4)

    def _to_commit(self, *, only: Collection[Place] | None = None) -> dict[Place, int]:
        with self._lock:
            return {
                place: offset
                for place, offsets in self._offsets.items()
                if (only is None or place in only) and (offset := offsets.to_commit()) is not None
            }

    def _are_committed(self, committed: Iterable[tuple[Place, int]]) -> None:
        with self._lock:
            for place, offset in committed:
                if place in self._offsets:
                    self._offsets[place].committed(offset)

    def _begin_anew(self, places: Iterable[Place]) -> None:
        """Forget how far *places* have come."""
        with self._lock:
            for place in places:
                self._offsets.pop(place, None)

    def _arrival(self, record: Record, offsets: Offsets) -> Arrival:
        known_as = self._known_as.get(record.topic, record.topic)
        return arrival_of(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            raw=Raw(record.key, record.value, tuple(record.headers), record.timestamp, offsets),
            is_sequenced=known_as not in self._foreign_topics,
            known_as=known_as,
        )

    def _dead_letter_topics(self) -> Iterator[str]:
        return (f"{self._known_as.get(topic, topic)}{DEAD_LETTER_SUFFIX}" for topic in self._topics)


class DeadLetters(abc.ABC, Generic[P]):
    """Writes to the topics of dead letters. For many threads; raises what the client raises."""

    def __init__(
        self, bootstrap_servers: Sequence[str], security: KafkaSecurity, client_settings: Mapping[str, Any]
    ) -> None:
        self._bootstrap_servers = list(bootstrap_servers)
        self._security = security
        self._client_settings = client_settings
        self._lock = threading.Lock()
        self._producer: P | None = None
        self._topics: set[str] = set()

    def add(self, arrival: Arrival, *, group: str, cause: str, attempts: int) -> None:
        """Keep an arrival among the dead letters of its topic, and wait until it is there."""
        topic = f"{arrival.topic}{DEAD_LETTER_SUFFIX}"
        headers = dead_letter_headers(arrival, group=group, cause=cause, attempts=attempts)
        # One at a time: dead letters are few, and those of a key must not overtake each other.
        with self._lock:
            if topic not in self._topics:
                self._create(topic, like=arrival.partition.rpartition("-")[0])
                self._topics.add(topic)
            if self._producer is None:
                self._producer = self._connected()
            self._send(self._producer, topic, arrival.raw, headers)

    def close(self) -> None:
        """Free the connections; the next dead letter opens new ones."""
        with self._lock:
            self._discard()
            self._topics.clear()

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            self._end(producer)

    def _create(self, topic: str, *, like: str) -> None:
        """Create a topic with as many partitions as another one, where it is missing."""
        with contextlib.closing(self._admin()) as admin:
            if create_missing(admin, [dead_letter_topic(topic, like=admin.states([like]).get(like))]):
                _log.info("topic created: %s", topic)

    @abc.abstractmethod
    def _admin(self) -> TopicAdmin:
        """Return what makes topics."""

    @abc.abstractmethod
    def _connected(self) -> P:
        """Make a producer."""

    @abc.abstractmethod
    def _send(self, producer: P, topic: str, raw: Raw, headers: list[tuple[str, bytes | None]]) -> None:
        """Send a record, and wait until it is acknowledged."""

    @abc.abstractmethod
    def _end(self, producer: P) -> None:
        """End a producer."""
