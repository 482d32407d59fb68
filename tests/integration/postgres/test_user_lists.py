"""Lists of users on many rows: each page is found by an index, and nothing is sorted."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
import pytest

from tests.integration.postgres.building import NOW
from userservice_core.domain.ids import UserId
from userservice_core.domain.lists import PageRequest, Position, Sort, Start
from userservice_core.domain.roles import ADMIN_ROLE, USER_ROLE
from userservice_core.domain.users import UserStatus
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.ports.users import USER_SORTS, UserFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.postgres import PostgresServer
    from tests.servers.run import ServersOfRun
    from userservice_core.domain.lists import SortKey
    from userservice_core.infrastructure.postgres.statements import Statement

_ROWS: Final = 20_000
_MIDDLE: Final = _ROWS // 2


def _id(number: int) -> UserId:
    return UserId(UUID(int=(0x0190 << 112) | (0x7 << 76) | (0x8 << 60) | number))


@pytest.fixture(scope="module")
def filled(postgres_server: PostgresServer, servers_of_run: ServersOfRun) -> Iterator[str]:
    """A database with many users: half of them have signed in, few are suspended, deleted or administrators."""
    name = postgres_server.create_database(template=servers_of_run.migrated_template())
    with contextlib.closing(psycopg.connect(postgres_server.dsn(name), autocommit=True)) as connection:
        _fill(connection)
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


def _fill(connection: psycopg.Connection) -> None:
    with connection.cursor() as cursor:
        columns = "user_id, email, email_key, email_verified, status, attributes, created_at, updated_at"
        with cursor.copy(
            f"COPY users ({columns}, mfa_enabled, deleted_at, version, access_version, event_version) FROM STDIN"
        ) as copy:
            for number in range(_ROWS):
                key, moment = f"{(number * 7_919) % _ROWS:06}.user@example.org", NOW + timedelta(seconds=number)
                status = "suspended" if number % 1_000 == 0 else "active"
                deleted_at = moment if number % 500 == 1 else None
                copy.write_row((_id(number), key, key, True, status, "{}", moment, moment, False, deleted_at, 1, 1, 0))
        with cursor.copy("COPY user_emails (email_key, user_id) FROM STDIN") as copy:
            for number in range(_ROWS):
                copy.write_row((f"{(number * 7_919) % _ROWS:06}.user@example.org", _id(number)))
        with cursor.copy(
            "COPY login_states (user_id, last_login_at, failed_attempts, event_version) FROM STDIN"
        ) as copy:
            for number in range(_ROWS):
                signed_in_at = NOW + timedelta(seconds=(number * 6_007) % _ROWS) if number % 2 else None
                copy.write_row((_id(number), signed_in_at, 0, 0))
        with cursor.copy("COPY user_roles (user_id, role_id) FROM STDIN") as copy:
            for number in range(_ROWS):
                copy.write_row((_id(number), USER_ROLE.id))
                if number % 2_000 == 3:
                    copy.write_row((_id(number), ADMIN_ROLE.id))
    connection.execute("VACUUM ANALYZE")


class _Explaining(Database):
    """A database that keeps how it ran what it was asked for."""

    plans: list[dict[str, Any]]

    def fetch_all(self, statement: Statement, **params: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - any column
        """Keep the plan, and run the statement."""
        row = super().fetch_one(statement.explained(), **params)
        assert row is not None
        self.plans.append(row[0][0]["Plan"])
        return super().fetch_all(statement, **params)


@pytest.fixture
def database_with_plans(filled: str) -> Iterator[_Explaining]:
    """The service's connections to it."""
    database = _Explaining(filled)
    database.plans = []
    yield database
    database.close()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def _dear_steps(plans: list[dict[str, Any]]) -> list[str]:
    """Return what reads a whole table of users, or sorts; the roles of a user, and the few roles, are sorted."""
    return [
        f"{node['Node Type']} {node.get('Relation Name', '')}"
        for plan in plans
        for node in _nodes(plan)
        if (node["Node Type"] == "Seq Scan" and node["Relation Name"] not in {"roles", "permissions"})
        or (node["Node Type"] in {"Sort", "Incremental Sort"} and node["Plan Rows"] > _FEW)
    ]


_FEW: Final = 501
"""As many as a reader of these tests gathers."""


def _reader(database: Database) -> PostgresUserReader:
    """Return one that counts as small a part of these users as an installation counts of very many."""
    return PostgresUserReader(database, counted_rows=500)


@pytest.mark.parametrize("by", USER_SORTS)
@pytest.mark.parametrize("descending", [False, True])
def test_a_page_in_the_middle_begins_there(
    database_with_plans: _Explaining,
    by: str,
    descending: bool,  # noqa: FBT001 - parametrized
) -> None:
    """In each order, forwards and backwards, from the first row and from one far away."""
    reader = _reader(database_with_plans)
    sort = Sort(by=by, descending=descending)
    keys: dict[str, SortKey] = {
        "createdAt": NOW + timedelta(seconds=_MIDDLE),
        "email": f"{_MIDDLE:06}.user@example.org",
    }
    beside = Position(key=keys.get(by, NOW + timedelta(seconds=_MIDDLE)), id=_id(_MIDDLE))
    starts = (None, Start(beside=beside), Start(beside=beside, backwards=True))
    pages = [reader.list_page(UserFilter(), PageRequest(sort=sort, start=start)) for start in starts]

    assert [len(page.rows) for page in pages] == [20, 20, 20]
    assert all(page.total_is_estimate and abs(page.total - _ROWS) < 1_000 for page in pages)
    assert _dear_steps(database_with_plans.plans) == []


