"""What a wave costs in pages, whatever else there is: an old snapshot held open, much that waits, a key that is hot."""

from __future__ import annotations

import contextlib
import copy
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from tests.integration.messaging.outboxes import LEASE_SECONDS, waiting, write
from tests.interleavings import sampled_merges
from tests.outbox_records import USERS, keys_of_one_lane, outbox_record, sequences_of
from userservice_core.infrastructure.memory import InMemoryEventPublisher, InMemoryMetrics
from userservice_core.infrastructure.messaging.lines import Line
from userservice_core.infrastructure.messaging.relay import Relay
from userservice_core.infrastructure.postgres.database import Database, Link
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
from userservice_core.ports.publishing import LANES, lane_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from userservice_core.infrastructure.postgres.database import Cursor
    from userservice_core.infrastructure.postgres.statements import Statement, Step

_TOPICS: Final = ("userservice.access", "userservice.auth", "userservice.notifications", USERS)
_RECORDS_PER_LANE: Final = 50
_FILL: Final = """
    INSERT INTO outbox (lane, id, aggregatetype, aggregateid, type, payload, source, subject, occurred_at, sequence)
    SELECT mod(number, %(lanes)s), gen_random_uuid(),
        (CAST(%(topics)s AS text[]))[1 + mod(number / %(lanes)s, %(count)s)], number, 't', '{}', '/userservice', number,
        now(), 1
    FROM generate_series(1, %(records)s) AS number
"""


class _CountingLink(Link):
    """A connection that asks for the pages of each read that it sends with others, in the same transaction."""

    def __init__(self, link: Link) -> None:
        super().__init__(link.connection, link._guard)  # noqa: SLF001 - it stands in for that one
        self.pages = 0

    def run_all(self, steps: Sequence[Step]) -> Sequence[Cursor]:
        *before, last = steps
        explained = [(_analysed(statement), params) for statement, params in before if b"WITH" in statement.text]
        answers = super().run_all([*before, *explained, last])
        for answer in answers[len(before) : -1]:
            row = answer.fetchone()
            assert row is not None
            self.pages += _pages_of(row)
        return [*answers[: len(before)], answers[-1]]


