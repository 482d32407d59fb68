"""What the roles of an installation may do that does not let one role do everything."""

from __future__ import annotations

import contextlib
from typing import Final

import psycopg
from psycopg import sql

from userservice_core.errors import ConfigurationError, DatabaseUnavailableError

_CONNECT_TIMEOUT_SECONDS: Final = 10

# The outbox is emptied by truncating its partitions, and relays look at the latest of its numbers.
_SERVICE: Final = (
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
    "REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {schema}.alembic_version FROM {role}",
    "REVOKE UPDATE, DELETE, TRUNCATE ON {schema}.audit_entries, {schema}.audit_details FROM {role}",
    "GRANT EXECUTE ON FUNCTION {schema}.add_audit_months(integer) TO {role}",
)
_WITHHOLD: Final = sql.SQL("REVOKE ALL ON {schema}.{partition} FROM {role}")
_AUDIT_PARTITIONS: Final = """
    SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent IN (to_regclass('audit_entries'), to_regclass('audit_details'))
"""
_ERASURE: Final = (
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT EXECUTE ON FUNCTION {schema}.erase_audit_details(uuid) TO {role}",
)


def grant_rights(dsn: str, *, service_role: str | None = None, erasure_role: str | None = None) -> None:
    """
    Give roles their rights to the tables as they are now; to be repeated after each migration.

    Args:
        dsn: Of the primary, as the role that owns the tables.
        service_role: May do what serving and relaying need: write the audit log, and not change it.
        erasure_role: May erase details of the audit log; the service's own role where it erases users itself.

    Raises:
        ConfigurationError: If there is no such role, or the tables belong to somebody else.
        DatabaseUnavailableError: If the database cannot be reached.
    """
    wanted = [
        (statement, role)
        for statements, role in ((_SERVICE, service_role), (_ERASURE, erasure_role))
        if role is not None
        for statement in statements
    ]
    if not wanted:
        return
    try:
        with contextlib.closing(psycopg.connect(dsn, connect_timeout=_CONNECT_TIMEOUT_SECONDS)) as connection:
            row = connection.execute("SELECT current_schema()").fetchone()
            schema = sql.Identifier("public" if row is None else row[0])
            for statement, role in wanted:
                connection.execute(sql.SQL(statement).format(schema=schema, role=sql.Identifier(role)))
            # A partition is read and written through its table, and never by itself.
            if service_role is not None:
                for (partition,) in connection.execute(_AUDIT_PARTITIONS).fetchall():
                    names = {"partition": sql.Identifier(partition), "role": sql.Identifier(service_role)}
                    connection.execute(_WITHHOLD.format(schema=schema, **names))
            connection.commit()
    except (psycopg.errors.UndefinedObject, psycopg.errors.InsufficientPrivilege) as error:
        raise ConfigurationError((f"the rights cannot be given: {error.diag.message_primary}",)) from error
    except psycopg.OperationalError as error:
        raise DatabaseUnavailableError from error
