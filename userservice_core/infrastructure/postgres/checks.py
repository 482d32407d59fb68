"""What is wrong with a database as it stands, and what could be better: read from its catalogue and statistics."""

from __future__ import annotations

import contextlib
import enum
import re
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg

from userservice_core.errors import DatabaseUnavailableError
from userservice_core.infrastructure.postgres.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECT_TIMEOUT_SECONDS: Final = 10
_DIRECT_CONNECTIONS: Final = 2
"""Of a worker beside its pool, where the direct address is given: one that notifies, and one that listens."""

_ADMINISTRATION: Final = 3
"""Connections that are left for migrations, commands and whoever looks at the database."""

_SLOW_MILLISECONDS: Final = 50.0
_SLOW_STATEMENTS: Final = 10
_CALLS: Final = 20
_SHOWN_CHARACTERS: Final = 120
_UNUSED_BYTES: Final = 8 * 2**20
_UNUSED_DAYS: Final = 7
_DEAD_SHARE: Final = 0.2
_DEAD_ROWS: Final = 10_000
_BLOATED_BYTES: Final = 64 * 2**20
_BYTES_OF_EVENT: Final = 4_096
_SAMPLES: Final = 20
_SAMPLE_SECONDS: Final = 0.1
_IDLE_SHARE: Final = 0.25


class Severity(enum.StrEnum):
    """How much a finding matters."""

    FAULT = "fault"
    """Something fails, or will once there is load."""
    ADVICE = "advice"


@attrs.frozen
class Finding:
    """Something about the database that whoever runs it should know."""

    severity: Severity
    text: str


@attrs.frozen(kw_only=True)
class Demand:
    """
    How many connections an installation opens at most.

    Attributes:
        instances: That serve HTTP, with those that a rolling update starts beside them.
        workers: Of an instance.
        pool_size: Connections of a worker.
        has_direct_address: Whether workers connect past a pooler, to notify and to listen.
        is_pooled: Whether the pools lead to a pooler and not to the server.
    """

    instances: int
    workers: int
    pool_size: int
    has_direct_address: bool = False
    is_pooled: bool = False

    @property
    def connections(self) -> int:
        """How many reach the server."""
        of_worker = (0 if self.is_pooled else self.pool_size) + (_DIRECT_CONNECTIONS if self.has_direct_address else 0)
        return self.instances * self.workers * of_worker


def connection_fault(dsn: str, demand: Demand) -> Finding | None:
    """
    Return what is wrong if a server does not take as many connections as are asked for.

    Args:
        dsn: Of the server itself, or of a pooler in front of it.
        demand: How many there can be.

    Raises:
        DatabaseUnavailableError: If the database cannot be reached.
    """
    with _connected(dsn) as connection:
        return _connection_fault(connection, demand)


def check_database(dsn: str, demand: Demand) -> tuple[Finding, ...]:
    """
    Return all that is wrong or could be better; takes some seconds, in which it looks how busy connections are.

    Args:
        dsn: As for :func:`connection_fault`.
        demand: How many connections there can be.

    Raises:
        DatabaseUnavailableError: If the database cannot be reached.
    """
    with _connected(dsn) as connection:
        fault = _connection_fault(connection, demand)
        return (
            *(() if fault is None else (fault,)),
            *_settings(connection),
            *_table_settings(connection),
            *_indexes(connection),
            *_dead_rows(connection),
            *_outbox(connection),
            *_slow_statements(connection),
            *_pool(connection, demand),
        )


# --- connections ------------------------------------------------------------------------------------------------------

_LIMITS: Final = """
    SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0),
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
"""
_BUSY: Final = """
    SELECT count(*) FILTER (WHERE state <> 'idle'), count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'userservice'
"""


