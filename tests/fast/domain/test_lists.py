"""Pages of a list in memory, which those of a database are compared with."""

from __future__ import annotations

from uuid import UUID

import attrs
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.domain.lists import Page, PageRequest, Position, Sort, SortKey, Start, page_of


@attrs.frozen
class _Row:
    id: UUID
    key: SortKey


_KEYS = st.one_of(st.none(), st.sampled_from("abc"))
_ROWS = st.dictionaries(st.integers(0, 30).map(lambda number: UUID(int=number)), _KEYS, max_size=20).map(
    lambda found: [_Row(row_id, key) for row_id, key in found.items()]
)
_SORTS = st.builds(Sort, by=st.just("key"), descending=st.booleans())


def _page(rows: list[_Row], request: PageRequest) -> Page[_Row]:
    return page_of(rows, request, position_of=lambda row: Position(key=row.key, id=row.id))


def _in_order(rows: list[_Row], sort: Sort) -> list[_Row]:
    by_id = sorted(rows, key=lambda row: row.id, reverse=sort.descending)
    by_key = sorted(by_id, key=lambda row: str(row.key), reverse=sort.descending)
    return sorted(by_key, key=lambda row: row.key is None)


@given(_ROWS, _SORTS, st.integers(1, 7), st.booleans())
def test_a_walk_shows_each_row_once_in_order(
    rows: list[_Row],
    sort: Sort,
    limit: int,
    backwards: bool,  # noqa: FBT001 - drawn
) -> None:
    """To the end, and from there back to the beginning; rows without a key are last, whatever the direction."""
    pages = [_page(rows, PageRequest(sort=sort, limit=limit))]
    while pages[-1].following is not None:
        pages.append(_page(rows, PageRequest(sort=sort, limit=limit, start=pages[-1].following)))

    assert [row for page in pages for row in page.rows] == _in_order(rows, sort)
    assert {page.total for page in pages} == {len(rows)}
    assert pages[0].preceding is None
    if not backwards:
        return
    back = [pages[-1]]
    while back[0].preceding is not None:
        back.insert(0, _page(rows, PageRequest(sort=sort, limit=limit, start=back[0].preceding)))

    assert [row for page in back for row in page.rows] == _in_order(rows, sort)


@given(_ROWS, _SORTS, st.integers(1, 4), st.data())
def test_rows_that_stay_are_seen_once_while_others_come_and_go(
    rows: list[_Row], sort: Sort, limit: int, data: st.DataObject
) -> None:
    """Between any two pages rows are added and removed; neither repeats nor hides one that stays, either way."""
    stored = {row.id: row for row in rows}
    stayed = dict(stored)

    def disturb() -> None:
        for row_id in data.draw(st.lists(st.sampled_from(sorted(stored) or [UUID(int=0)]), max_size=2), "removed"):
            stored.pop(row_id, None)
            stayed.pop(row_id, None)
        for number, key in data.draw(st.dictionaries(st.integers(31, 60), _KEYS, max_size=2), "added").items():
            stored.setdefault(UUID(int=number), _Row(UUID(int=number), key))

    page = _page([*stored.values()], PageRequest(sort=sort, limit=limit))
    seen = [*page.rows]
    while page.following is not None:
        disturb()
        page = _page([*stored.values()], PageRequest(sort=sort, limit=limit, start=page.following))
        seen.extend(page.rows)

    assert [row for row in seen if row.id in stayed] == _in_order([*stayed.values()], sort)
    assert len(seen) == len(set(seen))

    reached = _in_order([*stored.values()], sort)
    if page.rows:
        reached = reached[: reached.index(page.rows[-1]) + 1]
    stayed = {row.id: row for row in reached}
    seen_back = [*page.rows]
    while page.preceding is not None:
        disturb()
        page = _page([*stored.values()], PageRequest(sort=sort, limit=limit, start=page.preceding))
        seen_back[:0] = page.rows

    assert [row for row in seen_back if row.id in stayed] == _in_order([*stayed.values()], sort)
    assert len(seen_back) == len(set(seen_back))


@given(_ROWS, _SORTS, st.integers(1, 7), st.integers(0, 25))
def test_a_page_can_be_had_by_its_number(rows: list[_Row], sort: Sort, limit: int, offset: int) -> None:
    """With the way on from there."""
    page = _page(rows, PageRequest(sort=sort, limit=limit, offset=offset))
    ordered = _in_order(rows, sort)

    assert list(page.rows) == ordered[offset : offset + limit]
    assert (page.following is not None) == (offset + limit < len(rows))
    if page.following is not None:
        following = _page(rows, PageRequest(sort=sort, limit=limit, start=page.following))
        assert list(following.rows) == ordered[offset + limit : offset + 2 * limit]


def test_past_the_end_the_way_back_begins_at_the_position_itself() -> None:
    """The row there was on the page before, so a page back from nothing has to show it."""
    first, last = _Row(UUID(int=1), "a"), _Row(UUID(int=2), "b")
    start = Start(beside=Position(key="b", id=last.id))
    empty = _page([first, last], PageRequest(sort=Sort(by="key"), start=start))
    assert (empty.rows, empty.following) == ((), None)

    back = _page([first, last], PageRequest(sort=Sort(by="key"), start=empty.preceding))
    assert back.rows == (first, last)


def test_an_order_is_read() -> None:
    """A minus turns it around."""
    assert Sort.parse("createdAt") == Sort(by="createdAt")
    assert Sort.parse("-createdAt") == Sort(by="createdAt", descending=True)
