"""
Bringing the schema up to date, and checking that it is.

Checking is part of each start, so it loads no Alembic; the numbers it compares are checked against the revisions by a
test.
"""

from __future__ import annotations

import contextlib
import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from userservice_core.errors import DatabaseUnavailableError, SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alembic.config import Config

NEEDED_EXPAND: Final = "expand_0027"
"""The newest revision that this version's statements rely on."""
KNOWN_CONTRACT: Final = "contract_0001"
"""The newest removal that this version knows of; it may lack columns that an even newer one has removed."""

_FOLDER: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x75736572  # "user": one number of the database's advisory locks is ours
_LOCK_WAIT_SECONDS: Final = 300
_POLL_SECONDS: Final = 0.1
# A change of a table waits this long for those who use it, and holds up those who come after it no longer than that.
_TABLE_LOCK_TIMEOUT: Final = "2s"
_TRIES: Final = 10
_CONNECT_TIMEOUT_SECONDS: Final = 10


def upgrade(dsn: str, *, target: str = "heads") -> None:
    """
    Apply the revisions that are missing; safe to be called by several processes at once, of which one does the work.

    Args:
        dsn: Of the primary itself. A pooler in transaction mode cannot hold the lock that keeps processes apart.
        target: `heads` for both branches, `expand` or `contract` for one, or a revision.

    Raises:
        SchemaMismatchError: If the schema was changed by a newer version of the service.
        DatabaseUnavailableError: If the database cannot be reached, or a lock was not had.
    """
    from alembic import command

    targets = {"heads": ("expand@head", "contract@head"), "expand": ("expand@head",), "contract": ("contract@head",)}
    for step in targets.get(target, (target,)):
        _run(dsn, functools.partial(command.upgrade, revision=step))


def downgrade(dsn: str, *, target: str) -> None:
    """
    Undo revisions of one branch, and lose what is stored in what they added.

    Args:
        dsn: As for :func:`upgrade`.
        target: Such as `expand@base` or `expand@-1`.

    Raises:
        DatabaseUnavailableError: If the database cannot be reached, or a lock was not had.
    """
    from alembic import command

    _run(dsn, functools.partial(command.downgrade, revision=target))


def require_current(dsn: str) -> None:
    """
    Check that this version can work with the schema.

    Raises:
        SchemaMismatchError: If a revision that it needs is missing, or a newer version has removed what it may use.
        DatabaseUnavailableError: If the database cannot be reached.
    """
    applied = _applied_revisions(dsn)
    expand = max((revision for revision in applied if revision.startswith("expand_")), default="")
    contract = max((revision for revision in applied if revision.startswith("contract_")), default="")
    if expand < NEEDED_EXPAND:
        raise SchemaMismatchError(found=expand, needed=NEEDED_EXPAND)
    if contract > KNOWN_CONTRACT:
        raise SchemaMismatchError(
            "The database schema was cleaned up by a newer version of the service. Run that version.",
            found=contract,
            known=KNOWN_CONTRACT,
        )


def alembic_config() -> Config:
    """Return Alembic's configuration; there is no file of it, so that an installation can migrate."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _applied_revisions(dsn: str) -> tuple[str, ...]:
    with _connected(dsn) as connection:
        try:
            return tuple(row[0] for row in connection.execute("SELECT version_num FROM alembic_version"))
        except psycopg.errors.UndefinedTable:
            return ()


def _run(dsn: str, step: Callable[[Config], None]) -> None:
    with _connected(dsn) as lock_holder, _locked(lock_holder):
        for number in range(1, _TRIES + 1):
            try:
                return _run_once(dsn, step)
            except psycopg.errors.LockNotAvailable as error:
                if number == _TRIES:
                    raise DatabaseUnavailableError("A table to be changed is in use. Nothing was changed.") from error
                time.sleep(number * _POLL_SECONDS)
    return None


def _run_once(dsn: str, step: Callable[[Config], None]) -> None:
    import sqlalchemy as sa
    from alembic.util import CommandError

    # The engine takes our connections as they are, so any DSN of libpq will do.
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: _connect(dsn), poolclass=sa.NullPool)
    config = alembic_config()
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SET lock_timeout = '{_TABLE_LOCK_TIMEOUT}'")
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.commit()
            config.attributes["connection"] = connection
            step(config)
    except CommandError as error:
        raise SchemaMismatchError(f"The schema cannot be changed by this version: {error}") from error
    except sa.exc.DBAPIError as error:
        raise error.orig or error from error
    finally:
        engine.dispose()


@contextlib.contextmanager
def _locked(connection: psycopg.Connection) -> Iterator[None]:
    """
    Hold the lock of migrations; the server releases it when the connection ends.

    It is tried for again and again instead of waited for: a waiting statement holds a snapshot, which
    CREATE INDEX CONCURRENTLY of the process at work would wait for in turn.
    """
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while not _scalar(connection, f"SELECT pg_try_advisory_lock({_LOCK})"):
        if time.monotonic() > deadline:
            raise DatabaseUnavailableError("Another process has been changing the schema for minutes.")
        time.sleep(_POLL_SECONDS)
    yield


def _scalar(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0]


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    try:
        connection = _connect(dsn)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailableError from error
    connection.autocommit = True
    with contextlib.closing(connection):
        yield connection


def _connect(dsn: str) -> psycopg.Connection:
    return psycopg.connect(
        dsn, application_name="userservice-migrate", connect_timeout=_CONNECT_TIMEOUT_SECONDS, prepare_threshold=None
    )
