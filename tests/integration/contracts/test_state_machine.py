"""PostgreSQL is the same as memory, to whoever uses either."""

from __future__ import annotations

import contextlib

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.contracts.postgres_backend import backend_of
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.system.clock import SystemClock
from userservice_core.testing.contracts.backend import Backend
from userservice_core.testing.state_machine import StorageComparison


def test_postgres_is_the_same_as_memory(database: str) -> None:
    """Whatever is done with it."""
    with contextlib.closing(Database(database)) as opened:

        class PostgresWithMemory(StorageComparison):
            def __init__(self) -> None:
                super().__init__(Backend.in_memory(clock=SystemClock()), backend_of(opened))

        run_state_machine_as_test(PostgresWithMemory, settings=settings(max_examples=30, stateful_step_count=30))
