"""Pages of the list of users, beside their statements alone, and the deep ones beside the first."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import psycopg

from benchmarks.dataset.loading import load as load_people
from benchmarks.dataset.people import PASSWORD, People
from benchmarks.figure import Bench, Figure, Round, at_least
from benchmarks.figures.reads import round_of, rounds_of
from benchmarks.limit_app import Query
from benchmarks.processes import ask
from benchmarks.saturation import Load
from userservice_core.domain.lists import PageRequest, Sort
from userservice_core.domain.roles import ADMIN_ROLE
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.ports.users import UserFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scene import Installation, Scene
    from userservice_core.infrastructure.postgres.statements import Step

_CLIENTS: Final = 16
_ROWS: Final = 50
_DEEP: Final = 10_000
_MOST_ROWS: Final = 100
_SHARE: Final = 0.9
"""Of the users, how many the list has at least; the others are deleted."""

_SORT: Final = Sort(by="createdAt", descending=True)
_ADMINISTRATOR: Final = "SELECT email FROM users JOIN user_roles USING (user_id) WHERE role_id = %s LIMIT 1"


class RecordingDatabase(Database):
    """A database that keeps what it is asked."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.asked: list[tuple[bytes, dict[str, Any]]] = []

    def fetch_all(self, statement: Any, **params: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - as its base
        """Keep and ask."""
        self._keep(statement(**params))
        return super().fetch_all(statement, **params)

    def fetch_one(self, statement: Any, **params: Any) -> tuple[Any, ...] | None:  # noqa: ANN401 - as its base
        """Keep and ask."""
        self._keep(statement(**params))
        return super().fetch_one(statement, **params)

    def _keep(self, step: Step) -> None:
        statement, params = step
        self.asked.append((statement.text, params))


def crowd(scene: Scene) -> Installation:
    """Return an installation with as many users as this run wants, made by the first who asks."""

    def fill() -> contextlib.AbstractContextManager[Installation]:
        installation = scene.installation_in("crowd")
        load_people(People(users=scene.effort.users, seed=1, until=datetime.now(UTC)), installation.dsn)
        return contextlib.nullcontext(installation)

    return scene.in_run("crowd", fill)


def crowd_administrator(scene: Scene) -> tuple[int, str]:
    """Serve the crowd, and return the port and a token for everything."""
    installation = crowd(scene)
    port = scene.service(installation=installation)
    with psycopg.connect(installation.dsn) as connection:
        row = connection.execute(_ADMINISTRATOR, (ADMIN_ROLE.id,)).fetchone()
    assert row is not None
    signed_in = ask(port, "POST", "/auth/login", {"email": row[0], "password": PASSWORD})
    return port, signed_in["accessToken"]


def page_path(**query: object) -> str:
    """Return the path of a page, the newest users first."""
    return "/admin/users?" + urlencode({"sort": "-createdAt", **query})


def _first_page(scene: Scene) -> Iterator[dict[str, Round]]:
    port, token = crowd_administrator(scene)
    with contextlib.closing(RecordingDatabase(crowd(scene).dsn)) as database:
        PostgresUserReader(database).list_page(UserFilter(), PageRequest(sort=_SORT, limit=_ROWS))
    Query(crowd(scene).dsn, tuple(database.asked)).write(scene.answers / "users")
    loads = {
        "limit": Load(method="GET", port=scene.limit(), paths=("/queries/users",)),
        "users": Load(method="GET", port=port, paths=(page_path(limit=_ROWS),), tokens=(token,)),
    }
    for outcomes in rounds_of(loads, scene, clients=_CLIENTS):
        yield {"admin-users-16": round_of(outcomes["users"], outcomes["limit"].per_second)}


def _deep_page(scene: Scene) -> Iterator[dict[str, Round]]:
    port, token = crowd_administrator(scene)
    rows = max(1, min(_ROWS, int(_SHARE * scene.effort.users) // _DEEP))
    cursor = cursor_behind(rows * (_DEEP - 1), port, token)
    loads = {
        "first": Load(method="GET", port=port, paths=(page_path(limit=rows),), tokens=(token,)),
        "deep": Load(method="GET", port=port, paths=(page_path(limit=rows, cursor=cursor),), tokens=(token,)),
    }
    for outcomes in rounds_of(loads, scene, clients=_CLIENTS):
        yield {"admin-users-deep-16": round_of(outcomes["deep"], outcomes["first"].per_second)}


def cursor_behind(rows: int, port: int, token: str) -> str:
    """Walk over so many rows, and return where the next page begins."""
    more: dict[str, str] = {}
    for begun in range(0, rows, _MOST_ROWS):
        path = page_path(limit=min(_MOST_ROWS, rows - begun), fields="id", **more)
        more = {"cursor": ask(port, "GET", path, token=token)["page"]["nextCursor"]}
    return more["cursor"]


BENCHES: Final = (
    Bench(
        figures=(
            Figure(
                name="admin-users-16",
                title=f"GET /admin/users, {_ROWS} a page, {_CLIENTS} clients",
                unit="1/s",
                limit="the same statements by psycopg in threads behind bare Starlette",
                goal=at_least(0.6),
                row="list",
            ),
        ),
        measure=_first_page,
    ),
    Bench(
        figures=(
            Figure(
                name="admin-users-deep-16",
                title="GET /admin/users, the 10,000th page by cursor",
                unit="1/s",
                limit="the first page",
                goal=at_least(0.9),
                row="list",
            ),
        ),
        measure=_deep_page,
    ),
)
