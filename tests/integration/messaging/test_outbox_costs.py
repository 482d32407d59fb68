"""What a wave costs in pages, whatever else there is: an old snapshot held open, a million that wait, a key that is hot."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.integration.messaging.outboxes import LEASE_SECONDS
from tests.outbox_records import outbox_record
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
from userservice_core.ports.publishing import LANES, lane_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.infrastructure.postgres.statements import Statement

TOPICS = ("userservice.access", "userservice.auth", "userservice.notifications", "userservice.users")

_FILL = """
    INSERT INTO outbox (lane, id, aggregatetype, aggregateid, type, payload, source, subject, occurred_at, sequence)
    SELECT mod(number, %(lanes)s), gen_random_uuid(), (CAST(%(topics)s AS text[]))[1 + mod(number / %(lanes)s, %(count)s)], number, 't',
        '{}', '/userservice', number, now(), 1
    FROM generate_series(1, %(records)s) AS number
"""


class Explained(Database):
    """A database that counts the pages that each read touches, in memory or not."""

    pages = 0
    show = False

    def fetch_all(self, statement: Statement, **params: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - as its base
        self._explain(statement, params)
        return super().fetch_all(statement, **params)

    def fetch_one(self, statement: Statement, **params: Any) -> tuple[Any, ...] | None:  # noqa: ANN401 - as its base
        self._explain(statement, params)
        return super().fetch_one(statement, **params)

    def _explain(self, statement: Statement, params: dict[str, Any]) -> None:
        analysed = copy.copy(statement)
        analysed.text = b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + statement.text
        if self.show:
            text = copy.copy(statement)
            text.text = b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, COSTS ON) " + statement.text
            print("\n".join(line for (line,) in super().fetch_all.__func__.__wrapped__(self, text, **params)) if False else "\n".join(line for (line,) in Database.fetch_all(self, text, **params)))
        row = super().fetch_one(analysed, **params)
        assert row is not None
        plan = row[0][0]["Plan"]
        self.pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.fixture
def pool(database: str) -> Iterator[Explained]:
    with contextlib.closing(Explained(database)) as opened:
        yield opened


def fill(connection: psycopg.Connection, records: int, *topics: str) -> None:
    connection.execute(
        _FILL, {"records": records, "topics": list(topics), "count": len(topics), "lanes": LANES}
    )


def wave(store: PostgresOutboxStore, pool: Explained, **options: Any) -> tuple[int, int]:
    pool.pages = 0
    leases = store.claim("r", lease_seconds=LEASE_SECONDS)
    claimed = pool.pages
    found = store.read(leases, limit=50, **options)
    pages = pool.pages
    store.delete(leases, found)
    return len(found), (claimed, pages - claimed)


def test_probe(pool: Explained, observer: psycopg.Connection, database: str) -> None:
    import time
    store = PostgresOutboxStore(pool)
    print("empty", wave(store, pool))
    with psycopg.connect(database) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT FROM users")
        for cycle in range(12):
            fill(observer, 640, "userservice.users")
            print(cycle, wave(store, pool))
        for cycle in range(6):
            fill(observer, 1280, *TOPICS)
            print(cycle, wave(store, pool))
        fill(observer, 1280, *TOPICS)
        pool.show = False
        print("shown", wave(store, pool))
        pool.show = False
        print("idle", wave(store, pool))
        began = time.monotonic()
        leases = store.claim("r", lease_seconds=LEASE_SECONDS)
        for _ in range(300):
            store.read(leases, limit=50)
        print("idle read ms", (time.monotonic() - began) / 300 * 1000)
        began = time.monotonic()
        for _ in range(400):
            store._leases.claim("r", lease_seconds=LEASE_SECONDS)
        print("claim ms", (time.monotonic() - began) / 400 * 1000)
        fill(observer, 640, "userservice.users")
        print("after 400 claims", wave(store, pool))
        print("idle", wave(store, pool))