def _connection_fault(connection: psycopg.Connection, demand: Demand) -> Finding | None:
    (limits,) = connection.execute(_LIMITS).fetchall()
    limit = min(each for each in limits if each is not None) - _ADMINISTRATION
    if demand.connections <= limit:
        return None
    return Finding(
        Severity.FAULT,
        f"{demand.instances} instances with {demand.workers} workers each open up to {demand.connections} connections,"
        f" and the server has {limit} for them. Lower USERSERVICE_DATABASE_POOL_SIZE, raise max_connections, or put a"
        " pooler in between.",
    )


def _pool(connection: psycopg.Connection, demand: Demand) -> Iterator[Finding]:
    """Look for a moment how many of the connections of the service are at work."""
    most_busy = most = 0
    for _ in range(_SAMPLES):
        ((busy, opened),) = connection.execute(_BUSY).fetchall()
        most_busy, most = max(most_busy, busy), max(most, opened)
        time.sleep(_SAMPLE_SECONDS)
    if demand.is_pooled or most == 0:
        return
    seconds = _SAMPLES * _SAMPLE_SECONDS
    if most_busy == most >= demand.pool_size:
        advice = (
            "Requests wait for each other: raise USERSERVICE_DATABASE_POOL_SIZE if the server has processors to spare."
        )
    elif most > demand.pool_size and most_busy < most * _IDLE_SHARE:
        advice = "USERSERVICE_DATABASE_POOL_SIZE is larger than is needed at this time of day."
    else:
        advice = "The size of the pools fits."
    yield Finding(
        Severity.ADVICE,
        f"{most_busy} of {most} connections were at work at once within {seconds:.0f} seconds. {advice}",
    )


# --- settings ---------------------------------------------------------------------------------------------------------

_SETTINGS: Final = """
    SELECT name, setting FROM pg_settings WHERE name = ANY (%s)
"""


def _settings(connection: psycopg.Connection) -> Iterator[Finding]:
    names = ["autovacuum", "idle_in_transaction_session_timeout", "random_page_cost", "statement_timeout"]
    settings: dict[str, str] = dict(connection.execute(_SETTINGS, (names,)).fetchall())
    role = _one(connection, "SELECT quote_ident(current_user)")
    if settings["autovacuum"] != "on":
        yield Finding(Severity.FAULT, "autovacuum is off: tables grow, and statistics go stale.")
    for name, value in (("idle_in_transaction_session_timeout", "15s"), ("statement_timeout", "30s")):
        if settings[name] == "0":
            yield Finding(
                Severity.ADVICE,
                f"{name} is not set: what a frozen process leaves open holds its locks."
                f" ALTER ROLE {role} SET {name} = '{value}'",
            )
    if float(settings["random_page_cost"]) > _COST_OF_DISKS:
        yield Finding(
            Severity.ADVICE,
            f"random_page_cost is {settings['random_page_cost']}, as for disks that turn."
            f" On others: ALTER ROLE {role} SET random_page_cost = 1.1",
        )
    if not _one(connection, "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')"):
        yield Finding(
            Severity.FAULT, "pg_trgm is missing: a search for a part of an e-mail address reads all addresses."
        )


_COST_OF_DISKS: Final = 2.0

_OPTIONS: Final = """
    SELECT relname, coalesce(reloptions, '{}') FROM pg_class
    WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
"""


def _table_settings(connection: psycopg.Connection) -> Iterator[Finding]:
    """Compare the settings of tables with those that migrations gave them."""
    found = {name: set(options) for name, options in connection.execute(_OPTIONS)}
    for table in metadata.sorted_tables:
        wanted = {f"{name}={value}" for name, value in (table.dialect_options["postgresql"]["with"] or {}).items()}
        if lost := sorted(wanted - found.get(table.name, wanted)):
            yield Finding(
                Severity.ADVICE, f"{table.name} has lost settings: ALTER TABLE {table.name} SET ({', '.join(lost)})"
            )


# --- indexes and rows -------------------------------------------------------------------------------------------------

