"""A disk without room: what is written is refused, what is there is read, and with room again all is as before."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
from psycopg import sql

from tests.e2e.processes import eventually, settings_for
from tests.endurance.oracle import Oracle
from tests.servers.filesystems import FileSystem, file_system
from tests.servers.fixtures import started
from tests.stopwatch import post
from userservice_core.bootstrap import UserService, bootstrap
from userservice_core.config import Settings
from userservice_core.http.messages import Request
from userservice_core.testing.host import json_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.postgres import PostgresServer
    from tests.servers.run import ServersOfRun
    from userservice_core.http.messages import Response

_PASSWORD = "correct horse battery staple"
_MOST_THAT_FIT = 2_000
_WHILE_FULL = 30


@pytest.fixture
def disk(postgres_server: PostgresServer) -> Iterator[FileSystem]:
    """A disk of the server beside that of its log of writes."""
    process_id = postgres_server.process_id
    assert process_id is not None
    owner = psutil.Process(process_id).uids().real
    with contextlib.ExitStack() as mounted:
        # Where the server gets to, whoever it is.
        folder = Path(mounted.enter_context(tempfile.TemporaryDirectory(prefix="userservice-disk-")))
        folder.chmod(0o755)
        disk = started(lambda: mounted.enter_context(file_system(folder / "disk", megabytes=48)))
        space = disk.folder / "tablespace"
        space.mkdir()
        os.chown(space, owner, -1)
        yield disk


@pytest.fixture
def small_database(disk: FileSystem, postgres_server: PostgresServer, servers_of_run: ServersOfRun) -> Iterator[str]:
    """The DSN of a database with the whole schema, all of which is on the disk."""
    template, name = servers_of_run.migrated_template(), "small"
    with contextlib.closing(psycopg.connect(postgres_server.dsn(), autocommit=True)) as connection:
        location = str(disk.folder / "tablespace")
        connection.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(location)))
        connection.execute(
            sql.SQL("CREATE DATABASE small TEMPLATE {} TABLESPACE small").format(sql.Identifier(template))
        )
        yield postgres_server.dsn(name)
        postgres_server.drop_database(name)
        connection.execute("DROP TABLESPACE small")


@pytest.fixture
def service(small_database: str, tmp_path: Path) -> Iterator[UserService]:
    """The service on it."""
    environment = settings_for(small_database, tmp_path, ARGON2_MEMORY_KIB="8", ARGON2_TIME_COST="1")
    with bootstrap(Settings.from_environment(environment), background=False) as opened:
        yield opened


def _get(service: UserService, path: str, token: str) -> Response:
    headers = (("authorization", f"Bearer {token}"),)
    return service.pipeline.handle(Request(method="GET", path=path, headers=headers))


def _problem(response: Response) -> tuple[int, Any, bool]:
    """Return the status, the kind of the problem, and whether it says when to try again."""
    names = {name for name, _ in response.headers}
    return response.status, json_of(response).get("type"), "retry-after" in names


def test_a_full_disk_refuses_what_is_written_and_nothing_else(
    service: UserService, small_database: str, disk: FileSystem
) -> None:
    """With 503 and nothing half done; reads go on, and once there is room writes do so by themselves."""
    oracle = Oracle(small_database)
    numbers = itertools.count()
    taken: set[str] = set()

    def register() -> Response:
        email = f"u{next(numbers)}@example.com"
        response = post(service.pipeline, "/auth/register", email=email, password=_PASSWORD)
        if response.status == 201:
            taken.add(email)
        return response

    assert register().status == 201
    with contextlib.closing(psycopg.connect(small_database, autocommit=True)) as connection:
        connection.execute("UPDATE users SET status = 'active', email_verified = true")
    signed_in = json_of(post(service.pipeline, "/auth/login", email="u0@example.com", password=_PASSWORD))
    token = signed_in["accessToken"]
    with disk.full():
        refused = next(response for response in (register() for _ in range(_MOST_THAT_FIT)) if response.status != 201)
        while_full = [register() for _ in range(_WHILE_FULL)]
        read = [_get(service, path, token).status for path in ("/users/me", "/users/me/profile", "/users/me/addresses")]
    eventually(lambda: register().status == 201, what="room to be found")
    after = [register().status for _ in range(_WHILE_FULL)]

    unavailable = (503, "urn:userservice:problem:database-unavailable", True)
    assert _problem(refused) == unavailable
    assert {_problem(response) for response in while_full if response.status != 201} == {unavailable}
    assert read == [200] * 3
    assert after == [201] * _WHILE_FULL
    assert oracle.torn() == []
    with contextlib.closing(psycopg.connect(small_database)) as connection:
        assert {email for (email,) in connection.execute("SELECT email FROM users")} == taken
