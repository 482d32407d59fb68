"""Two relays on one outbox, step by step: in any order of their steps, each key's events come first in order."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol, cast

import attrs

from tests.interleavings import Actor, actors
from tests.outbox_records import keys_of_one_lane, outbox_record
from userservice_core.infrastructure.memory import InMemoryEventPublisher, InMemoryMetrics
from userservice_core.infrastructure.messaging.lines import Line
from userservice_core.infrastructure.messaging.relay import Relay
from userservice_core.ports.failpoints import install_failpoints
from userservice_core.ports.publishing import OutboxRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from userservice_core.ports.publishing import Delivery, Lease, OutboxStore

_PAUSED_AT = frozenset({"relay.read", "relay.published"})

RELAYS = 2
STEPS = (4, 4, 1, 1)
"""Of two relays - claim, read, send, delete - of a writer, and of a time in which leases end."""


class Outbox(Protocol):
    """An outbox, with what goes on around it."""

    def run(self) -> OutboxStore:
        """Return the outbox as a new run of a relay sees it."""
        ...

    def write(self, *records: OutboxRecord) -> None:
        """Commit *records*."""
        ...

    def end_leases(self) -> None:
        """Let the time pass in which a lease stands."""
        ...

    def waiting(self) -> int:
        """Count what waits."""
        ...


class _Paused:
    """An outbox that waits for its turn after each claim."""

    def __init__(self, store: OutboxStore, pause: Callable[[], None]) -> None:
        self._store = store
        self._pause = pause

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def claim(self, relay_id: str, *, lease_seconds: float) -> tuple[Lease, ...]:
        leases = self._store.claim(relay_id, lease_seconds=lease_seconds)
        self._pause()
        return leases


@attrs.define
class _Bus(InMemoryEventPublisher):
    """One topic for both relays."""

    sent: list[OutboxRecord] = attrs.Factory(list)

    def publish(self, records: Sequence[OutboxRecord]) -> tuple[Delivery, ...]:
        self.sent += records
        return super().publish(records)

    def __attrs_post_init__(self) -> None:
        super().__init__()


def step_through(orders: Iterable[tuple[int, ...]], outbox_of: Callable[[], Outbox]) -> int:
    """
    Let two relays, a writer and the ends of leases take their steps in each of *orders*, and return how many repeats.

    Raises:
        AssertionError: Naming the order in which an event was lost, or came before one that precedes it.
    """
    repeats = 0
    with actors(RELAYS) as relays, contextlib.ExitStack() as installed:

        def pause(step: str = "relay.read") -> None:
            if step in _PAUSED_AT:
                for relay in relays:
                    relay.pause()

        install_failpoints(pause)
        installed.callback(install_failpoints, None)
        for order in orders:
            repeats += _step_through(order, outbox_of(), relays, pause)
    return repeats


def _step_through(order: tuple[int, ...], outbox: Outbox, relays: Sequence[Actor], pause: Callable[[], None]) -> int:
    one, other = keys_of_one_lane(2)
    outbox.write(outbox_record(one, 1), outbox_record(other, 1), outbox_record(one, 2))
    bus = _Bus()
    for number, actor in enumerate(relays):
        actor.begin(_relay(cast("OutboxStore", _Paused(outbox.run(), pause)), bus, f"r{number}").wave)
    others = (lambda: outbox.write(outbox_record(one, 3), outbox_record(other, 2)), outbox.end_leases)
    for number in order:
        if number < RELAYS:
            relays[number].step()
        else:
            others[number - RELAYS]()
    for actor in relays:
        actor.finish()
    outbox.end_leases()
    last = _relay(outbox.run(), bus, "last")
    for _ in range(2):
        last.wave()
    for key, numbers in ((one, [1, 2, 3]), (other, [1, 2])):
        first = list(dict.fromkeys(record.sequence for record in bus.sent if record.key == key))
        assert first == numbers, f"in the order {order}: {first}"
    assert outbox.waiting() == 0, f"in the order {order} something still waits"
    return len(bus.sent) - 5


def _relay(store: OutboxStore, bus: _Bus, relay_id: str) -> Relay:
    return Relay(store, [Line(name="bus", publisher=bus)], None, relay_id=relay_id, metrics=InMemoryMetrics())
