"""
Pages of lists: one statement each, which an index on the sort key and the id begins in the middle.

The total comes with the page, counted up to a bound. Only a page past the last row, and a list longer than the bound,
take a second statement.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from sqlalchemy import ColumnElement, FromClause, Integer, Select, bindparam, func, literal_column, select, tuple_

from userservice_core.domain.lists import COUNTED_ROWS, Page, PageRequest, Position
from userservice_core.infrastructure.postgres.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from userservice_core.domain.lists import SortKey
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.rows import Row

T = TypeVar("T")

_KEPT_STATEMENTS: Final = 256
"""Of a list: each order, direction and choice of filters is a statement of its own."""


@attrs.frozen(kw_only=True)
class SortColumn:
    """
    What a list can be sorted by.

    An index for it is on what the list is really sorted by and the id, in both directions the same.

    Attributes:
        key: The column.
        ascending: What stands for it where the least comes first; never null.
        descending: What stands for it where the greatest comes first; never null.
    """

    key: ColumnElement[Any]
    ascending: Callable[[ColumnElement[Any]], ColumnElement[Any]] = attrs.field(default=lambda key: key)
    descending: Callable[[ColumnElement[Any]], ColumnElement[Any]] = attrs.field(default=lambda key: key)

    @classmethod
    def of_time_or_null(cls, key: ColumnElement[Any]) -> SortColumn:
        """
        Sort rows without a time behind all others, whatever the direction.

        NULLS LAST would do so, too, but a place among nulls cannot be compared with, so an index could not be entered
        there. The end of time can; it needs an index on the expression for each direction.
        """
        return cls(
            key=key,
            ascending=lambda key: func.coalesce(key, literal_column("'infinity'::timestamptz")),
            descending=lambda key: func.coalesce(key, literal_column("'-infinity'::timestamptz")),
        )


@attrs.frozen(kw_only=True)
class Shape:
    """All that the text of a statement depends on."""

    sort: str
    descending: bool
    backwards: bool
    starts: bool
    inclusive: bool
    filters: frozenset[str]


class PagedList:
    """A list that can be read by pages; safe for many threads."""

    def __init__(
        self,
        database: Database,
        *,
        columns: Sequence[ColumnElement[Any]],
        source: FromClause,
        row_id: ColumnElement[UUID],
        sorts: Mapping[str, SortColumn],
        filters: Mapping[str, ColumnElement[bool]],
        counted: tuple[FromClause, Sequence[ColumnElement[Any]]] | None = None,
        counted_rows: int = COUNTED_ROWS,
    ) -> None:
        """
        Describe a list.

        Args:
            database: Where it is.
            columns: Of a row.
            source: The tables.
            row_id: What tells rows of equal keys apart.
            sorts: By the names that clients know.
            filters: Each by a name; what a filter compares with is a parameter of the same name, if it compares at all.
            counted: The tables of which each row of the list is one, if that are fewer than those of the page, and the
                columns of an index by which they are counted.
            counted_rows: Up to how many the total is exact.
        """
        self._counted_from = counted
        self._counted_rows = counted_rows
        self._database = database
        self._columns = columns
        self._source = source
        self._id = row_id
        self.sorts: Final = sorts
        self.filters: Final = filters
        self._statement = functools.lru_cache(maxsize=_KEPT_STATEMENTS)(self._compiled)
        self._count_of = functools.lru_cache(maxsize=_KEPT_STATEMENTS)(self._compiled_count)
        self._plan_of = functools.lru_cache(maxsize=_KEPT_STATEMENTS)(self._compiled_plan)

    def page(self, request: PageRequest, *, filters: Mapping[str, Any], make: Callable[[Row], T]) -> Page[T]:
        """
        Return a page.

        Args:
            request: Which one.
            filters: The names of those that apply, with what each compares with; anything for one that does not.
            make: Makes a row of the list of a row of the columns.
        """
        shape = _shape_of(request, frozenset(filters))
        limits = {"row_limit": request.limit + 1, "row_offset": request.offset}
        rows = self._database.fetch_all(self.statement(shape), **filters, **limits, **_start_of(request))
        found = [(Position(key=row[0], id=row[1]), make(row[3:])) for row in rows]
        is_first = request.start is None and request.offset == 0
        counted = rows[0][2] if rows else 0 if is_first else self._count(shape, filters)
        if counted <= self._counted_rows:
            return Page.cut(request, found, total=counted)
        return Page.cut(request, found, total=self._estimate(shape, filters), total_is_estimate=True)

    def statement(self, shape: Shape) -> Statement:
        """Return the statement of pages of a *shape*; its parameters are those of :meth:`page`."""
        return self._statement(shape)

    def _count(self, shape: Shape, filters: Mapping[str, Any]) -> int:
        row = self._database.fetch_one(self._count_of(shape.sort, shape.descending, shape.filters), **filters)
        return row[0] if row else 0

    def _estimate(self, shape: Shape, filters: Mapping[str, Any]) -> int:
        row = self._database.fetch_one(self._plan_of(shape.filters), **filters)
        planned = row[0][0]["Plan"]["Plan Rows"] if row else 0
        return max(self._counted_rows + 1, int(planned))

    # --- statements ---------------------------------------------------------------------------------------------------

    def _compiled(self, shape: Shape) -> Statement:
        column = self.sorts[shape.sort]
        stands_for = column.descending if shape.descending else column.ascending
        place = tuple_(stands_for(column.key), self._id)
        is_falling = shape.descending != shape.backwards
        rows = (
            select(column.key, self._id, self._counted(shape.sort, shape.descending, shape.filters), *self._columns)
            .select_from(self._source)
            .where(*self._conditions(shape.filters))
            .order_by(*(each.desc() if is_falling else each for each in (stands_for(column.key), self._id)))
            .limit(bindparam("row_limit", type_=Integer))
            .offset(bindparam("row_offset", type_=Integer))
        )
        if shape.starts:
            start = tuple_(
                stands_for(bindparam("start_key", type_=column.key.type)), bindparam("start_id", type_=self._id.type)
            )
            match is_falling, shape.inclusive:
                case True, True:
                    rows = rows.where(place <= start)
                case True, False:
                    rows = rows.where(place < start)
                case False, True:
                    rows = rows.where(place >= start)
                case _:
                    rows = rows.where(place > start)
        return Statement(rows)

    def _counted(self, sort: str, descending: bool, filters: frozenset[str]) -> ColumnElement[int]:  # noqa: FBT001 - as the shape
        """
        Count the rows up to one more than the bound.

        In an order that an index has, so that no table is read as a whole.
        """
        if self._counted_from is not None:
            _, order = self._counted_from
        else:
            column = self.sorts[sort]
            key = column.descending(column.key) if descending else column.ascending(column.key)
            order = tuple(each.desc() if descending else each for each in (key, self._id))
        bounded = self._matching(filters).order_by(*order).limit(self._counted_rows + 1).subquery("counted")
        return select(func.count()).select_from(bounded).scalar_subquery()

    def _compiled_count(self, sort: str, descending: bool, filters: frozenset[str]) -> Statement:  # noqa: FBT001 - as above
        return Statement(select(self._counted(sort, descending, filters)))

    def _compiled_plan(self, filters: frozenset[str]) -> Statement:
        return Statement(self._matching(filters)).explained()

    def _matching(self, filters: frozenset[str]) -> Select[Any]:
        source = self._source if self._counted_from is None else self._counted_from[0]
        return select(literal_column("1")).select_from(source).where(*self._conditions(filters))

    def _conditions(self, filters: frozenset[str]) -> list[ColumnElement[bool]]:
        return [self.filters[name] for name in sorted(filters)]


def _shape_of(request: PageRequest, filters: frozenset[str]) -> Shape:
    return Shape(
        sort=request.sort.by,
        descending=request.sort.descending,
        backwards=request.is_backwards,
        starts=request.start is not None,
        inclusive=request.start is not None and request.start.inclusive,
        filters=filters,
    )


def _start_of(request: PageRequest) -> dict[str, SortKey | UUID]:
    if request.start is None:
        return {}
    return {"start_key": request.start.beside.key, "start_id": request.start.beside.id}
