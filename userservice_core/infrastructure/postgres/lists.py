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

SEARCHED_ROWS: Final = 5_000
"""How many rows are walked along for one page, where a filter finds more than are gathered and the index knows all."""

LOOKED_UP_ROWS: Final = 1_000
"""The same where each row is to be looked up in a place of its own; and no more are gathered for that, either."""

_EVERYTHING: Final = 2**31 - 1
_NO_HINTS: Final[Mapping[str, Any]] = {}


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


@attrs.frozen(kw_only=True, eq=False)
class Path:
    """
    A way to rows by an index: those that a filter finds, or all in an order.

    Attributes:
        table: What is read.
        row_id: Its reference to the rows of the list.
        answers: Filters by which the index finds rows.
        within: Filters that say where its order begins and ends.
        conditions: What each filter says in the columns of *table*; of `answers`, `within`, and whatever else is known
            here without a look at another table.
        order: Columns of the index in whose order rows come; none where it has no order.
        sort: What a list is sorted by whose order this is.
        keys: What the list is sorted by, as far as it is in *table*.
        is_scattered: Whether each row is fetched from another place than the one before.
    """

    table: FromClause
    row_id: Column[Any]
    answers: frozenset[str] = frozenset()
    within: frozenset[str] = frozenset()
    conditions: Mapping[str, ColumnElement[bool]]
    order: tuple[Column[Any], ...] = ()
    sort: str | None = None
    keys: Mapping[str, Column[Any]]
    is_scattered: bool = False

    def leads_to(self, filters: frozenset[str]) -> bool:
        """Whether it finds what one of *filters* wants, without passing the others by."""
        return not filters.isdisjoint(self.answers or self.within)

    def given(self, filters: frozenset[str]) -> list[ColumnElement[bool]]:
        """Return the conditions by which the index is entered."""
        return [self.conditions[name] for name in sorted(filters & (self.answers | self.within))]

    def checked(self, filters: frozenset[str]) -> list[ColumnElement[bool]]:
        """Return the conditions that are known of each row then."""
        return [
            self.conditions[name] for name in sorted(filters - self.answers - self.within) if name in self.conditions
        ]

    def unknown(self, filters: frozenset[str]) -> list[str]:
        """Return the filters for which a row of another table is needed."""
        return sorted(filters - self.conditions.keys())