class _Counting(Database):
    """A database that counts the pages that reads touch, whether they are in memory or not."""

    pages = 0

    def fetch_all(self, statement: Statement, **params: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - as its base
        self._count_pages(statement, params)
        return super().fetch_all(statement, **params)

    def fetch_one(self, statement: Statement, **params: Any) -> tuple[Any, ...] | None:  # noqa: ANN401 - as its base
        self._count_pages(statement, params)
        return super().fetch_one(statement, **params)

    @contextlib.contextmanager
    def lend(self) -> Iterator[Link]:
        with super().lend() as link:
            counting = _CountingLink(link)
            try:
                yield counting
            finally:
                link.is_lost = counting.is_lost
                self.pages += counting.pages

    def _count_pages(self, statement: Statement, params: dict[str, Any]) -> None:
        row = super().fetch_one(_analysed(statement), **params)
        assert row is not None
        self.pages += _pages_of(row)


def _analysed(statement: Statement) -> Statement:
    """Return the statement that runs another one and tells what that cost."""
    analysed = copy.copy(statement)
    analysed.text = b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + statement.text
    return analysed


def _pages_of(row: tuple[Any, ...]) -> int:
    """Return what a plan that was run has touched."""
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.fixture
def pool(database: str) -> Iterator[_Counting]:
    """The connections of a relay."""
    with contextlib.closing(_Counting(database)) as opened:
        yield opened


def _fill(connection: psycopg.Connection, records: int, *topics: str) -> None:
    """Write so many records in one transaction, spread evenly over lanes and *topics*."""
    connection.execute(_FILL, {"records": records, "topics": list(topics), "count": len(topics), "lanes": LANES})


def _wave(store: PostgresOutboxStore, pool: _Counting) -> tuple[int, int]:
    """Renew the leases, read and delete; return how many records it were, and the pages of the two reads."""
    pool.pages = 0
    leases = store.claim("r", lease_seconds=LEASE_SECONDS)
    found = store.read(leases, limit=_RECORDS_PER_LANE)
    pages = pool.pages
    store.delete(leases, found)
    return len(found), pages


# --- an old snapshot --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("records", "topics"), [(64, _TOPICS[-1:]), (640, _TOPICS[-1:]), (2_560, _TOPICS)])
def test_waves_stay_cheap_while_an_old_snapshot_is_open(
    pool: _Counting, observer: psycopg.Connection, database: str, records: int, topics: tuple[str, ...]
) -> None:
    """
    However many rows and leases are of the past, and though no partition can be truncated.

    A backup is such a snapshot: it has a lock on every table, and lasts for half an hour.
    """
    store = PostgresOutboxStore(pool)
    with psycopg.connect(database) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT FROM outbox")
        waves = []
        for _ in range(14):
            _fill(observer, records, *topics)
            waves.append(_wave(store, pool))
            for _ in range(15):
                store.claim("r", lease_seconds=LEASE_SECONDS)
        store.rotate()
        idle = _wave(store, pool)
        holder = {"pid": old.info.backend_pid}
        held = observer.execute("SELECT backend_xmin FROM pg_stat_activity WHERE pid = %(pid)s", holder).fetchone()
        assert held is not None
        assert held[0] is not None, "the old snapshot is not open any more"

    assert {count for count, _ in waves} == {records}
    first, last = waves[0][1], max(pages for _, pages in waves[-4:])
    assert last <= 2 * first
    assert idle[1] <= first


# --- a backlog --------------------------------------------------------------------------------------------------------


def _pages_of_an_event(observer: psycopg.Connection) -> int:
    """Return how many pages the insertion of one record touches, if it need not look for one with room."""
    pages = []
    for _ in range(5):
        with contextlib.closing(observer.cursor()) as cursor:
            cursor.execute(
                f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {_FILL}",
                {"records": 1, "topics": [USERS], "count": 1, "lanes": LANES},
            )
            row = cursor.fetchone()
            assert row is not None
            pages.append(_pages_of(row))
    return min(pages)


def test_a_backlog_makes_neither_waves_nor_writes_dear(pool: _Counting, observer: psycopg.Connection) -> None:
    """A hundred thousand records wait, in every lane of every topic."""
    store = PostgresOutboxStore(pool)
    a_wave = LANES * len(_TOPICS) * _RECORDS_PER_LANE
    _fill(observer, a_wave, *_TOPICS)
    write_before = _pages_of_an_event(observer)
    count, before = _wave(store, pool)
    _fill(observer, 100_000, *_TOPICS)
    observer.execute("ANALYZE outbox")

    write_after = _pages_of_an_event(observer)
    waves = [_wave(store, pool) for _ in range(3)]

    assert (count, [found for found, _ in waves]) == (a_wave, [a_wave] * 3)
    assert max(pages for _, pages in waves) <= 2 * before
    assert write_after <= 2 * write_before


# --- a key that is hot ------------------------------------------------------------------------------------------------


def _write_without_end(database: str, key: str, stop: threading.Event) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        number = 2_000
        while not stop.is_set():
            number += 1
            write(connection, outbox_record(key, number))


def test_a_hot_key_holds_up_no_other_lane(pool: _Counting, observer: psycopg.Connection, database: str) -> None:
    """
    One user is written as fast as the machine lets, and more of it waits than a wave takes.

    What others have committed goes out with the very next wave, which is bounded; what is hot goes out in order.
    """
    hot, *_ = keys_of_one_lane(1)
    others = [str(number) for number in range(200) if lane_of(USERS, str(number)) != lane_of(USERS, hot)]
    write(observer, *(outbox_record(hot, number) for number in range(1, 2_001)))
    bus, stop = InMemoryEventPublisher(), threading.Event()
    relay = Relay(
        PostgresOutboxStore(pool), [Line(name="bus", publisher=bus)], None, relay_id="r", metrics=InMemoryMetrics()
    )
    writer = threading.Thread(target=_write_without_end, args=(database, hot, stop))
    writer.start()
    try:
        for number in range(1, 11):
            write(observer, *(outbox_record(key, number) for key in others))
            seen = len(bus.published)

            relay.wave()

            published = bus.published[seen:]
            assert {record.key for record in published} == {hot, *others}
            assert len(published) == len(others) + _RECORDS_PER_LANE
    finally:
        stop.set()
        writer.join()

    assert all(sequences_of(bus.published, key) == list(range(1, 11)) for key in others)
    assert sequences_of(bus.published, hot) == list(range(1, 10 * _RECORDS_PER_LANE + 1))
    assert waiting(observer) > 2_000 - 10 * _RECORDS_PER_LANE


# --- what may not be missed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_no_commit_is_too_late_for_a_floor(
    pool: _Counting, observer: psycopg.Connection, database: str, seed: int
) -> None:
    """Two transactions draw their numbers early and end late, in any order with waves and with what others write."""
    first, second, third = keys_of_one_lane(3)
    store = PostgresOutboxStore(pool)
    published: list[str] = []

    def wave() -> None:
        leases = store.claim("r", lease_seconds=LEASE_SECONDS)
        found = store.read(leases, limit=2)
        store.delete(leases, found)
        published.extend(str(record.id) for record in found)

    with psycopg.connect(database) as one, psycopg.connect(database) as two:
        for order in sampled_merges(2, 2, 4, 4, count=12, seed=seed):
            late = [outbox_record(first, None), outbox_record(second, None)]
            others = [outbox_record(third, None) for _ in range(4)]
            steps: list[Iterator[Callable[[], object]]] = [
                iter([partial(write, one, late[0]), one.commit]),
                iter([partial(write, two, late[1]), two.commit]),
                iter([wave] * 4),
                iter([partial(write, observer, record) for record in others]),
            ]
            for actor in order:
                next(steps[actor])()
            for _ in range(4):
                wave()

            assert sorted(published) == sorted(str(record.id) for record in late + others), f"in the order {order}"
            published.clear()


