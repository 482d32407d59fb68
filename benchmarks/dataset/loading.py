"""Loads a data set into a database that has the schema and no users."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from benchmarks.dataset.people import COLUMNS, ROLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.dataset.people import People

# Built once at the end instead of row by row: everything that is not in the order of the rows.
_INDEXES: Final = """
    SELECT format('DROP INDEX %%I', indexname), indexdef FROM pg_indexes
    WHERE schemaname = current_schema() AND tablename = ANY (%(tables)s) AND NOT EXISTS (
        SELECT FROM pg_constraint WHERE conname = indexname AND connamespace = current_schema()::regnamespace
    ) ORDER BY tablename, indexname
"""
_CONSTRAINTS: Final = """
    SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname),
        format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint
    WHERE connamespace = current_schema()::regnamespace AND conrelid::regclass::text = ANY (%(tables)s)
        AND (contype = 'f' OR conname = 'pk_user_emails')
    ORDER BY conname
"""
# Tables in partitions keep their indexes: one by one they would have to be put together again.
_BUILT_LAST: Final = [table for table in COLUMNS if not table.startswith("audit_")]


class NotEmptyError(Exception):
    """There are users already."""


def load(people: People, dsn: str, *, on_progress: Callable[[str, int], object] = lambda _step, _users: None) -> None:
    """
    Load *people*, all of them or none, and gather statistics.

    Indexes and foreign keys are dropped for that time, in the same transaction that builds them again and so checks
    what was loaded; nobody else can use the tables until then. Memory does not grow with the number of users.

    Args:
        people: Whom to make.
        dsn: Of the primary, as the owner of the tables.
        on_progress: Called with what is done next, and how many users were made until now.

    Raises:
        NotEmptyError: If there are users.
    """
    with contextlib.closing(psycopg.connect(dsn)) as connection:
        row = connection.execute("SELECT EXISTS (SELECT FROM users)").fetchone()
        if row != (False,):
            raise NotEmptyError
        connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
        tables = {"tables": _BUILT_LAST}
        built_last = [*connection.execute(_CONSTRAINTS, tables), *connection.execute(_INDEXES, tables)]
        for drop, _ in built_last:
            connection.execute(drop)
        connection.cursor().executemany(
            "INSERT INTO roles (role_id, name, name_key, is_system_role, version) VALUES (%s, %s, %s, false, 1)",
            [(role_id, name, name.casefold()) for role_id, name in ROLES.items()],
        )
        _copy(people, connection, on_progress)
        # Foreign keys last: they look rows up by the indexes.
        for drop, build in reversed(built_last):
            on_progress(drop.partition(" ")[2].replace("DROP ", ""), people.users)
            connection.execute(build)
        connection.commit()
        on_progress("statistics", people.users)
        connection.autocommit = True
        connection.execute("VACUUM (ANALYZE)")


def _copy(people: People, connection: psycopg.Connection, on_progress: Callable[[str, int], object]) -> None:
    done = 0
    for chunk in people.chunks():
        for table, lines in chunk.items():
            columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table]))
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write("".join(lines))
        done += len(chunk["users"])
        on_progress("users", done)