@attrs.frozen(kw_only=True)
class Gathering:
    """
    How the rows that a filter finds are gathered, whatever they are sorted by then.

    A filter that finds few rows of many is answered by those: an index gives them, up to a bound, and they are sorted.
    To walk the order until a page of them has been met would read as many more rows as there are more in the list. A
    filter that finds more than the bound is the other way round.

    Attributes:
        filtered: The table that the conditions are about.
        row_id: Its key, which is that of the list's rows.
        keys: What the list is sorted by: columns of this table, or of another one with a row for each of its rows.
        paths: To what filters find, the narrowest first.
        walks: For each order, the path of all rows in it.
        held_in: For a filter that is about another table, its reference to the rows of the list, and the condition;
            together they find one row or none.
    """

    filtered: Table
    row_id: Column[Any]
    keys: Mapping[str, Column[Any]]
    paths: tuple[Path, ...]
    walks: Mapping[str, Path]
    held_in: Mapping[str, tuple[Column[Any], ColumnElement[bool]]]

    def leading(self, filters: frozenset[str]) -> list[Path]:
        """Return the paths to what one of *filters* finds."""
        return [path for path in self.paths if path.leads_to(filters)]

    def walk(self, sort: str, filters: frozenset[str]) -> Path:
        """Return the shortest path in an order."""
        ordered = (path for path in self.leading(filters) if path.sort == sort)
        return next(ordered, self.walks[sort])


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
        searched_rows: int = SEARCHED_ROWS,
        looked_up_rows: int = LOOKED_UP_ROWS,
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
            searched_rows: How many rows are walked along for one page.
            looked_up_rows: How many rows are looked up one by one for one page.
            gathering: How rows are found where they are filtered; without it, by walking the order.
            found_by_most: Filters that leave most rows in the list, so that it is walked with them alone.
        """
        self._counted_from = counted
        self._counted_rows = counted_rows
        self._searched_rows = searched_rows
        self._looked_up_rows = looked_up_rows
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
        self._found_of = functools.lru_cache(maxsize=_KEPT_STATEMENTS)(self._compiled_found)
        self._search_of = functools.lru_cache(maxsize=_KEPT_STATEMENTS)(self._compiled_search)
        self._edge_of = functools.lru_cache(maxsize=_KEPT_STATEMENTS)(self._compiled_edge)

    def page(
        self,
        request: PageRequest,
        *,
        filters: Mapping[str, Any],
        make: Callable[[Row], T],
        hints: Mapping[str, Any] = _NO_HINTS,
    ) -> Page[T]:
        """
        Return a page.

        Args:
            request: Which one.
            filters: The names of those that apply, with what each compares with; anything for one that does not.
            make: Makes a row of the list of a row of the columns.
            hints: Further parameters of the paths.
        """
        shape = _shape_of(request, frozenset(filters))
        if self._is_gathered(shape.filters):
            return self._gathered_page(shape, request, {**hints, **filters}, make)
        limits = {"row_limit": request.limit + 1, "row_offset": request.offset}
        rows = self._database.fetch_all(self.statement(shape), **filters, **limits, **_start_of(request))
        is_first = request.start is None and request.offset == 0
        counted = rows[0][2] if rows else 0 if is_first else self._count(shape, filters)
        if counted <= self._counted_rows:
            return Page.cut(request, self._placed(rows, make), total=counted)
        total = self._estimate(shape, filters, least=self._counted_rows + 1)
        return Page.cut(request, self._placed(rows, make), total=total, total_is_estimate=True)

    def statement(self, shape: Shape) -> Statement:
        """Return the statement of pages of a *shape* where nothing is gathered."""
        return self._statement(shape)

    def statements(self, shape: Shape) -> tuple[Statement, ...]:
        """Return those that pages of a *shape* may take, in the order in which they are tried."""
        if not self._is_gathered(shape.filters):
            return (self.statement(shape),)
        paths = self._require_gathering().leading(shape.filters)
        return (*(self._found_of(shape, path) for path in paths), self._search_of(shape), self._edge_of(shape))

    def _gathered_page(
        self, shape: Shape, request: PageRequest, given: Mapping[str, Any], make: Callable[[Row], T]
    ) -> Page[T]:
        """Read a page of what a filter finds, or of what is met on the way where all of them find too many."""
        gathering = self._require_gathering()
        limits = {"row_limit": request.limit + 1, "row_offset": request.offset}
        total, least = None, 0
        # Of one filter, all that were met were found; of several, some of what the narrowest finds.
        is_alone = len(shape.filters - self._found_by_most) == 1
        for path in gathering.leading(shape.filters):
            found = self._bound(path, shape.filters, without_look_ups=self._counted_rows)
            sorted_rows = found if shape.sort in path.keys else min(found, self._looked_up_rows)
            bounds = {"most_found": found, "most_sorted": sorted_rows}
            rows = self._database.fetch_all(
                self._found_of(shape, path), **given, **limits, **bounds, **_start_of(request)
            )
            _, _, counted, met, *_ = rows[0]
            if met <= found:
                total = counted
                if counted <= sorted_rows:
                    return Page.cut(
                        request, self._placed([row for row in rows if row[1] is not None], make), total=total
                    )
                break
            least = found + 1 if is_alone else 0
        rows, searched_to = self._search(shape, request, given)
        return Page.cut(
            request,
            self._placed(rows, make),
            total=self._estimate(shape, given, least=max(least, len(rows))) if total is None else total,
            total_is_estimate=total is None,
            searched_to=searched_to,
        )

    def _bound(self, path: Path, filters: frozenset[str], *, without_look_ups: int) -> int:
        """Return how many rows may be met on a path for one page: fewer where each of them has to be looked up."""
        return self._looked_up_rows if path.is_scattered or path.unknown(filters) else without_look_ups

    def _search(
        self, shape: Shape, request: PageRequest, given: Mapping[str, Any]
    ) -> tuple[list[Row], Position | None]:
        """
        Walk the order until a page is full, but no further than a bound.

        Returns:
            The rows, and how far was looked for them; None: to the end, or until there were enough.
        """
        given = {**given, **_start_of(request)}
        path = self._require_gathering().walk(shape.sort, shape.filters)
        # Who jumps to a page by its number is not told where to go on, so the search for it has no bound but its time.
        searched = _EVERYTHING
        if request.offset == 0:
            searched = self._bound(path, shape.filters, without_look_ups=self._searched_rows)
        limits = {"row_limit": request.limit + 1, "row_offset": request.offset, "searched": searched}
        rows = self._database.fetch_all(self._search_of(shape), **limits, **given)
        if len(rows) > request.limit or searched == _EVERYTHING:
            return rows, None
        edge = self._database.fetch_one(self._edge_of(shape), searched=searched - 1, **given)
        return rows, None if edge is None else Position(key=edge[0], id=edge[1])

    def _placed(self, rows: Sequence[Row], make: Callable[[Row], T]) -> list[tuple[Position, T]]:
        width = len(self._columns)
        return [(Position(key=row[0], id=row[1]), make(row[-width:])) for row in rows]

    def _count(self, shape: Shape, filters: Mapping[str, Any]) -> int:
        row = self._database.fetch_one(self._count_of(shape.sort, shape.descending, shape.filters), **filters)
        return row[0] if row else 0

    def _estimate(self, shape: Shape, filters: Mapping[str, Any], *, least: int) -> int:
        row = self._database.fetch_one(self._plan_of(shape.filters), **filters)
        planned = row[0][0]["Plan"]["Plan Rows"] if row else 0
        return max(least, int(planned))

    def _is_gathered(self, filters: frozenset[str]) -> bool:
        return self._gathering is not None and not filters <= self._found_by_most

    # --- statements ---------------------------------------------------------------------------------------------------

    def _compiled(self, shape: Shape) -> Statement:
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

    def _compiled_found(self, shape: Shape, path: Path) -> Statement:
        """
        Gather what a path leads to, up to one more than a bound, leave what fits, sort it, and read the rows of a page.

        There is a row without a page in it, too, for the numbers of those that fit and of those that were met.
        """
        met = (
            self._walked(path, shape)
            .where(*path.given(shape.filters))
            .order_by(*path.order)
            .limit(bindparam("most_found", type_=Integer) + 1)
            .cte("met")
            .prefix_with("MATERIALIZED")
        )
        number_met = select(func.count()).select_from(met).scalar_subquery()
        kept = self._fitting(met, path, shape).where(number_met <= bindparam("most_found", type_=Integer)).cte("kept")
        kept = kept.prefix_with("MATERIALIZED")
        counted = select(
            select(func.count()).select_from(kept).scalar_subquery().label("kept"), number_met.label("met")
        )
        counts = counted.cte("counted").prefix_with("MATERIALIZED")
        sortable = select(counts.c.kept).scalar_subquery() <= bindparam("most_sorted", type_=Integer)
        keyed = self._with_key(kept, path, shape).where(sortable)
        of_page = keyed.subquery("keyed")
        page = self._cut(select(of_page.c.key, of_page.c.id), shape, of_page.c.key, of_page.c.id).subquery("page")
        rows = select(page.c.key, page.c.id, counts.c.kept, counts.c.met, *self._columns).select_from(
            counts.outerjoin(page.join(self._source, self._id == page.c.id), true())
        )
        return Statement(self._ordered(rows, shape, self._stands_for(shape)(page.c.key), page.c.id))

    def _compiled_search(self, shape: Shape) -> Statement:
        """Walk the order, and look at each row on the way whether it fits, as far as the bound."""
        path = self._require_gathering().walk(shape.sort, shape.filters)
        stands_for = self._stands_for(shape)
        key = path.keys[shape.sort]
        walked = self._walked(path, shape).add_columns(stands_for(key).label("place")).where(*path.given(shape.filters))
        on_the_way = (
            self._begun(self._ordered(walked, shape, stands_for(key), path.row_id), shape, stands_for(key), path.row_id)
            .limit(bindparam("searched", type_=Integer))
            .subquery("on_the_way")
        )
        fitting = self._ordered(self._fitting(on_the_way, path, shape), shape, on_the_way.c.place, on_the_way.c.id)
        page = _limited(fitting).subquery("page")
        rows = select(
            page.c.key, page.c.id, literal_column("NULL"), literal_column("NULL"), *self._columns
        ).select_from(self._source, page)
        place = stands_for(page.c.key)
        return Statement(self._ordered(rows.where(self._id == page.c.id), shape, place, page.c.id))

    def _compiled_edge(self, shape: Shape) -> Statement:
        """Return the last row of those that a search looks at, if there are as many."""
        path = self._require_gathering().walk(shape.sort, shape.filters)
        place = self._stands_for(shape)(path.keys[shape.sort])
        walked = select(path.keys[shape.sort], path.row_id).select_from(path.table).where(*path.given(shape.filters))
        walked = self._begun(self._ordered(walked, shape, place, path.row_id), shape, place, path.row_id)
        return Statement(walked.limit(1).offset(bindparam("searched", type_=Integer)))

    def _walked(self, path: Path, shape: Shape) -> Select[Any]:
        """Return what a path leads to: the key, if it is there, the id, and whether what is known there fits."""
        key = path.keys.get(shape.sort)
        fits = and_(true(), *path.checked(shape.filters))
        columns = [path.row_id.label("id"), fits.label("fits")]
        return select(*([] if key is None else [key.label("key")]), *columns).select_from(path.table)

    def _fitting(self, walked: FromClause, path: Path, shape: Shape) -> Select[Any]:
        """
        Leave those of what was *walked* that fit, with the key if it is known.

        A subquery with OFFSET is not merged into the query around it. So each row is looked up by its key, in the order
        in which the path came to it; joined, whole tables would be read where the planner expects many rows.
        """
        fitting = select(*(column for column in walked.c if column.name in {"key", "id"})).where(walked.c.fits)
        gathering = self._require_gathering()
        joined = walked
        unknown = path.unknown(shape.filters)
        for name in (name for name in unknown if name in gathering.held_in):
            reference, condition = gathering.held_in[name]
            held = select(reference).where(reference == walked.c.id, condition).offset(0).lateral(f"has_{name}")
            joined = joined.join(held, true())
        if of_row := [self.filters[name] for name in unknown if name not in gathering.held_in]:
            row = (
                select(gathering.row_id).where(gathering.row_id == walked.c.id, *of_row).offset(0).lateral("looked_up")
            )
            joined = joined.join(row, true())
        return fitting.select_from(joined)

    def _with_key(self, kept: FromClause, path: Path, shape: Shape) -> Select[Any]:
        """Return keys and ids."""
        if shape.sort in path.keys:
            return select(kept.c.key, kept.c.id)
        key = self._require_gathering().keys[shape.sort]
        (row_id,) = key.table.primary_key
        sorted_by = select(key.label("key")).where(row_id == kept.c.id).offset(0).lateral("sorted_by")
        return select(sorted_by.c.key, kept.c.id).select_from(kept.join(sorted_by, true()))

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
        """Have the planner estimate; of what is held elsewhere, by a join, since of a subquery it expects one half."""
        held_in = {} if self._gathering is None else self._gathering.held_in
        source = self._source if self._counted_from is None else self._counted_from[0]
        conditions = self._conditions(filters - held_in.keys())
        for name in sorted(filters & held_in.keys()):
            reference, condition = held_in[name]
            source = source.join(reference.table, reference == self._require_gathering().row_id)
            conditions.append(condition)
        return Statement(select(literal_column("1")).select_from(source).where(*conditions)).explained()

    def _matching(self, filters: frozenset[str]) -> Select[Any]:
        source = self._source if self._counted_from is None else self._counted_from[0]
        return select(literal_column("1")).select_from(source).where(*self._conditions(filters))

    def _conditions(self, filters: frozenset[str]) -> list[ColumnElement[bool]]:
        return [self.filters[name] for name in sorted(filters)]


def _limited(rows: Select[Any]) -> Select[Any]:
    return rows.limit(bindparam("row_limit", type_=Integer)).offset(bindparam("row_offset", type_=Integer))


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
