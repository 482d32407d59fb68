"""What looks for connections that are held too long finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.held_connections import HeldConnections
from userservice_core.infrastructure.memory import InMemoryMetrics, InMemoryStore, InMemoryUnitOfWork
from userservice_core.infrastructure.security.passwords import Argon2PasswordHasher
from userservice_core.testing.clocks import FakeClock

if TYPE_CHECKING:
    import pytest


def test_who_hashes_within_a_transaction_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """And who does so before it is not."""
    held = HeldConnections(monkeypatch)
    uow = InMemoryUnitOfWork(InMemoryStore(), clock=FakeClock())
    hasher = Argon2PasswordHasher(slots=1, queue=1, memory_kib=8, time_cost=1, metrics=InMemoryMetrics())
    hasher.hash("correct horse")
    uow.run(lambda _: None)
    before = list(held.wrong)
    uow.run(lambda _: hasher.hash("correct horse"))

    assert before == []
    assert held.wrong == ["hash"]
    assert (held.lent, held.slow) == (2, 2)
