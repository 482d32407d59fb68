"""
What a page of the list of users costs: filters that find few or many, each order, far pages and look-ups.

`python -m benchmarks.lists DSN DSN` compares databases that `benchmarks.dataset` filled, each with ten times as many
users as the one before, and prints a table; `--plot FILE` draws cost against rows. Pages of the database's files are
counted as the server counts them, so the machine does not matter; times are the server's too, and depend on it.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import statistics
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import attrs
import click
import psycopg

from benchmarks.dataset.people import (
    DOZENS_DOMAIN,
    DOZENS_ROLE,
    HALF_DOMAIN,
    HALF_ROLE,
    THOUSANDS_DOMAIN,
    THOUSANDS_ROLE,
)
from userservice_core.domain.ids import RoleId
from userservice_core.domain.lists import PageRequest, Position, Sort, Start
from userservice_core.domain.users import UserStatus
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.ports.context import deadline_after
from userservice_core.ports.users import USER_SORTS, UserFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from userservice_core.infrastructure.postgres.statements import Statement

LIMIT: Final = 50
FAR_PAGE: Final = 10_000
"""A page that is reached by its cursor; of fewer users than lie before it, the one in the middle."""

RATIO: Final = 1.5
"""How much dearer a page may be with ten times as many users, in pages of files."""

FEW_PAGES: Final = 100
"""What does not count: a tenth of what a page without a filter reads."""

GROWING_PAGES: Final = 1_000
"""What does not count where a part of an address is looked for: lists of its trigrams, which grow with the users."""

MOST_MILLISECONDS: Final = 20.0
"""How long the server may take for a page, 19 times of 20, on a machine that does nothing else."""

_DEADLINE_SECONDS: Final = 300.0
_PERCENTILE: Final = 0.95
What = tuple[str, str]
"""A filter and an order, or a look-up and what it is by."""


class MeasuredDatabase(Database):
    """
    A database that counts the pages it reads for lists and look-ups.

    Attributes:
        pages: Read since the last :meth:`reset`, from memory or from disk.
        milliseconds: As the server measured them.
    """

    pages: int = 0
    milliseconds: float = 0.0

    def reset(self) -> None:
        """Begin to count anew."""
        self.pages, self.milliseconds = 0, 0.0

    def fetch_all(self, statement: Statement, **params: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - any column
        """Run a statement twice: for its rows, and for what it costs."""
        self._measure(statement, params)
        return super().fetch_all(statement, **params)

    def fetch_one(self, statement: Statement, **params: Any) -> tuple[Any, ...] | None:  # noqa: ANN401 - any column
        """Run a statement twice, as :meth:`fetch_all` does."""
        if not statement.text.startswith(b"EXPLAIN"):
            self._measure(statement, params)
        return super().fetch_one(statement, **params)

    def _measure(self, statement: Statement, params: Mapping[str, Any]) -> None:
        analysed = copy.copy(statement)
        analysed.text = b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + statement.text
        row = super().fetch_one(analysed, **params)
        assert row is not None
        document = row[0][0]
        self.pages += document["Plan"]["Shared Hit Blocks"] + document["Plan"]["Shared Read Blocks"]
        self.milliseconds += document["Planning Time"] + document["Execution Time"]


@attrs.frozen(kw_only=True)
class Cost:
    """
    What one page cost.

    Attributes:
        pages: Of the database's files.
        milliseconds: That the server took, planning included: the median of several times, and
        slow_milliseconds: what 19 of 20 times stay below.
        rows: On the page.
        total: Users that the filter finds, as the page says.
    """

    pages: int
    milliseconds: float
    slow_milliseconds: float
    rows: int
    total: int


def allows(what: What, before: Cost, after: Cost) -> bool:
    """Tell whether a page may cost *after* among ten times as many users as where it cost *before*."""
    few = GROWING_PAGES if what[0].startswith("contains") else FEW_PAGES
    return after.pages <= before.pages * RATIO or after.pages <= before.pages + few


def filters_of(dsn: str) -> Mapping[str, UserFilter]:
    """Return filters by what they find: none, about 50, about 5,000, and about half of the users, of each kind."""
    with contextlib.closing(psycopg.connect(dsn)) as connection:
        row = connection.execute(
            "SELECT (SELECT created_at FROM users ORDER BY created_at DESC OFFSET 50 LIMIT 1),"
            " (SELECT created_at FROM users ORDER BY created_at DESC OFFSET 5000 LIMIT 1),"
            " (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY created_at) FROM users),"
            " (SELECT max(created_at) + interval '1 day' FROM users)"
        ).fetchone()
    assert row is not None
    dozens, thousands, half, none = row
    return {
        "no filter": UserFilter(),
        "role, 0": UserFilter(role_id=RoleId(UUID(int=0))),
        "role, 50": UserFilter(role_id=DOZENS_ROLE),
        "role, 5k": UserFilter(role_id=THOUSANDS_ROLE),
        "role, half": UserFilter(role_id=HALF_ROLE),
        "contains, 0": UserFilter(email_parts=("nobody-has-this",)),
        "contains, 50": UserFilter(email_parts=(DOZENS_DOMAIN,)),
        "contains, 5k": UserFilter(email_parts=(THOUSANDS_DOMAIN,)),
        "contains, half": UserFilter(email_parts=(HALF_DOMAIN,)),
        "created, 0": _since(none),
        "created, 50": _since(dozens),
        "created, 5k": _since(thousands),
        "created, half": _since(half),
        "status, 50": UserFilter(status=UserStatus.SUSPENDED),
        "status, 5k": UserFilter(status=UserStatus.DEACTIVATED),
        "status, most": UserFilter(status=UserStatus.ACTIVE),
        "deleted, 5k": UserFilter(deleted=True),
        "deleted, most": UserFilter(deleted=False),
        "contains 50 of role half": UserFilter(email_parts=(DOZENS_DOMAIN,), role_id=HALF_ROLE),
        "contains 5k of role half": UserFilter(email_parts=(THOUSANDS_DOMAIN,), role_id=HALF_ROLE),
        "contains half of role 50": UserFilter(email_parts=(HALF_DOMAIN,), role_id=DOZENS_ROLE),
        "contains half of role half": UserFilter(email_parts=(HALF_DOMAIN,), role_id=HALF_ROLE),
        "contains half of status 5k": UserFilter(email_parts=(HALF_DOMAIN,), status=UserStatus.DEACTIVATED),
        "status most of role 5k": UserFilter(status=UserStatus.ACTIVE, role_id=THOUSANDS_ROLE),
        "status most of created half": UserFilter(status=UserStatus.ACTIVE, created_from=half),
    }


def _since(moment: datetime) -> UserFilter:
    return UserFilter(created_from=moment)


def costs_of(dsn: str, *, times: int = 1) -> Iterator[tuple[What, Cost]]:
    """Measure the first page of each filter in each order, pages far away, and look-ups; each *times* times."""
    with contextlib.closing(MeasuredDatabase(dsn)) as database:
        reader = PostgresUserReader(database)
        for name, wanted in filters_of(dsn).items():
            for by in USER_SORTS:
                yield (name, by), _cost(database, _page(reader, wanted, Sort(by=by, descending=True)), times)
        for by in USER_SORTS:
            sort = Sort(by=by)
            start = _far_away(dsn, by)
            yield ("page 10,000", by), _cost(database, _page(reader, UserFilter(), sort, start), times)
        # The look-ups of single users: one that is in the middle of everything.
        with contextlib.closing(psycopg.connect(dsn)) as connection:
            found = connection.execute(
                "SELECT user_id, email_key FROM users WHERE created_at >="
                " (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY created_at) FROM users) LIMIT 1"
            ).fetchone()
        assert found is not None
        user_id, email_key = found
        by_email = UserFilter(email_key=email_key)
        yield ("look-up", "id"), _cost(database, lambda: (1, int(reader.get(user_id).id == user_id)), times)
        yield (
            ("look-up", "address"),
            _cost(database, lambda: (1, int(reader.find_by_email(email_key) is not None)), times),
        )
        yield (
            ("list of one address", "createdAt"),
            _cost(database, _page(reader, by_email, Sort(by="createdAt")), times),
        )


def _page(
    reader: PostgresUserReader, wanted: UserFilter, sort: Sort, start: Start | None = None
) -> Callable[[], tuple[int, int]]:
    def read() -> tuple[int, int]:
        page = reader.list_page(wanted, PageRequest(sort=sort, limit=LIMIT, start=start))
        return len(page.rows), page.total

    return read


def _cost(database: MeasuredDatabase, read: Callable[[], tuple[int, int]], times: int) -> Cost:
    taken = []
    rows = total = 0
    for _ in range(times):
        database.reset()
        with deadline_after(_DEADLINE_SECONDS):
            rows, total = read()
        taken.append(database.milliseconds)
    taken.sort()
    return Cost(
        pages=database.pages,
        milliseconds=statistics.median(taken),
        slow_milliseconds=taken[int(_PERCENTILE * (len(taken) - 1))],
        rows=rows,
        total=total,
    )


def _far_away(dsn: str, by: str) -> Start:
    """Return where the page begins that lies so far away, or in the middle where there are fewer users."""
    ordered = {
        "createdAt": "created_at, user_id FROM users ORDER BY created_at",
        "email": "email_key, user_id FROM users ORDER BY email_key",
        "lastLoginAt": "last_login_at, user_id FROM login_states ORDER BY coalesce(last_login_at, 'infinity')",
    }[by]
    with contextlib.closing(psycopg.connect(dsn)) as connection:
        users = connection.execute("SELECT count(*) FROM users").fetchone()
        assert users is not None
        passed = min(users[0] // 2, LIMIT * (FAR_PAGE - 1))
        row = connection.execute(f"SELECT {ordered}, user_id OFFSET {passed} LIMIT 1".encode()).fetchone()
    assert row is not None
    return Start(beside=Position(key=row[0], id=row[1]))


def table_of(costs: Sequence[Mapping[What, Cost]]) -> str:
    """Return what each page costs in one database after the other as a table, and how the last two compare."""
    names = [f"{cost_of_all(each):,}" for each in costs]
    columns = [f"{column} of {name}" for name in names for column in ("found", "pages", "p95 ms")]
    lines = [f"| filter | order | {' | '.join(columns)} | ratio | rows |", "| --- " * (len(columns) + 4) + "|"]
    for what, last in costs[-1].items():
        each = [cost[what] for cost in costs]
        cells = [f"{cost.total} | {cost.pages} | {cost.slow_milliseconds:.1f}" for cost in each]
        ratio = f"{last.pages / max(1, each[-2].pages):.2f}" if len(each) > 1 else ""
        lines.append(f"| {' | '.join((*what, *cells))} | {ratio} | {last.rows} |")
    return "\n".join(lines)


def cost_of_all(costs: Mapping[What, Cost]) -> int:
    """Return about how many users there are."""
    return costs["no filter", "createdAt"].total


def plot(costs: Sequence[Mapping[What, Cost]], path: str) -> None:
    """Draw pages and milliseconds against users, a panel for each order, to a file whose name says its kind."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 9), layout="constrained")
    panels = figure.subplots(2, len(USER_SORTS), sharex=True, sharey="row")
    users = [cost_of_all(each) for each in costs]
    for column, by in enumerate(USER_SORTS):
        drawn = [name for name, order in costs[-1] if order == by]
        for number, name in enumerate(drawn):
            style = {
                "color": f"C{number % 10}",
                "linestyle": ("-", "--", ":")[number // 10],
                "marker": "o",
                "markersize": 3,
            }
            lines = [each[name, by] for each in costs]
            panels[0][column].plot(users, [max(1, cost.pages) for cost in lines], label=name, **style)
            panels[1][column].plot(users, [cost.slow_milliseconds for cost in lines], **style)
        panels[0][column].set_title(f"by {by}")
        panels[1][column].axhline(MOST_MILLISECONDS, color="black", linewidth=0.8)
        panels[1][column].set_xlabel("users")
    for row, label in enumerate(("pages of files", "milliseconds, 19 of 20 below")):
        panels[row][0].set_ylabel(label)
        for panel in panels[row]:
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.grid(visible=True, which="major", linewidth=0.3)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    figure.savefig(path)


def faults_of(costs: Sequence[Mapping[What, Cost]]) -> dict[What, tuple[Cost, Cost]]:
    """Return what is dearer in one database than it may be after the one before."""
    return {
        what: (few[what], after)
        for few, many in itertools.pairwise(costs)
        for what, after in many.items()
        if not allows(what, few[what], after)
    }


@click.command(help=__doc__)
@click.option("--times", type=click.IntRange(min=1), default=20, show_default=True, help="Of each page.")
@click.option("--plot", "drawing", type=click.Path(dir_okay=False), help="Draw to this file: .svg, .png, .pdf.")
@click.argument("dsns", metavar="DSN...", nargs=-1, required=True)
def main(dsns: tuple[str, ...], times: int, drawing: str | None) -> None:
    """Print the table."""
    costs = sorted((dict(costs_of(dsn, times=times)) for dsn in dsns), key=cost_of_all)
    click.echo(table_of(costs))
    if drawing:
        plot(costs, drawing)
    for what, (before, after) in faults_of(costs).items():
        click.echo(f"Dearer than {RATIO} times: {', '.join(what)}: {before.pages}, {after.pages}", err=True)


if __name__ == "__main__":
    main()
