"""
What a page of the list of users costs, in pages of the database's files: filters that find few or many, each order.

`python -m benchmarks.lists SMALL LARGE` compares two databases that `benchmarks.dataset` filled, the second with ten
times as many users, and prints a table. Pages are counted as the server counts them, so the machine does not matter.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import attrs
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
from userservice_core.domain.lists import PageRequest, Sort
from userservice_core.domain.users import UserStatus
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.ports.context import deadline_after
from userservice_core.ports.users import USER_SORTS, UserFilter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from userservice_core.infrastructure.postgres.statements import Statement

LIMIT: Final = 50
_RATIO: Final = 1.5
_RATIO_OF_CONTAINS: Final = 3.0
"""Of a part of an address: the index looks into the lists of common trigrams, and these are longer."""

_DEADLINE_SECONDS: Final = 300.0


class MeasuredDatabase(Database):
    """
    A database that counts the pages it reads for lists.

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

    def _measure(self, statement: Statement, params: Mapping[str, Any]) -> None:
        analysed = copy.copy(statement)
        analysed.text = b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + statement.text
        row = super().fetch_one(analysed, **params)
        assert row is not None
        plan = row[0][0]["Plan"]
        self.pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        self.milliseconds += row[0][0]["Execution Time"]


@attrs.frozen
class Cost:
    """What one page cost: pages of files, the time the server took, and how many users the filter finds."""

    pages: int
    milliseconds: float
    total: int


def ratio_of(what: tuple[str, str]) -> float:
    """Return how much dearer a page may be with ten times as many users."""
    return _RATIO_OF_CONTAINS if "contains" in what[0] else _RATIO


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
    }


def _since(moment: datetime) -> UserFilter:
    return UserFilter(created_from=moment)


def costs_of(dsn: str) -> Iterator[tuple[tuple[str, str], Cost]]:
    """Measure the first page of each filter in each order."""
    with contextlib.closing(MeasuredDatabase(dsn)) as database:
        reader = PostgresUserReader(database)
        for name, wanted in filters_of(dsn).items():
            for by in USER_SORTS:
                database.reset()
                request = PageRequest(sort=Sort(by=by, descending=True), limit=LIMIT)
                with deadline_after(_DEADLINE_SECONDS):
                    page = reader.list_page(wanted, request)
                yield (name, by), Cost(database.pages, database.milliseconds, page.total)


def table_of(few: Mapping[tuple[str, str], Cost], many: Mapping[tuple[str, str], Cost]) -> str:
    """Return both as a table, and how they compare."""
    lines = [
        "| filter | order | found | pages | found among ten times as many | pages | ratio | ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (name, by), cost in many.items():
        before = few[name, by]
        ratio = cost.pages / max(1, before.pages)
        lines.append(
            f"| {name} | {by} | {before.total} | {before.pages} | {cost.total} | {cost.pages} | {ratio:.2f}"
            f" | {cost.milliseconds:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    few, many = (dict(costs_of(dsn)) for dsn in sys.argv[1:3])
    print(table_of(few, many))


if __name__ == "__main__":
    main()
