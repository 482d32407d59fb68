"""A source of events and an inbox within this process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from userservice_core.ports.consuming import AfterDeadLetter, Arrival, KeyState, Verdict, arrival_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractContextManager

    from userservice_core.infrastructure.memory.publishing import InMemoryEventPublisher
    from userservice_core.ports.consuming import ConsumedEvent

T = TypeVar("T")

_POLL_SECONDS = 0.005
_POLLED_AT_ONCE = 100


class InMemoryEventSource:
    """
    A :class:`~userservice_core.ports.consuming.EventSource` of what an in-memory publisher was given.

    Its group has one member. What was not committed comes again after :meth:`close`.

    Attributes:
        dead_letters: What was put aside, in order, with cause and attempts.
        failure: What putting aside raises, as long as it is set.
    """

    def __init__(self, publisher: InMemoryEventPublisher, *, group: str, topics: Collection[str]) -> None:
        self._publisher = publisher
        self._group = group
        self._topics = frozenset(topics)
        self._lock = threading.Lock()
        self._next = 0
        self._open: dict[int, Arrival | None] = {}
        self._paused: frozenset[str] = frozenset()
        self._held_back: deque[Arrival] = deque()
        self._lost: Callable[[frozenset[str]], None] = lambda _: None
        self._first_open = 0
        self.dead_letters: list[tuple[Arrival, str, int]] = []
        self.failure: Exception | None = None

    @property
    def group(self) -> str:
        return self._group

    def poll(self, *, timeout_seconds: float) -> Sequence[Arrival]:
        deadline = time.monotonic() + timeout_seconds
        while not (arrivals := self._arrived()) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return arrivals

    def done(self, arrival: Arrival) -> None:
        with self._lock:
            if self._open.get(arrival.position) is arrival:
                self._open[arrival.position] = None

    def commit(self) -> None:
        with self._lock:
            for position in sorted(self._open):
                if self._open[position] is not None:
                    break
                del self._open[position]
            self._first_open = min(self._open, default=self._next)

    def pause(self, partitions: Collection[str]) -> None:
        self._paused = frozenset(partitions)

    def when_lost(self, callback: Callable[[frozenset[str]], None]) -> None:
        self._lost = callback

    def lag(self) -> int | None:
        with self._lock:
            return len(self._publisher.published) - self._next + sum(each is not None for each in self._open.values())

    def put_aside(self, arrival: Arrival, *, cause: str, attempts: int) -> None:
        if self.failure is not None:
            raise self.failure
        with self._lock:
            self.dead_letters.append((arrival, cause, attempts))

    def replay(self, handle: Callable[[Arrival], None]) -> int:
        with self._lock:
            count = len(self.dead_letters)
        for _ in range(count):
            arrival, _, attempts = self.dead_letters[0]
            handle(attrs.evolve(arrival, attempts=attempts))
            with self._lock:
                del self.dead_letters[0]
        return count

    def close(self) -> None:
        self.commit()
        with self._lock:
            self._next = self._first_open
            self._open.clear()
            self._held_back.clear()

    def lose(self) -> None:
        """Take every partition away and give it back, as a rebalance may; what is not committed comes again."""
        with self._lock:
            partitions = frozenset(self._topics)
        self._lost(partitions)
        self.close()

    def _arrived(self) -> list[Arrival]:
        with self._lock:
            arrived = [*self._held_back]
            self._held_back.clear()
            end = min(len(self._publisher.published), self._next + _POLLED_AT_ONCE)
            for position in range(self._next, end):
                record = self._publisher.published[position]
                if record.topic in self._topics:
                    arrival = arrival_of(attrs.evolve(record, position=position), partition=record.topic)
                    self._open[position] = arrival
                    arrived.append(arrival)
            self._next = max(self._next, end)
            ready: list[Arrival] = []
            for arrival in arrived:
                (self._held_back if arrival.partition in self._paused else ready).append(arrival)
            return ready


class InMemoryInbox(Generic[T]):
    """
    A :class:`~userservice_core.ports.consuming.Inbox` in a dict.

    Attributes:
        failure: Raised instead of answering, as an inbox that cannot be reached would; to be set by a test.
    """

    def __init__(self, begin: Callable[[], AbstractContextManager[T]]) -> None:
        """
        Begin empty.

        Args:
            begin: Begins what handlers write their effects with, and undoes them when the block raises.
        """
        self._begin = begin
        self._lock = threading.RLock()
        self._states: dict[tuple[str, str, str], KeyState] = {}
        self._seen: dict[tuple[str, str, str], float] = {}
        self.failure: Exception | None = None

    def judge(self, group: str, event: ConsumedEvent, *, rule: AfterDeadLetter, is_replay: bool = False) -> Verdict:
        with self._lock:
            self._require_reachable()
            if event.sequence is None:
                return Verdict.REPEATED if self._identity(group, event) in self._seen else Verdict.FRESH
            return self._state(group, event).judge(event.id, event.sequence, rule=rule, is_replay=is_replay)

    def apply(
        self,
        group: str,
        events: Sequence[ConsumedEvent],
        effect: Callable[[Sequence[ConsumedEvent], T], None],
        *,
        rule: AfterDeadLetter,
        is_replay: bool = False,
    ) -> tuple[Verdict, ...]:
        with self._lock:
            before = dict(self._states), dict(self._seen)
            try:
                verdicts, fresh = [], []
                for event in events:
                    verdicts.append(self.judge(group, event, rule=rule, is_replay=is_replay))
                    if verdicts[-1] is Verdict.FRESH:
                        fresh.append(event)
                        self._remember(group, event)
                if fresh:
                    with self._begin() as transaction:
                        effect(fresh, transaction)
            except BaseException:
                self._states, self._seen = before
                raise
            return tuple(verdicts)

    def park(self, group: str, event: ConsumedEvent) -> None:
        with self._lock:
            self._require_reachable()
            if event.sequence is not None:
                state = self._state(group, event).with_parked(event.id, event.sequence)
                self._states[group, event.topic, event.key] = state

    def forget(self, *, older_than_seconds: float) -> None:
        with self._lock:
            until = time.monotonic() - older_than_seconds
            self._seen = {identity: at for identity, at in self._seen.items() if at > until}

    def is_outage(self, error: BaseException) -> bool:
        return error is self.failure

    def _require_reachable(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _state(self, group: str, event: ConsumedEvent) -> KeyState:
        return self._states.get((group, event.topic, event.key), KeyState())

    def _remember(self, group: str, event: ConsumedEvent) -> None:
        if event.sequence is None:
            self._seen[self._identity(group, event)] = time.monotonic()
        else:
            state = self._state(group, event).applied(event.id, event.sequence)
            self._states[group, event.topic, event.key] = state

    def _identity(self, group: str, event: ConsumedEvent) -> tuple[str, str, str]:
        return (group, event.topic, event.identity)


def no_transaction() -> AbstractContextManager[None]:
    """Begin nothing, for an inbox whose handlers write nothing."""
    return contextlib.nullcontext()