_INDEXES: Final = """
    SELECT indexrelid::regclass::text, indisvalid, indisunique, coalesce(idx_scan, 0), pg_relation_size(indexrelid),
        now() - (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database())
            > make_interval(days => %s)
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid LEFT JOIN pg_stat_user_indexes USING (indexrelid)
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'i'
"""
_DEAD: Final = """
    SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables
    WHERE schemaname = current_schema() AND n_dead_tup > %s AND n_dead_tup > %s * n_live_tup
"""
_OUTBOX: Final = """
    SELECT relname, pg_relation_size(pg_class.oid), (
        SELECT count(*) FROM (SELECT FROM outbox WHERE outbox.tableoid = pg_class.oid LIMIT 100000) AS kept
    ) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = 'outbox'::regclass
"""


def _indexes(connection: psycopg.Connection) -> Iterator[Finding]:
    for name, is_valid, is_unique, scans, size, is_old in connection.execute(_INDEXES, (_UNUSED_DAYS,)):
        if not is_valid:
            yield Finding(
                Severity.FAULT,
                f"{name} was left unfinished: it is written and not used. REINDEX INDEX CONCURRENTLY {name}",
            )
        elif scans == 0 and not is_unique and size > _UNUSED_BYTES and is_old is not False:
            since = f"for {_UNUSED_DAYS} days" if is_old else "since the statistics began"
            yield Finding(Severity.ADVICE, f"{name} ({size / 2**20:.0f} MB) was not used {since}.")


def _dead_rows(connection: psycopg.Connection) -> Iterator[Finding]:
    for name, dead, alive in connection.execute(_DEAD, (_DEAD_ROWS, _DEAD_SHARE)):
        yield Finding(
            Severity.ADVICE,
            f"{name} has {dead:,} dead rows beside {alive:,}: look for transactions that stay open, or VACUUM {name}",
        )


def _outbox(connection: psycopg.Connection) -> Iterator[Finding]:
    for name, size, rows in connection.execute(_OUTBOX):
        if size > _BLOATED_BYTES and rows * _BYTES_OF_EVENT < size / 2:
            yield Finding(
                Severity.ADVICE,
                f"{name} takes {size / 2**20:.0f} MB for {rows:,} events. Relays truncate it once it is empty and"
                " not in turn; it never is while a transaction stays open or a topic cannot be published.",
            )


_SLOW: Final = """
    SELECT calls, mean_exec_time, query FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND calls >= %s AND mean_exec_time > %s
    ORDER BY total_exec_time DESC LIMIT %s
"""


def _slow_statements(connection: psycopg.Connection) -> Iterator[Finding]:
    try:
        slow = connection.execute(_SLOW, (_CALLS, _SLOW_MILLISECONDS, _SLOW_STATEMENTS)).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.ObjectNotInPrerequisiteState):
        yield Finding(Severity.ADVICE, "pg_stat_statements is missing: slow statements cannot be told.")
        return
    for calls, milliseconds, query in slow:
        shown = re.sub(r"\s+", " ", query).strip()[:_SHOWN_CHARACTERS]
        yield Finding(Severity.ADVICE, f"{milliseconds:.0f} ms on average in {calls:,} calls: {shown}")


def _one(connection: psycopg.Connection, query: str) -> Any:  # noqa: ANN401 - any column
    row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0]


def are_of_one_server(first: str, second: str) -> bool:
    """Tell whether two addresses lead to the same host and port."""
    one, other = (psycopg.conninfo.conninfo_to_dict(dsn) for dsn in (first, second))
    return all(one.get(name) == other.get(name) for name in ("host", "hostaddr", "port"))


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    try:
        connection = psycopg.connect(
            dsn,
            application_name="userservice-check",
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT_SECONDS,
            prepare_threshold=None,
        )
    except psycopg.OperationalError as error:
        raise DatabaseUnavailableError from error
    with contextlib.closing(connection):
        yield connection
