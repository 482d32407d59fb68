"""What a page of users costs with few and with many users: the same, but for one kind of filter."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import pytest

from benchmarks.lists import Cost, MeasuredDatabase, costs_of, ratio_of
from benchmarks.statements import USERS
from userservice_core.domain.lists import COUNTED_ROWS, Position, Sort, Start
from userservice_core.domain.lists import PageRequest as Asked
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.ports.users import UserFilter

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer
    from tests.servers.run import ServersOfRun

_FEWER: Final = USERS // 5
_A_LEVEL_MORE: Final = 2.0
_MOST_PAGES: Final = 100_000
"""Of a filter that finds more than are counted: these are gathered, then the order is searched, each up to a bound."""


@pytest.fixture(scope="module")
def costs(
    postgres_server: PostgresServer, servers_of_run: ServersOfRun
) -> tuple[dict[tuple[str, str], Cost], dict[tuple[str, str], Cost]]:
    """What each page costs among few and among many."""
    few, many = (dict(costs_of(postgres_server.dsn(servers_of_run.filled(users)))) for users in (_FEWER, USERS))
    return few, many


def test_a_page_costs_the_same_whatever_the_number_of_users(
    costs: tuple[dict[tuple[str, str], Cost], dict[tuple[str, str], Cost]],
) -> None:
    """
    For filters that find none, about 50, about 5,000 and half of them, in each order.

    With few users the indexes are a level lower, which a look-up saves, and several of those found lie on one page of a
    file. With more users than here neither adds anything, and `make soak ONLY=lists` allows for neither.
    """
    few, many = costs
    dearer = {
        what: (few[what], cost)
        for what, cost in many.items()
        if cost.pages > few[what].pages * max(_A_LEVEL_MORE, ratio_of(what)) + min(cost.total, COUNTED_ROWS)
    }

    assert len(many) > 50
    assert dearer == {}
    assert max(cost.pages for cost in many.values()) < _MOST_PAGES


@pytest.mark.parametrize("by", ["createdAt", "email", "lastLoginAt"])
def test_a_page_far_away_costs_what_the_first_costs(
    postgres_server: PostgresServer, servers_of_run: ServersOfRun, by: str
) -> None:
    """By its cursor, however many rows lie before it."""
    with contextlib.closing(MeasuredDatabase(postgres_server.dsn(servers_of_run.filled(USERS)))) as database:
        reader = PostgresUserReader(database)
        first = reader.list_page(UserFilter(), Asked(sort=Sort(by=by), limit=50))
        pages_of_first = database.pages
        keys = {"createdAt": "created_at", "email": "email_key"}
        with database.lend() as link:
            found = link.connection.execute(
                f"SELECT {keys.get(by, 'last_login_at')}, user_id FROM users JOIN login_states USING (user_id)"  # noqa: S608
                f" WHERE last_login_at IS NOT NULL ORDER BY 1, 2 OFFSET {USERS // 2} LIMIT 1"
            ).fetchone()
        assert found is not None
        database.reset()
        start = Start(beside=Position(key=found[0], id=found[1]))
        far = reader.list_page(UserFilter(), Asked(sort=Sort(by=by), limit=50, start=start))

    assert len(far.rows) == len(first.rows) == 50
    assert far.rows[0] not in first.rows
    assert pages_of_first >= 0.9 * database.pages
