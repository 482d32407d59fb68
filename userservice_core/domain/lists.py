"""
Pages of a list: each begins beside a row, named by its sort key and its id, and not at a number of rows.

So a row that is added or removed meanwhile moves no other one from page to page: whoever walks to the end has seen each
row that stayed exactly once.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from uuid import UUID

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

S = TypeVar("S")
T = TypeVar("T")

SortKey = str | int | datetime | None
"""What a list is sorted by: texts by code point, and None behind everything else, whatever the direction."""

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
MAX_OFFSET_ROWS: Final = 10_000
"""How far a page may be asked for by its number; what lies behind it has to be walked to."""
COUNTED_ROWS: Final = 10_000
"""Rows of a list that are counted; a longer one has an estimate."""


@attrs.frozen(kw_only=True)
class Sort:
    """
    An order of a list.

    Attributes:
        by: The name that clients know it by.
        descending: Whether the greatest key comes first; rows of equal keys follow by id, in the same direction.
    """

    by: str
    descending: bool = False

    @classmethod
    def parse(cls, text: str) -> Sort:
        """Read a name, which a minus in front turns around."""
        return cls(by=text.removeprefix("-"), descending=text.startswith("-"))


@attrs.frozen(kw_only=True)
class Position:
    """Where a row stands, or stood: there need not be one any more."""

    key: SortKey
    id: UUID


@attrs.frozen(kw_only=True)
class Start:
    """
    Where a page begins.

    Attributes:
        beside: The position that it is next to.
        backwards: Whether it holds what comes before it.
        inclusive: Whether a row at the position itself belongs to the page.
    """

    beside: Position
    backwards: bool = False
    inclusive: bool = False

    def turned(self) -> Start:
        """Return where everything begins that does not lie in this direction."""
        return Start(beside=self.beside, backwards=not self.backwards, inclusive=not self.inclusive)


@attrs.frozen(kw_only=True)
class PageRequest:
    """
    Which part of a list is wanted.

    Attributes:
        limit: Rows at most.
        start: None: from the first row on.
        offset: Rows to pass over from there.
    """

    sort: Sort
    limit: int = DEFAULT_LIMIT
    start: Start | None = None
    offset: int = 0

    @property
    def is_backwards(self) -> bool:
        """Whether rows are looked for in the opposite order of the one that they are shown in."""
        return self.start is not None and self.start.backwards


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """
    A part of a list.

    Attributes:
        rows: In the order asked for; fewer than the limit also where the rest has yet to be searched for.
        following: Where the next page begins; None: there is none.
        preceding: Where the page before begins; None: there is none.
        total: Rows of the whole list.
        total_is_estimate: Whether that is not exact.
    """

    rows: tuple[T, ...]
    following: Start | None = None
    preceding: Start | None = None
    total: int
    total_is_estimate: bool = False

    @classmethod
    def cut(
        cls,
        request: PageRequest,
        found: Sequence[tuple[Position, T]],
        *,
        total: int,
        total_is_estimate: bool = False,
        searched_to: Position | None = None,
    ) -> Page[T]:
        """
        Make a page of what was found for *request*.

        Args:
            request: What was asked for.
            found: The rows in the order in which they were looked for, which is from the start on; one more than the
                limit, where there is one.
            total: Rows of the whole list.
            total_is_estimate: Whether that is not exact.
            searched_to: Where the search for rows was given up before there were enough; the page after this one
                goes on there. None: it went to the end, or there were enough.
        """
        there_is_more = len(found) > request.limit
        came_from_somewhere = request.start is not None or request.offset > 0
        kept = found[: request.limit]
        if request.is_backwards:
            kept = kept[::-1]
        ends = (came_from_somewhere, there_is_more) if request.is_backwards else (there_is_more, came_from_somewhere)
        following: Start | None
        preceding: Start | None
        if kept:
            following, preceding = Start(beside=kept[-1][0]), Start(beside=kept[0][0], backwards=True)
        else:
            # Past the end: the only way is back, and what is at the position itself was not shown yet.
            turned = None if request.start is None else request.start.turned()
            following, preceding = turned, turned
        has_following, has_preceding = ends
        if searched_to is not None and request.is_backwards:
            has_preceding, preceding = True, Start(beside=searched_to, backwards=True)
        elif searched_to is not None:
            has_following, following = True, Start(beside=searched_to)
        return cls(
            rows=tuple(row for _, row in kept),
            following=following if has_following else None,
            preceding=preceding if has_preceding else None,
            total=total,
            total_is_estimate=total_is_estimate,
        )

    def showing(self, show: Callable[[T], S]) -> Page[S]:
        """Return the same page with each row as *show* makes it."""
        return Page(
            rows=tuple(show(row) for row in self.rows),
            following=self.following,
            preceding=self.preceding,
            total=self.total,
            total_is_estimate=self.total_is_estimate,
        )


def page_of(rows: Iterable[T], request: PageRequest, *, position_of: Callable[[T], Position]) -> Page[T]:
    """Return the page of a list that is in memory as a whole."""
    placed = [(position_of(row), row) for row in rows]
    descending = request.sort.descending
    known = sorted((each for each in placed if each[0].key is not None), key=_by_position, reverse=descending)
    unknown = sorted((each for each in placed if each[0].key is None), key=_by_position, reverse=descending)
    ordered = [*known, *unknown]
    if request.is_backwards:
        ordered.reverse()
    if request.start is not None:
        start = request.start
        ordered = [each for each in ordered if _lies_within(each[0], start, descending=descending)]
    return Page.cut(request, ordered[request.offset : request.offset + request.limit + 1], total=len(placed))


def _by_position(placed: tuple[Position, Any]) -> tuple[Any, ...]:
    return _comparable(placed[0])


def _comparable(position: Position) -> tuple[Any, ...]:
    """Return what compares with that of another position, if both have a key or neither has."""
    return (position.id.int,) if position.key is None else (position.key, position.id.int)


def _lies_within(position: Position, start: Start, *, descending: bool) -> bool:
    if position == start.beside:
        return start.inclusive
    first, second = (position, start.beside) if start.backwards else (start.beside, position)
    if (first.key is None) != (second.key is None):
        return second.key is None
    return (_comparable(first) < _comparable(second)) != descending