def test_numbers_may_be_given_out_again(pool: _Counting, observer: psycopg.Connection) -> None:
    """As by a server that has lost its last writes; it empties what is not logged, and with it the epoch."""
    store = PostgresOutboxStore(pool)
    _fill(observer, 128, USERS)
    _wave(store, pool)
    assert _wave(store, pool)[0] == 0
    observer.execute("TRUNCATE outbox_epoch")
    observer.execute("ALTER TABLE outbox ALTER seq RESTART WITH 7")
    write(observer, outbox_record("again", 1))

    found = store.read(store.claim("r", lease_seconds=LEASE_SECONDS), limit=10)

    assert [(record.key, record.position) for record in found] == [("again", 7)]
    persistence = observer.execute("SELECT relpersistence FROM pg_class WHERE oid = 'outbox_epoch'::regclass")
    assert persistence.fetchone() == ("u",)


def test_what_a_floor_has_passed_is_found_in_the_end(pool: _Counting, observer: psycopg.Connection) -> None:
    """Somebody inserts a row with a number of the past, by hand: it is late, and it is counted."""
    metrics = InMemoryMetrics()
    store = PostgresOutboxStore(pool, metrics=metrics)
    for _ in range(2):
        _fill(observer, 640, USERS)
        _wave(store, pool)
    observer.execute(
        """
        INSERT INTO outbox (seq, lane, id, aggregatetype, aggregateid, type, payload, source, subject, occurred_at)
        OVERRIDING SYSTEM VALUE
        VALUES (3, 1, gen_random_uuid(), %s, 'k', 't', '{}', '/userservice', 'k', now())
        """,
        (USERS,),
    )
    found = [_wave(store, pool)[0]]
    for _ in range(LANES):
        store.rotate()
        found.append(_wave(store, pool)[0])

    assert (found[0], sum(found)) == (0, 1)
    assert metrics.counts["outbox_floor", "passed"] == 1
