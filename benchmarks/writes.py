"""
What each operation makes the primary write: `python -m benchmarks.writes`.

On a server of its own with 100,000 users, each operation is done a number of times by one caller, after a checkpoint:
pages go into the log as a whole when they are first written, so it is the most that it can be. Printed are bytes of the
write-ahead log, flushes of it, rows, and entries of indexes, each for one operation: what tells how large a primary has
to be, whatever the machine.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import psycopg

from benchmarks.dataset.loading import load
from benchmarks.dataset.people import PASSWORD, People
from userservice_core.application.authentication import SignedIn
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.domain.sessions import Origin
from userservice_core.infrastructure.postgres.embedded import EmbeddedPostgres
from userservice_core.infrastructure.postgres.migrate import upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from userservice_core.application.use_cases import UseCases

_USERS: Final = 100_000
_TIMES: Final = 200
_ADDRESS: Final = {"address_line1": "1 Mill Lane", "city": "Berlin", "postal_code": "10115", "country_code": "DE"}

_COUNTERS: Final = """
    SELECT pg_current_wal_insert_lsn() - '0/0', (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'),
        sum(n_tup_ins + n_tup_upd + n_tup_del),
        sum((n_tup_ins + n_tup_upd - n_tup_hot_upd) * (SELECT count(*) FROM pg_index WHERE indrelid = relid))
    FROM pg_stat_user_tables
"""


@attrs.frozen
class Written:
    """What one operation writes."""

    bytes: float
    flushes: float
    rows: float
    index_entries: float


def measure(dsn: str, settings: Settings, *, times: int = _TIMES) -> Iterator[tuple[str, Written]]:
    """Yield each operation, and what it wrote on average."""
    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
        emails = [
            row[0]
            for row in connection.execute(
                "SELECT email FROM users WHERE status = 'active' AND deleted_at IS NULL ORDER BY user_id LIMIT %s",
                (times,),
            )
        ]
        for name, operation in _operations(emails):
            # Each in a process' worth of connections of its own: a backend tells its counts when it ends.
            with bootstrap(settings, background=False) as service:
                connection.execute("CHECKPOINT")
                before = _counters(connection)
                for number in range(times):
                    operation(service.use_cases, number)
            after = _counters(connection)
            yield name, Written(*((late - early) / times for early, late in zip(before, after, strict=True)))


def _operations(emails: list[str]) -> Iterator[tuple[str, Callable[[UseCases, int], object]]]:
    sessions: dict[int, SignedIn] = {}

    def sign_in(use_cases: UseCases, number: int) -> None:
        signed_in = use_cases.authentication.sign_in(email=emails[number], password=PASSWORD, origin=Origin())
        assert isinstance(signed_in, SignedIn)
        sessions[number] = signed_in

    def refresh(use_cases: UseCases, number: int) -> None:
        token = sessions[number].refresh_token
        sessions[number] = use_cases.authentication.refresh(refresh_token=token, origin=Origin())

    yield (
        "registration",
        lambda use_cases, number: use_cases.registration.register(
            email=f"new{number}@example.com", password="a sentence works well"
        ),
    )
    yield "sign-in", sign_in
    yield "refresh of a token", refresh
    yield (
        "change of a profile",
        lambda use_cases, number: use_cases.profiles.patch(
            user_id=sessions[number].user.id, patch={"bio": f"This is number {number}."}
        ),
    )
    yield (
        "new address",
        lambda use_cases, number: use_cases.addresses.add(user_id=sessions[number].user.id, values=_ADDRESS),
    )
    yield (
        "sign-out",
        lambda use_cases, number: use_cases.authentication.sign_out(
            access_token=None, refresh_token=sessions[number].refresh_token
        ),
    )


def _counters(connection: psycopg.Connection) -> tuple[int, ...]:
    for (process,) in connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ).fetchall():
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (process,))
    connection.execute("SELECT pg_stat_force_next_flush()")
    (row,) = connection.execute(_COUNTERS).fetchall()
    return tuple(int(each) for each in row)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        try:
            dsn = server.start()
            upgrade(dsn)
            load(People(users=_USERS, seed=1, until=datetime.now(UTC)), dsn)
            values = {
                "PROFILE": "test",
                "DATABASE_URL": dsn,
                "DATA_DIR": folder,
                "ISSUER": "https://accounts.example.com",
                "PUBLIC_URL": "https://accounts.example.com",
                "MAIL_URL": "console:",
                "LOG_LEVEL": "ERROR",
            }
            settings = Settings.from_environment({f"USERSERVICE_{name}": value for name, value in values.items()})
            print("| operation | bytes of log | flushes | rows | entries of indexes |")
            print("| --- | --- | --- | --- | --- |")
            for name, each in measure(dsn, settings):
                print(
                    f"| {name} | {each.bytes:,.0f} | {each.flushes:.1f} | {each.rows:.1f} | {each.index_entries:.1f} |"
                )
                sys.stdout.flush()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
