"""The schema: what the migrations make, and that they can be run by anybody at any time."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from userservice_core.domain.permission_sets import EVERYTHING
from userservice_core.domain.roles import ADMIN_ROLE, SYSTEM_PERMISSIONS, SYSTEM_ROLES
from userservice_core.errors import DatabaseUnavailableError, SchemaMismatchError
from userservice_core.infrastructure.postgres import migrate
from userservice_core.infrastructure.postgres.tables import OUTBOX_SLOTS, metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a table consists of, in the server's own words; partitions follow their table.
_CATALOGUE: Final = """
    SELECT relname, 'column', attname, concat_ws(' ',
        format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END, nullif(attidentity::text, ''),
        (SELECT collname FROM pg_collation WHERE pg_collation.oid = attcollation),
        (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum))
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
        AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT conrelid::regclass::text, 'constraint', conname, pg_get_constraintdef(pg_constraint.oid)
    FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
    WHERE connamespace = 'public'::regnamespace AND NOT relispartition AND contype <> 'n'
    UNION ALL
    SELECT tablename, 'index', indexname, indexdef
    FROM pg_indexes JOIN pg_class ON relname = tablename AND relnamespace = 'public'::regnamespace
    WHERE schemaname = 'public' AND NOT relispartition
    UNION ALL
    SELECT relname, 'options', relkind::text, array_to_string(reloptions, ' ')
    FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
"""


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection


def _catalogue(connection: sa.Connection) -> set[tuple[str, ...]]:
    rows = connection.exec_driver_sql(_CATALOGUE)
    return {tuple(row) for row in rows if row[0] != "alembic_version"}


def _is_compared(_object: object, name: str | None, kind: str, _is_reflected: object, _compared_to: object) -> bool:
    return not (
        kind == "table" and name is not None and name.startswith(("outbox_slot_", "audit_entries_", "audit_details_"))
    )


def test_the_tables_of_the_code_are_those_of_the_migrations(database: str) -> None:
    """Alembic finds nothing to change between them."""
    with _connected(database) as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_object": _is_compared, "compare_type": True, "compare_server_default": True},
        )

        assert compare_metadata(context, metadata) == []


def test_the_server_sees_no_difference_either(database: str, empty_database: str) -> None:
    """Checks, collations, deletion rules and options are the same too, which Alembic does not compare."""
    with _connected(empty_database) as connection:
        connection.exec_driver_sql("CREATE EXTENSION pg_trgm")
        metadata.create_all(connection)
        made_from_code = _catalogue(connection)
    with _connected(database) as connection:
        migrated = _catalogue(connection)

    assert sorted(migrated - made_from_code) == []
    assert sorted(made_from_code - migrated) == []


def test_there_is_a_partition_for_each_slot(database: str) -> None:
    """A row is taken whatever the time of day."""
    with psycopg.connect(database) as connection:
        partitions = connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'outbox'::regclass"
        ).fetchone()

    assert partitions == (OUTBOX_SLOTS,)


def test_the_roles_and_permissions_of_the_system_are_there(database: str) -> None:
    """An installation starts with what the code refers to."""
    with psycopg.connect(database) as connection:
        roles = connection.execute("SELECT role_id, name FROM roles ORDER BY role_id").fetchall()
        permissions = connection.execute("SELECT permission_id, resource || ':' || action FROM permissions").fetchall()
        granted = connection.execute(
            "SELECT role_id, resource || ':' || action FROM role_permissions JOIN permissions USING (permission_id)"
        ).fetchall()

    assert roles == [(role.id, role.name) for role in SYSTEM_ROLES]
    assert set(permissions) == {(permission.id, permission.name) for permission in SYSTEM_PERMISSIONS}
    assert granted == [(ADMIN_ROLE.id, EVERYTHING)]


def test_expand_can_be_undone_and_done_again(empty_database: str) -> None:
    """The way down leaves nothing but Alembic's own table, and the way up works from there."""
    migrate.upgrade(empty_database)
    migrate.downgrade(empty_database, target="expand@base")
    with _connected(empty_database) as connection:
        left = _catalogue(connection)
        functions = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).scalar_one()
    migrate.upgrade(empty_database)

    assert left == set()
    assert functions == 0
    migrate.require_current(empty_database)