@pytest.mark.parametrize(
    "users",
    [
        UserFilter(email_key="004242.user@example.org"),
        UserFilter(email_parts=("04242.u",)),
        UserFilter(status=UserStatus.SUSPENDED),
        UserFilter(role_id=ADMIN_ROLE.id),
        UserFilter(role_name="User"),
        UserFilter(created_from=NOW + timedelta(seconds=_ROWS - 100)),
        UserFilter(created_before=NOW + timedelta(seconds=100)),
        UserFilter(deleted=True),
        UserFilter(ids=frozenset({_id(1), _id(2)})),
    ],
    ids=lambda users: re.sub(r"UserFilter|[^a-z]", "", str(users))[:40],
)
def test_a_filter_has_an_index(database_with_plans: _Explaining, users: UserFilter) -> None:
    """Few rows that are found may be sorted; the table is not read for them."""
    reader = _reader(database_with_plans)
    page = reader.list_page(users, PageRequest(sort=Sort(by="createdAt", descending=True)))

    assert page.rows
    assert _dear_steps(database_with_plans.plans) == []


@pytest.mark.parametrize("by", USER_SORTS)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("wanted", "condition"),
    [
        (UserFilter(status=UserStatus.SUSPENDED), "status = 'suspended' AND deleted_at IS NULL"),
        (UserFilter(deleted=True), "deleted_at IS NOT NULL"),
        (UserFilter(role_id=ADMIN_ROLE.id, deleted=None), f"holds '{ADMIN_ROLE.id}'"),
        (UserFilter(role_id=USER_ROLE.id, deleted=True), f"holds '{USER_ROLE.id}' AND deleted_at IS NOT NULL"),
        (
            UserFilter(email_parts=("01.user", "42.user@exa"), created_from=NOW + timedelta(seconds=_MIDDLE)),
            (
                "(email_key LIKE '%01.user%' OR email_key LIKE '%42.user@exa%')"
                f" AND created_at >= '{NOW + timedelta(seconds=_MIDDLE)}' AND deleted_at IS NULL"
            ),
        ),
        (
            UserFilter(
                role_id=USER_ROLE.id,
                email_parts=("example.org",),
                status=UserStatus.SUSPENDED,
                created_before=NOW + timedelta(seconds=_MIDDLE),
            ),
            (
                f"holds '{USER_ROLE.id}' AND status = 'suspended' AND deleted_at IS NULL"
                f" AND created_at < '{NOW + timedelta(seconds=_MIDDLE)}'"
            ),
        ),
    ],
    ids=["status", "deleted", "role", "role of deleted", "part and time", "all"],
)
def test_a_search_for_few_among_many_goes_on_where_it_was_given_up(
    database_with_plans: _Explaining,
    by: str,
    descending: bool,  # noqa: FBT001 - parametrized
    wanted: UserFilter,
    condition: str,
) -> None:
    """
    Where more are found than are counted, a page looks at so many rows and no more, and its cursor leads on.

    Each row is on one page, forwards and backwards, and the pages are those of a list that is gathered and sorted.
    """
    sort = Sort(by=by, descending=descending)
    gathered = PostgresUserReader(database_with_plans, counted_rows=_ROWS, looked_up_rows=_ROWS)
    searching = PostgresUserReader(database_with_plans, counted_rows=5, searched_rows=3_000, looked_up_rows=2_000)
    ordered = _ordered(database_with_plans, condition, sort)
    first = gathered.list_page(wanted, PageRequest(sort=sort, limit=100))
    last_key, last_id = ordered[-1]
    behind = Start(beside=Position(key=last_key, id=last_id), backwards=True, inclusive=True)
    ids = [user_id for _, user_id in ordered]

    assert first.total == len(ids)
    assert not first.total_is_estimate
    assert [each.user.id for each in first.rows] == ids[:100]
    assert _walked(searching, wanted, PageRequest(sort=sort, limit=30)) == ids
    assert _walked(searching, wanted, PageRequest(sort=sort, limit=30, start=behind)) == ids


def _ordered(database: Database, condition: str, sort: Sort) -> list[tuple[SortKey, UserId]]:
    """Return keys and ids of a list as the server sorts all that there are."""
    key = {"createdAt": "created_at", "email": "email_key"}.get(sort.by, "last_login_at")
    direction = "DESC" if sort.descending else "ASC"
    where = re.sub(r"holds ('[^']+')", r"user_id IN (SELECT user_id FROM user_roles WHERE role_id = \1)", condition)
    with database.lend() as link:
        return link.connection.execute(
            f"SELECT {key}, user_id FROM users JOIN login_states USING (user_id) WHERE {where}"  # noqa: S608
            f" ORDER BY {key} {direction} NULLS LAST, user_id {direction}".encode()
        ).fetchall()


def _walked(reader: PostgresUserReader, wanted: UserFilter, request: PageRequest) -> list[UserId]:
    """Return what is found on the way to the end, in the order of the list."""
    found: list[UserId] = []
    start = request.start
    for _ in range(100):
        page = reader.list_page(wanted, PageRequest(sort=request.sort, limit=request.limit, start=start))
        ids = [each.user.id for each in page.rows]
        found = [*ids, *found] if request.is_backwards else [*found, *ids]
        start = page.preceding if request.is_backwards else page.following
        if start is None:
            return found
    pytest.fail("the walk does not end")


def test_a_walk_costs_the_same_on_each_page(database_with_plans: _Explaining) -> None:
    """The last page as much as the first: nothing is passed over."""
    reader = _reader(database_with_plans)
    last = Start(beside=Position(key=datetime(2100, 1, 1, tzinfo=UTC), id=_id(0)), backwards=True)
    for start in (None, last):
        reader.list_page(UserFilter(), PageRequest(sort=Sort(by="createdAt"), start=start))
    first_cost, last_cost = (plan["Total Cost"] for plan in database_with_plans.plans)

    assert last_cost < 1.5 * first_cost
