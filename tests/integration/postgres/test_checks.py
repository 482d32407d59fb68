"""What the check of a database finds."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.e2e.processes import settings_for
from userservice_core.bootstrap import connection_demand
from userservice_core.config import Settings
from userservice_core.errors import DatabaseUnavailableError
from userservice_core.infrastructure.postgres import checks
from userservice_core.infrastructure.postgres.checks import Demand, Severity, check_database, connection_fault

if TYPE_CHECKING:
    from pathlib import Path

_ONE = Demand(instances=1, workers=1, pool_size=8)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_SAMPLE_SECONDS", 0.001)


def _texts(dsn: str, severity: Severity, demand: Demand = _ONE) -> str:
    return "\n".join(each.text for each in check_database(dsn, demand) if each.severity is severity)


def test_a_new_database_has_no_fault(database: str) -> None:
    """What migrations made is as it should be; what the server lacks is advice."""
    advice = _texts(database, Severity.ADVICE)

    assert _texts(database, Severity.FAULT) == ""
    assert "idle_in_transaction_session_timeout is not set" in advice
    assert "pg_stat_statements is missing" in advice
    assert "has lost settings" not in advice


def test_connections_that_do_not_fit_are_a_fault(database: str, observer: psycopg.Connection) -> None:
    """By the limit of the server, less what is reserved, and by that of the role or the database if it is lower."""
    (limit,) = observer.execute("SELECT current_setting('max_connections')::int").fetchone() or (0,)
    many = Demand(instances=limit, workers=1, pool_size=2)
    few = Demand(instances=10, workers=2, pool_size=2)

    assert "open up to" in _texts(database, Severity.FAULT, many)
    assert connection_fault(database, few) is None
    observer.execute(f"ALTER DATABASE {observer.info.dbname} CONNECTION LIMIT 20".encode())
    fault = connection_fault(database, few)
    assert fault is not None
    assert "10 instances with 2 workers each open up to 40 connections, and the server has 17" in fault.text


@pytest.mark.parametrize(
    ("direct", "connections"),
    [
        ({}, (3 + 2) * 4 * 10),
        ({"DATABASE_DIRECT_URL": "postgresql://db.example.com/users"}, (3 + 2) * 4 * 12),
        ({"DATABASE_DIRECT_URL": "postgresql://primary.example.com/users"}, (3 + 2) * 4 * 2),
    ],
    ids=["direct", "listening", "pooled"],
)
def test_what_is_asked_for_is_computed_with_a_rolling_update(
    tmp_path: Path, direct: dict[str, str], connections: int
) -> None:
    """Instances and those that an update starts beside them, times workers, times pools; a pooler has the pools."""
    environment = settings_for("postgresql://db.example.com/users", tmp_path) | {
        f"USERSERVICE_{name}": value
        for name, value in {
            "INSTANCES": "3",
            "INSTANCES_SURGE": "2",
            "WORKERS": "4",
            "DATABASE_POOL_SIZE": "10",
            "DATABASE_DIRECT_URL": "",
            **direct,
        }.items()
    }
    settings = Settings.from_environment({name: value for name, value in environment.items() if value})

    assert connection_demand(settings).connections == connections


def test_what_was_lost_or_left_behind_is_told(database: str, observer: psycopg.Connection) -> None:
    """An index that was left unfinished, an extension that is missing, settings of a table, and dead rows."""
    observer.execute("DROP EXTENSION pg_trgm CASCADE")
    observer.execute("ALTER TABLE sessions RESET (fillfactor)")
    observer.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_users_created_at'::regclass")
    faults, advice = (_texts(database, severity) for severity in Severity)

    assert "pg_trgm is missing" in faults
    assert "REINDEX INDEX CONCURRENTLY ix_users_created_at" in faults
    assert "ALTER TABLE sessions SET (fillfactor=80)" in advice


def test_room_that_the_outbox_does_not_use_is_told(
    database: str, observer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And dead rows, and an index of some size that nobody asked."""
    monkeypatch.setattr(checks, "_BLOATED_BYTES", 2**20)
    monkeypatch.setattr(checks, "_DEAD_ROWS", 1_000)
    monkeypatch.setattr(checks, "_UNUSED_BYTES", 8_192)
    observer.execute("ALTER TABLE outbox_slot_1 SET (autovacuum_enabled = off)")
    observer.execute(
        "INSERT INTO outbox (slot, lane, id, aggregatetype, aggregateid, type, payload, source, subject, occurred_at)"
        " SELECT 1, 1, gen_random_uuid(), 't', 'k', 't', '{}', 's', 's', now() FROM generate_series(1, 20000)"
    )
    observer.execute("DELETE FROM outbox")
    observer.execute(
        "INSERT INTO user_emails SELECT number::text, gen_random_uuid() FROM generate_series(1, 2000) number"
    )
    observer.execute("CREATE INDEX ix_nobody_asks ON user_emails (user_id)")
    observer.execute("SELECT pg_stat_force_next_flush()")
    advice = _texts(database, Severity.ADVICE)

    assert "outbox_slot_1 takes" in advice
    assert "outbox_slot_1 has 20,000 dead rows" in advice
    assert "ix_nobody_asks" in advice


def test_the_pools_are_looked_at(database: str) -> None:
    """Connections of the service that are all at work, and many that are not."""
    with contextlib.ExitStack() as opened:
        for _ in range(16):
            connection = psycopg.connect(database, application_name="userservice", autocommit=True)
            opened.enter_context(contextlib.closing(connection))
        assert "0 of 16 connections were at work" in (advice := _texts(database, Severity.ADVICE))
        assert "larger than is needed" in advice


def test_a_database_that_is_away_is_told_as_such(database: str) -> None:
    """As by every command."""
    with pytest.raises(DatabaseUnavailableError):
        check_database(f"{database}_of_nobody", _ONE)
