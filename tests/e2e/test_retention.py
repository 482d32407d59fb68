"""The command that erases what was kept long enough, killed between its steps."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg

from tests.e2e.processes import ROOT, settings_for
from userservice_core.application.retention import ERASED_PER_TRANSACTION
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.testing.samples import sample_user

if TYPE_CHECKING:
    from pathlib import Path

_USERS = 2 * ERASED_PER_TRANSACTION + 5


def test_a_run_that_is_killed_is_taken_up_by_the_next(database: str, tmp_path: Path) -> None:
    """A batch is there as a whole or not at all; in the end each user is erased, and that was told once."""
    long_ago = datetime.now(UTC) - timedelta(days=31)
    with contextlib.closing(Database(database)) as pool:
        uow = PostgresUnitOfWork(pool)
        for _ in range(_USERS):
            uow.run(lambda transaction: transaction.users.add(sample_user(deleted_at=long_ago)))

    def run(failpoint: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "userservice_core.cli", "purge"]
        environment = settings_for(database, tmp_path, FAILPOINT=failpoint)
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert run("uow.before-commit:1").returncode == -signal.SIGKILL
    assert _counts(database) == (_USERS, 0)
    assert run("retention.erased:1").returncode == -signal.SIGKILL
    assert _counts(database) == (_USERS - ERASED_PER_TRANSACTION, ERASED_PER_TRANSACTION)
    assert run("uow.before-commit:2").returncode == -signal.SIGKILL
    assert _counts(database) == (5, 2 * ERASED_PER_TRANSACTION)
    finished = run("none:1")
    assert finished.returncode == 0
    assert json.loads(finished.stdout) == {"erasedUsers": 5, "removedRows": 0, "isWhole": True}
    assert _counts(database) == (0, _USERS)


def _counts(database: str) -> tuple[int, ...]:
    """Return how many users there are, and how many were told to be erased."""
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM users), count(DISTINCT aggregateid), count(*) FROM outbox"
        ).fetchone()
    assert row is not None
    assert row[1] == row[2]
    return int(row[0]), int(row[1])
