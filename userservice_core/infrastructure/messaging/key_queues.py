"""What has arrived and waits to be handled: in order within a key, each key by itself."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.ports.consuming import Arrival

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from userservice_core.infrastructure.messaging.handlers import Handler

Key = tuple[str, str]

_LOOKED_AT: Final = 4
"""Ready keys that are looked at for each event that a batch may still take."""


@attrs.define(eq=False)
class Waiting:
    """
    An arrival in its queue.

    Attributes:
        attempts: How often it failed for what it is.
        failures: How often it failed for whatever reason.
        given_up: Why nobody is to handle it any more, once that is so: it is to be put aside, and waits for that.
    """

    arrival: Arrival
    attempts: int = 0
    failures: int = 0
    given_up: str | None = None


@attrs.define(eq=False)
class _Queue:
    waiting: deque[Waiting] = attrs.field(factory=deque)
    is_taken: bool = False
    rests_until: float | None = None


class KeyQueues:
    """
    The queues of all keys. Safe for many threads.

    A key is with one worker at most. One whose head failed waits for its time, and holds nobody else up.
    """

    def __init__(
        self, handler_of: Callable[[Arrival], Handler | None], *, most_per_partition: int, most_bytes: int
    ) -> None:
        """
        Begin empty.

        Args:
            handler_of: Says who handles an arrival, so that what a batch handler may have at once is taken together.
            most_per_partition: Arrivals of a partition, waiting or at work, from which it counts as full.
            most_bytes: Of everything together, from which all count as full.
        """
        self._handler_of = handler_of
        self._most_per_partition: Final = most_per_partition
        self._most_bytes: Final = most_bytes
        self._changed = threading.Condition()
        self._queues: dict[Key, _Queue] = {}
        self._ready: deque[Key] = deque()
        self._later: list[tuple[float, int, Key]] = []
        self._numbers = itertools.count()
        self._held: Counter[str] = Counter()
        self._at_work: Counter[str] = Counter()
        self._bytes = 0
        self._is_closed = False

    def __len__(self) -> int:
        """How many arrivals wait or are at work."""
        with self._changed:
            return self._held.total()

    def put(self, arrivals: Iterable[Arrival]) -> None:
        """Queue what has arrived."""
        with self._changed:
            for arrival in arrivals:
                key = key_of(arrival)
                queue = self._queues.setdefault(key, _Queue())
                queue.waiting.append(Waiting(arrival))
                self._held[arrival.partition] += 1
                self._bytes += arrival.bytes_held
                if len(queue.waiting) == 1 and not queue.is_taken:
                    self._ready.append(key)
            self._changed.notify_all()

    def take(self) -> list[Waiting] | None:
        """
        Wait for work and return it: the head of a key, or several heads for a batch handler.

        Returns:
            None once closed. What is returned is to be given to :meth:`done` or :meth:`again`, and then its keys to
            :meth:`release`.
        """
        with self._changed:
            while not self._is_closed:
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    self._ready.append(heapq.heappop(self._later)[2])
                if self._ready:
                    return self._taken()
                self._changed.wait(self._later[0][0] - now if self._later else None)
            return None

    def done(self, waiting: Waiting) -> None:
        """Take an arrival that was taken out for good; nothing where its partition was dropped meanwhile."""
        with self._changed:
            queue = self._queue_headed_by(waiting)
            if queue is not None:
                queue.waiting.popleft()
                self._let_go(waiting)

    def again(self, waiting: Waiting, *, after_seconds: float) -> None:
        """Leave an arrival that was taken at the head of its key, until later."""
        with self._changed:
            queue = self._queue_headed_by(waiting)
            if queue is not None:
                queue.rests_until = time.monotonic() + after_seconds

    def release(self, taken: Iterable[Waiting]) -> None:
        """Let the keys of what was taken go on."""
        with self._changed:
            taken = list(taken)
            for waiting in taken:
                self._at_work[waiting.arrival.partition] -= 1
            for key in dict.fromkeys(key_of(waiting.arrival) for waiting in taken):
                self._go_on(key)
            self._changed.notify_all()

    def drop(self, partitions: frozenset[str], *, patience_seconds: float) -> None:
        """Forget what waits of *partitions*, and wait a while for what is at work of them."""
        with self._changed:
            for key, queue in list(self._queues.items()):
                kept = deque(waiting for waiting in queue.waiting if waiting.arrival.partition not in partitions)
                if len(kept) == len(queue.waiting):
                    continue
                for waiting in queue.waiting:
                    if waiting.arrival.partition in partitions:
                        self._let_go(waiting)
                queue.waiting = kept
                queue.rests_until = None
                if not kept and not queue.is_taken:
                    del self._queues[key]
            # A key without a queue, or with an empty one, is never taken.
            self._ready = deque(key for key in self._ready if key in self._queues)
            self._later = [entry for entry in self._later if entry[2] in self._queues]
            heapq.heapify(self._later)
            self._changed.wait_for(
                lambda: not any(self._at_work[partition] for partition in partitions), patience_seconds
            )

    def full(self) -> frozenset[str]:
        """Return the partitions that nothing more may arrive from now."""
        with self._changed:
            if self._bytes >= self._most_bytes:
                return frozenset(partition for partition, held in self._held.items() if held)
            return frozenset(partition for partition, held in self._held.items() if held >= self._most_per_partition)

    def close(self) -> None:
        """Have :meth:`take` return None from now on."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _taken(self) -> list[Waiting]:
        key = self._ready.popleft()
        first = self._queues[key].waiting[0]
        handler = self._handler_of(first.arrival)
        is_alone = handler is None or first.failures > 0 or first.arrival.fault is not None
        most = 1 if handler is None or is_alone else handler.most
        taken = self._heads(key, handler, most)
        for _ in range(min(len(self._ready), _LOOKED_AT * most) if most > 1 else 0):
            if len(taken) >= most:
                break
            other = self._ready.popleft()
            head = self._queues[other].waiting[0]
            if head.failures or head.arrival.fault is not None or self._handler_of(head.arrival) is not handler:
                self._ready.append(other)
            else:
                taken += self._heads(other, handler, most - len(taken))
        for waiting in taken:
            self._at_work[waiting.arrival.partition] += 1
        return taken

    def _heads(self, key: Key, handler: Handler | None, most: int) -> list[Waiting]:
        """Take a key, and return as many of its first arrivals as may be handled together."""
        queue = self._queues[key]
        queue.is_taken = True
        if most == 1:
            return [queue.waiting[0]]
        together = itertools.takewhile(
            lambda waiting: waiting.arrival.fault is None and self._handler_of(waiting.arrival) is handler,
            queue.waiting,
        )
        return list(itertools.islice(together, most))

    def _queue_headed_by(self, waiting: Waiting) -> _Queue | None:
        queue = self._queues.get(key_of(waiting.arrival))
        return queue if queue is not None and queue.waiting and queue.waiting[0] is waiting else None

    def _go_on(self, key: Key) -> None:
        queue = self._queues[key]
        queue.is_taken = False
        rests_until, queue.rests_until = queue.rests_until, None
        if not queue.waiting:
            del self._queues[key]
        elif rests_until is None:
            self._ready.append(key)
        else:
            heapq.heappush(self._later, (rests_until, next(self._numbers), key))

    def _let_go(self, waiting: Waiting) -> None:
        self._held[waiting.arrival.partition] -= 1
        self._bytes -= waiting.arrival.bytes_held


def key_of(arrival: Arrival) -> Key:
    """Return what an arrival waits behind; one without a key, behind nothing."""
    if arrival.key is None:
        return (arrival.partition, f"#{arrival.position}")
    return (arrival.topic, arrival.key)
