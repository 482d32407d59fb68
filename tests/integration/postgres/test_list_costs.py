"""What a page of users costs with few and with many users: the same, but for one kind of filter."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from benchmarks.lists import LIMIT, Cost, MeasuredDatabase, What, costs_of, faults_of, plot, table_of
from benchmarks.statements import USERS
from userservice_core.domain.lists import PageRequest as Asked
from userservice_core.domain.lists import Position, Sort, Start
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.ports.users import UserFilter

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.postgres import PostgresServer
    from tests.servers.run import ServersOfRun

_FEWER: Final = USERS // 5
_A_LEVEL_MORE: Final = 1.5
_MOST_PAGES: Final = 9_000


@pytest.fixture(scope="module")
def costs(postgres_server: PostgresServer, servers_of_run: ServersOfRun) -> list[dict[What, Cost]]:
    """What each page costs among few and among many."""
    return [dict(costs_of(postgres_server.dsn(servers_of_run.filled(users)))) for users in (_FEWER, USERS)]


def test_a_page_costs_the_same_whatever_the_number_of_users(costs: list[dict[What, Cost]]) -> None:
    """
    For filters that find none, about 50, about 5,000 and half of them, in each order; for far pages and look-ups.

    With few users the indexes are a level lower, which each look-up saves. With more users than here it adds nothing,
    and `make soak ONLY=lists` does not allow for it. Where an order is searched, 5,000 of few users are met sooner than
    5,000 of many, up to the bound of the search, which both sizes of a soak reach.
    """
    few, many = costs
    allowed = {what: attrs.evolve(cost, pages=int(cost.pages * _A_LEVEL_MORE)) for what, cost in few.items()}
    searched = {(name, by) for name, by in many if "5k" in name and (by == "lastLoginAt" or not name.startswith("c"))}
    searched |= {(name, by) for name, by in many if "5k of" in name}
    dearer = faults_of([allowed, many])

    assert len(many) > 75
    assert dearer.keys() <= searched
    assert max(many[what].pages for what in searched) < _MOST_PAGES


def test_a_page_is_full_or_its_filter_finds_too_many_to_sort(costs: list[dict[What, Cost]]) -> None:
    """What an index has in the order of the list, or few rows, are on the page that they belong to."""
    _, many = costs
    short = {what for what, cost in many.items() if cost.rows < min(LIMIT, cost.total)}

    assert ("status, 5k", "lastLoginAt") in short
    assert {name for name, by in short if by == "createdAt"} <= {"contains 5k of role half"}
    assert {name for name, by in short if by == "email" and "role" not in name} == set()


def test_the_table_and_the_plot_have_every_figure(costs: list[dict[What, Cost]], tmp_path: Path) -> None:
    """A line for each page that is measured, and a drawing of them."""
    plot(costs, str(tmp_path / "lists.svg"))
    table = table_of(costs)

    assert len(table.splitlines()) == 2 + len(costs[-1])
    assert "| role, 5k | email | " in table
    assert "contains, half" in (tmp_path / "lists.svg").read_text()


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
