"""What those who ask are told while the database is slow, stands still, breaks off, or is not reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.postgres.troubles import ambiguous_commits, pooler_troubles, slowness, stall, storm

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.pgbouncer import PgBouncer


def test_a_line_that_breaks_at_each_commit_doubles_and_loses_nothing(database: str, tmp_path: Path) -> None:
    """503 says that nobody knows, and the same call under the same key has the one true answer."""
    ambiguous_commits(database, tmp_path, commits=20, seed=0).require_clean()


def test_deadlocks_and_ended_backends_fail_nobody(database: str, tmp_path: Path) -> None:
    """A fifth of all transactions meets one of them; each is run again, and takes effect once."""
    storm(database, tmp_path, writes=200).require_clean()


def test_who_needs_no_database_is_served_while_it_stands_still(database: str, tmp_path: Path) -> None:
    """All connections wait for a lock; requests for them are told in time when to come again."""
    stall(database, tmp_path, calls=16).require_clean()


def test_a_slow_database_is_waited_for_until_the_deadline(database: str, tmp_path: Path) -> None:
    """And the first request after it is answered."""
    slowness(database, tmp_path, delays=(0.1, 0.8, 5.0), seconds=1.0, calls=6).require_clean()


@pytest.mark.exclusive
def test_a_pooler_that_pauses_and_dies_fails_nobody(pgbouncer: PgBouncer, database: str, tmp_path: Path) -> None:
    """Writes wait for it within their deadline, and those that were in doubt are settled by their keys."""
    pooler_troubles(pgbouncer, database, tmp_path, seconds=0.5, rounds=1).require_clean()
