"""Pages of a list in PostgreSQL are those of the same list in memory."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import attrs
import pytest
from sqlalchemy import Column, DateTime, MetaData, Table, Text, Uuid, bindparam

from userservice_core.domain.lists import PageRequest, Position, Sort, Start, page_of
from userservice_core.infrastructure.postgres.lists import PagedList, SortColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from userservice_core.infrastructure.postgres.database import Database

_THINGS: Final = Table(
    "things",
    MetaData(),
    Column("thing_id", Uuid, primary_key=True),
    Column("name", Text(collation="C"), nullable=False),
    Column("seen_at", DateTime(timezone=True)),
)
_COLUMNS: Final = (_THINGS.c.thing_id, _THINGS.c.name, _THINGS.c.seen_at)
_NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


@attrs.frozen
class _Thing:
    id: UUID
    name: str
    seen_at: datetime | None


def _things(count: int) -> list[_Thing]:
    """Return things many of which share a name or a time, or have none."""
    chosen = random.Random(42)  # noqa: S311 - the same ones each time
    names = ["a", "B", "b", "é", "z\U0001f600"]
    times = [None, *(_NOON + timedelta(microseconds=each) for each in range(4))]
    return [_Thing(UUID(int=chosen.getrandbits(128)), chosen.choice(names), chosen.choice(times)) for _ in range(count)]


def _position(thing: _Thing, sort: Sort) -> Position:
    return Position(key=thing.name if sort.by == "name" else thing.seen_at, id=thing.id)


@pytest.fixture
def stored(observer: psycopg.Connection) -> list[_Thing]:
    """Things in a table of their own."""
    observer.execute(
        'CREATE TABLE things (thing_id uuid PRIMARY KEY, name text COLLATE "C" NOT NULL, seen_at timestamptz)'
    )
    things = _things(60)
    with observer.cursor() as cursor:
        cursor.executemany("INSERT INTO things VALUES (%s, %s, %s)", [attrs.astuple(thing) for thing in things])
    return things


@pytest.fixture
def listed(pool: Database, stored: list[_Thing]) -> PagedList:
    """The list of them."""
    assert stored
    return _list_over(pool)


def _list_over(pool: Database, *, counted_rows: int = 100) -> PagedList:
    return PagedList(
        pool,
        columns=_COLUMNS,
        source=_THINGS,
        row_id=_THINGS.c.thing_id,
        sorts={
            "name": SortColumn(key=_THINGS.c.name),
            "seenAt": SortColumn.of_time_or_null(_THINGS.c.seen_at),
        },
        filters={"name": _THINGS.c.name == bindparam("name"), "seen": _THINGS.c.seen_at.is_not(None)},
        counted_rows=counted_rows,
    )


_SORTS: Final = tuple(Sort.parse(text) for text in ("name", "-name", "seenAt", "-seenAt"))
_FILTERS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"name": "b"},
    {"seen": True},
    {"name": "é", "seen": True},
    {"name": "no"},
)


def test_each_page_is_that_of_memory(listed: PagedList, stored: list[_Thing]) -> None:
    """To the end and back, from each position and past each end, also from where no row is any more."""
    for sort, filters in itertools.product(_SORTS, _FILTERS):
        rows = [
            thing
            for thing in stored
            if filters.get("name", thing.name) == thing.name and ("seen" not in filters or thing.seen_at is not None)
        ]
        for request in _requests(stored, sort):
            expected = page_of(rows, request, position_of=lambda thing, sort=sort: _position(thing, sort))  # type: ignore[misc]
            assert listed.page(request, filters=filters, make=lambda row: _Thing(*row)) == expected


def _requests(stored: list[_Thing], sort: Sort) -> Iterator[PageRequest]:
    for offset in (0, 5, 60):
        yield PageRequest(sort=sort, limit=7, offset=offset)
    beside = [_position(thing, sort) for thing in stored[::6]]
    beside += [attrs.evolve(position, id=UUID(int=0)) for position in beside[:3]]
    for position, backwards, inclusive in itertools.product(beside, (False, True), (False, True)):
        start = Start(beside=position, backwards=backwards, inclusive=inclusive)
        yield PageRequest(sort=sort, limit=7, start=start)


@pytest.mark.usefixtures("stored")
def test_a_long_list_has_an_estimate(pool: Database, observer: psycopg.Connection) -> None:
    """Counted up to the bound, and past it what the planner believes, which is never less than was counted."""
    observer.execute("ANALYZE things")
    request = PageRequest(sort=Sort(by="name"))

    def total(counted_rows: int, **filters: str) -> tuple[int, bool]:
        listed = _list_over(pool, counted_rows=counted_rows)
        page = listed.page(request, filters=filters, make=lambda row: row)
        return page.total, page.total_is_estimate

    assert total(60) == (60, False)
    assert total(59) == (60, True)
    assert total(1) == (60, True)
    few, is_estimate = total(2, name="b")
    assert is_estimate
    assert 3 <= few <= 60
