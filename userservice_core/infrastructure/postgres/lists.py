"""
Pages of lists: one statement each, which an index on the sort key and the id begins in the middle.

The total comes with the page, counted up to a bound. Only a page past the last row, and a list longer than the bound,
take a second statement.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    true,
    tuple_,
)

from userservice_core.domain.lists import COUNTED_ROWS, Page, PageRequest, Position
from userservice_core.infrastructure.postgres.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from userservice_core.domain.lists import SortKey
    from userservice_core.infrastructure.postgres.database import Reads
    from userservice_core.infrastructure.postgres.rows import Row

T = TypeVar("T")

_KEPT_STATEMENTS: Final = 256
"""Of a list: each order, direction and choice of filters is a statement of its own."""

SEARCHED_ROWS: Final = 10_000
"""How many rows are looked at for one page, where a filter finds more than are counted."""

_EVERYTHING: Final = 2**31 - 1


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

    @property
    def is_falling(self) -> bool:
        """Whether rows are read from the greatest on."""
        return self.descending != self.backwards


@attrs.frozen(kw_only=True)
class Gathering:
    """
    How the rows that a filter finds are gathered, whatever they are sorted by then.

    A filter that finds few rows of many is answered by those: an index gives them, up to the bound of the total, and
    they are sorted. To walk the order until a page of them has been met would read as many more rows as there are
    more in the list. A filter that finds more than the bound is the other way round.

    Attributes:
        filtered: The table that the conditions are about.
        row_id: Its key, which is that of the list's rows.
        order: Columns of an index of it in whose order rows are gathered, so that no more are read than asked for.
        keys: What the list is sorted by: columns of this table, or of another one with a row for each of its rows.
        held_in: Instead of a condition, for a filter of this name, a table whose rows lead to those of *filtered*: the
            table, its reference to them, the condition, and the columns of its index.
    """

    filtered: Table
    row_id: Column[Any]
    order: tuple[Column[Any], ...]
    keys: Mapping[str, Column[Any]]
    held_in: Mapping[str, tuple[Table, Column[Any], ColumnElement[bool], tuple[Column[Any], ...]]]


class PagedList:
    """A list that can be read by pages; safe for many threads."""

    def __init__(
        self,
        database: Reads,
        *,
        columns: Sequence[ColumnElement[Any]],
        source: FromClause,
        row_id: ColumnElement[UUID],
        sorts: Mapping[str, SortColumn],
        filters: Mapping[str, ColumnElement[bool]],
        counted: tuple[FromClause, Sequence[ColumnElement[Any]]] | None = None,
        counted_rows: int = COUNTED_ROWS,
        gathering: Gathering | None = None,
        found_by_most: frozenset[str] = frozenset(),
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
            gathering: How rows are found where they are filtered; without it, by walking the order.
            found_by_most: Filters that leave most rows in the list, so that it is walked with them alone.
        """
        self._counted_from = counted
        self._counted_rows = counted_rows
        self._database = database
        self._columns = columns
        self._source = source
        self._id = row_id
        self.sorts: Final = sorts
        self.filters: Final = filters
        self._gathering = gathering
        self._found_by_most = found_by_most
        self._statement = functools.lru_cache(maxsize=_KEPT_STATEMENTS)(self._compiled)
        self._count_of = functools.lru_cache(maxsize=_KEPT_STATEMENTS)(self._compiled_count)
        self._plan_of = functools.lru_cache(maxsize=_KEPT_STATEMENTS)(self._compiled_plan)
        self._search_of = functools.lru_cache(maxsize=_KEPT_STATEMENTS)(self._compiled_search)
        self._edge_of = functools.lru_cache(maxsize=_KEPT_STATEMENTS)(self._compiled_edge)

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
        is_first = request.start is None and request.offset == 0
        counted = rows[0][2] if rows else 0 if is_first else self._count(shape, filters)
        if counted <= self._counted_rows:
            return Page.cut(request, _placed(rows, make), total=counted)
        searched_to = None
        if self._is_gathered(shape.filters):
            rows, searched_to = self._search(shape, request, filters)
        return Page.cut(
            request,
            _placed(rows, make),
            total=self._estimate(shape, filters),
            total_is_estimate=True,
            searched_to=searched_to,
        )

    def statement(self, shape: Shape) -> Statement:
        """Return the statement of pages of a *shape*; its parameters are those of :meth:`page`."""
        return self._statement(shape)

    def search_statements(self, shape: Shape) -> tuple[Statement, ...]:
        """Return those that are run where a filter finds more rows than are counted; none where it is not gathered."""
        return (self._search_of(shape), self._edge_of(shape)) if self._is_gathered(shape.filters) else ()

    def _search(
        self, shape: Shape, request: PageRequest, filters: Mapping[str, Any]
    ) -> tuple[list[Row], Position | None]:
        """
        Walk the order until a page is full, but no further than a bound.

        Returns:
            The rows, and how far was looked for them; None: to the end, or until there were enough.
        """
        start = _start_of(request)
        # Who jumps to a page by its number is not told where to go on, so the search for it has no bound but its time.
        searched = SEARCHED_ROWS if request.offset == 0 else _EVERYTHING
        limits = {"row_limit": request.limit + 1, "row_offset": request.offset, "searched": searched}
        rows = self._database.fetch_all(self._search_of(shape), **filters, **limits, **start)
        if len(rows) > request.limit or searched == _EVERYTHING:
            return rows, None
        edge = self._database.fetch_one(self._edge_of(shape), searched=searched - 1, **start)
        return rows, None if edge is None else Position(key=edge[0], id=edge[1])

    def _count(self, shape: Shape, filters: Mapping[str, Any]) -> int:
        row = self._database.fetch_one(self._count_of(shape.sort, shape.descending, shape.filters), **filters)
        return row[0] if row else 0

    def _estimate(self, shape: Shape, filters: Mapping[str, Any]) -> int:
        row = self._database.fetch_one(self._plan_of(shape.filters), **filters)
        planned = row[0][0]["Plan"]["Plan Rows"] if row else 0
        return max(self._counted_rows + 1, int(planned))

    def _is_gathered(self, filters: frozenset[str]) -> bool:
        return self._gathering is not None and not filters <= self._found_by_most

    # --- statements ---------------------------------------------------------------------------------------------------

    def _compiled(self, shape: Shape) -> Statement:
        if self._is_gathered(shape.filters):
            return Statement(self._gathered_page(shape))
        rows = (
            select(
                self.sorts[shape.sort].key,
                self._id,
                self._counted(shape.sort, shape.descending, shape.filters),
                *self._columns,
            )
            .select_from(self._source)
            .where(*self._conditions(shape.filters))
        )
        return Statement(self._cut(rows, shape, self.sorts[shape.sort].key, self._id))

    def _gathered_page(self, shape: Shape) -> Select[Any]:
        """Gather what the filters find, sort it, and read the rows of one page."""
        found = self._gathered(shape.sort, shape.filters).cte("found").prefix_with("MATERIALIZED")
        counted = select(func.count()).select_from(found).scalar_subquery()
        page = self._cut(select(found.c.key, found.c.id), shape, found.c.key, found.c.id).subquery("page")
        return self._rows_of(page, shape, counted)

    def _gathered(self, sort: str, filters: frozenset[str]) -> Select[Any]:
        """
        Return keys and ids of what the filters find, up to one more than is counted.

        A subquery with OFFSET is not merged into the query around it. So each row is looked up by its key, in the order
        of the index that led to it, and no more are than asked for; joined, whole tables would be read where the
        planner expects many rows.
        """
        gathering = self._require_gathering()
        key = gathering.keys[sort]
        held = [name for name in sorted(filters) if name in gathering.held_in]
        conditions = [self.filters[name] for name in sorted(filters) if name not in held[:1]]
        filtered = gathering.filtered
        if not held:
            found = (
                select(filtered).where(*conditions).order_by(*gathering.order).limit(self._counted_rows + 1)
            ).subquery("filtered")
        else:
            table, reference, condition, order = gathering.held_in[held[0]]
            looked_up = (
                select(filtered).where(gathering.row_id == reference, *conditions).offset(0).lateral("looked_up")
            )
            found = (
                select(looked_up)
                .select_from(table.join(looked_up, true()))
                .where(condition)
                .order_by(*order)
                .limit(self._counted_rows + 1)
                .subquery("filtered")
            )
        row_id = found.c[gathering.row_id.name]
        if key.table is filtered:
            return select(found.c[key.name].label("key"), row_id.label("id"))
        (other_id,) = key.table.primary_key
        sorted_by = select(key.label("key")).where(other_id == row_id).offset(0).lateral("sorted_by")
        return select(sorted_by.c.key, row_id.label("id")).select_from(found.join(sorted_by, true()))

    def _compiled_search(self, shape: Shape) -> Statement:
        """Walk the order, and look at each row on the way whether it fits, as far as the bound."""
        gathering = self._require_gathering()
        key = gathering.keys[shape.sort]
        stands_for = self._stands_for(shape)
        fits = and_(*self._conditions(shape.filters))
        if key.table is gathering.filtered:
            row_id: Column[Any] = gathering.row_id
            walked = select(key.label("key"), row_id.label("id"), fits.label("fits"))
        else:
            (row_id,) = key.table.primary_key
            looked_up = select(fits.label("fits")).where(gathering.row_id == row_id).offset(0).lateral("looked_up")
            walked = select(key.label("key"), row_id.label("id"), looked_up.c.fits).select_from(
                key.table.join(looked_up, true())
            )
        walked = walked.add_columns(stands_for(key).label("place"))
        on_the_way = (
            self._begun(self._ordered(walked, shape, stands_for(key), row_id), shape, stands_for(key), row_id)
            .limit(bindparam("searched", type_=Integer))
            .subquery("on_the_way")
        )
        fitting = self._ordered(
            select(on_the_way.c.key, on_the_way.c.id).where(on_the_way.c.fits),
            shape,
            on_the_way.c.place,
            on_the_way.c.id,
        )
        page = _limited(fitting).subquery("page")
        return Statement(self._rows_of(page, shape, literal_column("NULL")))

    def _compiled_edge(self, shape: Shape) -> Statement:
        """Return the last row of those that a search looks at, if there are as many."""
        gathering = self._require_gathering()
        key, stands_for = gathering.keys[shape.sort], self._stands_for(shape)
        row_id = gathering.row_id if key.table is gathering.filtered else next(iter(key.table.primary_key))
        walked = self._ordered(select(key, row_id), shape, stands_for(key), row_id)
        return Statement(
            self._begun(walked, shape, stands_for(key), row_id).limit(1).offset(bindparam("searched", type_=Integer))
        )

    def _rows_of(self, page: FromClause, shape: Shape, counted: ColumnElement[Any]) -> Select[Any]:
        """Read the columns of a page of keys and ids."""
        rows = select(page.c.key, page.c.id, counted, *self._columns).select_from(self._source, page)
        place = self._stands_for(shape)(page.c.key)
        return self._ordered(rows.where(self._id == page.c.id), shape, place, page.c.id)

    def _cut(self, rows: Select[Any], shape: Shape, key: ColumnElement[Any], row_id: ColumnElement[Any]) -> Select[Any]:
        """Leave what a page has of *rows*."""
        place = self._stands_for(shape)(key)
        return _limited(self._begun(self._ordered(rows, shape, place, row_id), shape, place, row_id))

    @staticmethod
    def _ordered(rows: Select[Any], shape: Shape, place: ColumnElement[Any], row_id: ColumnElement[Any]) -> Select[Any]:
        return rows.order_by(*(each.desc() if shape.is_falling else each for each in (place, row_id)))

    def _begun(
        self, rows: Select[Any], shape: Shape, place: ColumnElement[Any], row_id: ColumnElement[Any]
    ) -> Select[Any]:
        """Leave what comes after the start."""
        if not shape.starts:
            return rows
        key = bindparam("start_key", type_=self.sorts[shape.sort].key.type)
        here = tuple_(place, row_id)
        start = tuple_(self._stands_for(shape)(key), bindparam("start_id", type_=self._id.type))
        match shape.is_falling, shape.inclusive:
            case True, True:
                return rows.where(here <= start)
            case True, False:
                return rows.where(here < start)
            case False, True:
                return rows.where(here >= start)
            case _:
                return rows.where(here > start)

    def _stands_for(self, shape: Shape) -> Callable[[ColumnElement[Any]], ColumnElement[Any]]:
        column = self.sorts[shape.sort]
        return column.descending if shape.descending else column.ascending

    def _require_gathering(self) -> Gathering:
        if self._gathering is None:
            raise NotImplementedError
        return self._gathering

    def _counted(self, sort: str, descending: bool, filters: frozenset[str]) -> ColumnElement[int]:  # noqa: FBT001 - as the shape
        """
        Count the rows up to one more than the bound.

        In an order that an index has, so that no table is read as a whole.
        """
        if self._is_gathered(filters):
            found = self._gathered(sort, filters).subquery("found")
            return select(func.count()).select_from(found).scalar_subquery()
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


def _limited(rows: Select[Any]) -> Select[Any]:
    return rows.limit(bindparam("row_limit", type_=Integer)).offset(bindparam("row_offset", type_=Integer))


def _placed(rows: Sequence[Row], make: Callable[[Row], T]) -> list[tuple[Position, T]]:
    return [(Position(key=row[0], id=row[1]), make(row[3:])) for row in rows]


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
