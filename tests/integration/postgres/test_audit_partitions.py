"""The audit log in partitions: what was there stays as it is, and each month has its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import text

from userservice_core.errors import AlreadyExistsError
from userservice_core.infrastructure.postgres import migrate
from userservice_core.infrastructure.postgres.rights import grant_rights
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.testing.samples import sample_event_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from userservice_core.infrastructure.postgres.database import Database

_ENTRY: Final = """
    WITH entry AS (
        INSERT INTO audit_entries (at, entry_id, action, actor_kind, outcome, changed, request_id)
        VALUES (now() + %(ahead)s::interval, gen_random_uuid(), 'user.updated', 'system', 'succeeded', '{}', 'r')
        RETURNING at, entry_id, tableoid::regclass::text AS place
    ), detail AS (
        INSERT INTO audit_details (at, entry_id, subject_id, actor_id, before, after, ip)
        SELECT at, entry_id, '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002',
            '{}', '{}', '192.0.2.1' FROM entry
    )
    SELECT place FROM entry
"""
_MONTH: Final = "SELECT 'audit_entries_' || to_char((now() + %s::interval) AT TIME ZONE 'UTC', 'YYYY_MM')"


@pytest.fixture
def role(observer: psycopg.Connection) -> Iterator[str]:
    """A role that serves, and owns nothing."""
    name = f"app_{sample_event_id().hex}"
    observer.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'only-for-testing'")
    yield name
    observer.execute(f"DROP OWNED BY {name}")
    observer.execute(f"DROP ROLE {name}")


def _one(
    connection: psycopg.Connection, query: str, params: Sequence[object] | Mapping[str, object] | None = None
) -> object:
    row = connection.execute(query.encode(), params).fetchone()
    return None if row is None else row[0]


def _written(connection: psycopg.Connection, ahead: str) -> object:
    return _one(connection, _ENTRY, {"ahead": ahead})


def test_a_log_that_was_there_is_the_first_partition(empty_database: str) -> None:
    """Nothing of it is moved; the whole can be put together again."""
    migrate.upgrade(empty_database, target="expand_0019")
    with contextlib.closing(psycopg.connect(empty_database, autocommit=True)) as connection:
        for days in range(3):
            _written(connection, f"-{days} days")
        file = _one(connection, "SELECT pg_relation_filenode('audit_entries')")
        migrate.upgrade(empty_database)

        assert _written(connection, "0") == "audit_entries_before"
        assert _one(connection, "SELECT pg_relation_filenode('audit_entries_before')") == file
        assert _written(connection, "40 days") == _one(connection, _MONTH, ("40 days",))
        assert _one(connection, "SELECT count(*) FROM audit_entries") == 5

        migrate.downgrade(empty_database, target="expand_0019")
        counted = _one(connection, "SELECT count(*) FROM audit_entries JOIN audit_details USING (at, entry_id)")
    assert counted == 5


def test_an_entry_of_a_month_that_was_forgotten_is_kept(observer: psycopg.Connection) -> None:
    """It goes with the rest, and a month that has rows there gets no partition that would lack them."""
    assert _written(observer, "20 months") == "audit_entries_rest"
    assert _one(observer, "SELECT add_audit_months(24)") == 2 * 12 - 2
    assert _written(observer, "20 months") == "audit_entries_rest"
    assert _written(observer, "21 months") == _one(observer, _MONTH, ("21 months",))
    assert _one(observer, "SELECT add_audit_months(24)") == 0


def test_who_serves_adds_months_and_changes_none(database: str, observer: psycopg.Connection, role: str) -> None:
    """Rights are to the table; a partition is nobody's but the owner's, also one that is made later."""
    grant_rights(database, service_role=role)
    with contextlib.closing(
        psycopg.connect(make_conninfo(database, user=role, password="only-for-testing"), autocommit=True)
    ) as connection:
        place = _written(connection, "40 days")
        added = _one(connection, "SELECT add_audit_months(13)")
        for partition in (place, "audit_entries_before", "audit_entries_rest", "audit_details_rest"):
            for change in (
                f"DELETE FROM {partition}",  # noqa: S608 - a name of ours
                f"TRUNCATE {partition}",
                f"INSERT INTO {partition} DEFAULT VALUES",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table"):
                    connection.execute(change.encode())
    changes = (f"DELETE FROM {place}", f"TRUNCATE {place}", "TRUNCATE audit_entries_rest")  # noqa: S608 - as above
    for change in changes:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            observer.execute(change.encode())

    assert added == 2


def test_rights_that_were_given_before_are_those_of_the_new_table(empty_database: str, role: str) -> None:
    """So that the version before goes on to write while the schema is changed."""
    migrate.upgrade(empty_database, target="expand_0019")
    with contextlib.closing(psycopg.connect(empty_database, autocommit=True)) as connection:
        connection.execute(f"GRANT SELECT, INSERT ON audit_entries, audit_details TO {role}".encode())
        migrate.upgrade(empty_database)
    with contextlib.closing(
        psycopg.connect(make_conninfo(empty_database, user=role, password="only-for-testing"), autocommit=True)
    ) as connection:
        assert _written(connection, "0") == "audit_entries_before"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM audit_entries")
    with contextlib.closing(psycopg.connect(empty_database, autocommit=True)) as connection:
        connection.execute(f"DROP OWNED BY {role}".encode())


@pytest.mark.parametrize("ahead", ["0", "40 days", "20 months"])
def test_an_entry_is_there_once_in_every_partition(pool: Database, observer: psycopg.Connection, ahead: str) -> None:
    """And a second one of its id is told as that, whatever the name of the partition."""
    _written(observer, ahead)

    for table in ("audit_entries", "audit_details"):
        with pytest.raises(AlreadyExistsError):
            pool.execute(Statement(text(f"INSERT INTO {table} SELECT * FROM {table}")))  # noqa: S608 - names of ours


def test_details_are_erased_in_every_partition(observer: psycopg.Connection) -> None:
    """Those about a user go, and where from they did what they did."""
    places = {_written(observer, ahead) for ahead in ("0", "40 days", "20 months")}
    observer.execute("SELECT erase_audit_details('00000000-0000-0000-0000-000000000002')")
    assert _one(observer, "SELECT count(ip) FROM audit_details") == 0
    observer.execute("SELECT erase_audit_details('00000000-0000-0000-0000-000000000001')")

    assert len(places) == 3
    assert _one(observer, "SELECT count(*) FROM audit_details") == 0
    assert _one(observer, "SELECT count(*) FROM audit_entries") == 3