def test_several_processes_may_migrate_at_once(empty_database: str) -> None:
    """One does the work, the others wait for it and find nothing to do."""
    faults: list[BaseException] = []

    def upgrade() -> None:
        try:
            migrate.upgrade(empty_database)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to show it
            faults.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    migrate.require_current(empty_database)


def test_the_numbers_in_the_code_are_the_heads_of_the_branches() -> None:
    """A new revision is not forgotten by the check at the start."""
    script = ScriptDirectory.from_config(migrate.alembic_config())

    assert sorted(script.get_heads()) == [migrate.KNOWN_CONTRACT, migrate.NEEDED_EXPAND]


def test_a_schema_that_lacks_a_revision_is_refused(empty_database: str) -> None:
    """The service says what to run instead of failing at its first statement."""
    with pytest.raises(SchemaMismatchError, match="userservice migrate"):
        migrate.require_current(empty_database)


@pytest.mark.parametrize(("revision", "is_refused"), [("expand_9999", False), ("contract_9999", True)])
def test_a_schema_of_a_newer_version_is_refused_once_something_was_removed(
    database: str, revision: str, *, is_refused: bool
) -> None:
    """The version before runs on an expanded schema, so that an upgrade needs no stop, but not on a contracted one."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "UPDATE alembic_version SET version_num = %s WHERE split_part(version_num, '_', 1) = %s",
            (revision, revision.partition("_")[0]),
        )

    with pytest.raises(SchemaMismatchError) if is_refused else contextlib.nullcontext():
        migrate.require_current(database)
    with pytest.raises(SchemaMismatchError):
        migrate.upgrade(database)


def test_a_table_in_use_is_waited_for_in_short_turns(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that waited for long would make all who come after it wait; so it lets them through and tries again."""
    monkeypatch.setattr(migrate, "_TABLE_LOCK_TIMEOUT", "50ms")
    with psycopg.connect(database) as user_of_table, ThreadPoolExecutor(1) as thread:
        user_of_table.execute("SELECT FROM users")
        waiting = thread.submit(migrate.downgrade, database, target="expand@base")
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        with psycopg.connect(database) as newcomer:
            newcomer.execute("SET statement_timeout = '500ms'")
            newcomer.execute("SELECT FROM users")
        user_of_table.commit()
        waiting.result()

    with pytest.raises(SchemaMismatchError):
        migrate.require_current(database)


def test_a_database_that_is_not_there_is_told_as_such(database: str) -> None:
    """The error is one of the service, without the driver's text."""
    with pytest.raises(DatabaseUnavailableError):
        migrate.require_current(f"{database}_of_nobody")


def test_roles_that_were_there_get_the_time_of_their_user(empty_database: str) -> None:
    """In batches, one of which ends between two roles of a user; what the version before adds gets it as well."""
    migrate.upgrade(empty_database, target="expand_0016")
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(_THREE_ROLES_EACH)
        migrate.upgrade(empty_database, target="expand_0018")
        connection.execute("DELETE FROM user_roles WHERE role_id = (SELECT role_id FROM roles ORDER BY 1 LIMIT 1)")
        connection.execute(_ADD_ROLES)
        counted = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE user_created_at IS DISTINCT FROM created_at)"
            " FROM user_roles JOIN users USING (user_id)"
        ).fetchone()

    assert counted == (3 * _USERS, 0)


_USERS: Final = 1_700
_ADD_ROLES: Final = (
    "INSERT INTO user_roles (user_id, role_id) SELECT user_id, role_id FROM users, roles ON CONFLICT DO NOTHING"
)
_THREE_ROLES_EACH: Final = f"""
    INSERT INTO users (user_id, email, email_key, email_verified, status, attributes, created_at, updated_at,
        mfa_enabled, version, access_version, event_version)
    SELECT gen_random_uuid(), number, number, true, 'active', '{{}}', now() - number * interval '1 hour', now(), false,
        1, 1, 0
    FROM generate_series(1, {_USERS}) AS number;
    INSERT INTO roles (role_id, name, name_key, is_system_role, version)
    VALUES (gen_random_uuid(), 'third', 'third', false, 1);
    {_ADD_ROLES}
"""  # noqa: S608 - constants of the test
