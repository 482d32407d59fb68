"""The contracts of consuming over the implementations in memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.effects import record_effects
from userservice_core.infrastructure.memory import (
    InMemoryEventPublisher,
    InMemoryEventSource,
    InMemoryInbox,
    InMemoryStore,
    InMemoryUnitOfWork,
)
from userservice_core.infrastructure.messaging.own_inbox import UnitOfWorkInbox
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.contracts.consuming import EventSourceContract, InboxContract
from userservice_core.testing.samples import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from userservice_core.ports.consuming import ConsumedEvent
    from userservice_core.ports.publishing import OutboxRecord
    from userservice_core.ports.unit_of_work import Transaction


class TestInMemoryInbox(InboxContract):
    """Effects in a list."""

    @pytest.fixture
    def effects(self) -> list[str]:
        """What was committed."""
        return []

    @pytest.fixture
    def inbox(self, effects: list[str]) -> InMemoryInbox[list[str]]:
        """One whose transaction is a list that is added at the end."""

        @contextlib.contextmanager
        def begin() -> Iterator[list[str]]:
            new: list[str] = []
            yield new
            effects.extend(new)

        return InMemoryInbox(begin)

    @pytest.fixture
    def write(self) -> Callable[[Sequence[ConsumedEvent], list[str]], None]:
        """Add the ids."""
        return lambda events, transaction: transaction.extend(event.id for event in events)

    @pytest.fixture
    def written(self, effects: list[str]) -> Callable[[], list[str]]:
        """Return them."""
        return lambda: effects


class TestInMemoryEventSource(EventSourceContract):
    """Over a publisher in memory."""

    @pytest.fixture
    def topic(self) -> str:
        """Any."""
        return "things"

    @pytest.fixture
    def publisher(self) -> InMemoryEventPublisher:
        """One with nothing published."""
        return InMemoryEventPublisher()

    @pytest.fixture
    def publish(self, publisher: InMemoryEventPublisher) -> Callable[[Sequence[OutboxRecord]], None]:
        """Publish."""

        def publish(records: Sequence[OutboxRecord]) -> None:
            publisher.publish(records)

        return publish

    @pytest.fixture
    def member(self, publisher: InMemoryEventPublisher, topic: str) -> Callable[[], InMemoryEventSource]:
        """There is one source, which begins anew after its close."""
        source = InMemoryEventSource(publisher, group="g", topics=[topic])
        return lambda: source


class TestOwnInbox(InboxContract):
    """Of the service's own groups, in memory: effects are events of the same transaction."""

    @pytest.fixture
    def store(self) -> InMemoryStore:
        """One with nothing in it."""
        return InMemoryStore()

    @pytest.fixture
    def inbox(self, store: InMemoryStore) -> UnitOfWorkInbox:
        """In the transactions of the unit of work."""
        return UnitOfWorkInbox(InMemoryUnitOfWork(store, clock=FakeClock(NOW)))

    @pytest.fixture
    def write(self) -> Callable[[Sequence[ConsumedEvent], Transaction], None]:
        """Record an event of the same id, after a read."""
        return record_effects

    @pytest.fixture
    def written(self, store: InMemoryStore) -> Callable[[], list[str]]:
        """Return the ids of what waits in the outbox."""
        return lambda: [str(waiting.record.id) for waiting in store.rows.outbox]
