"""Who is measured side by side: the service and its peers, each served as its own documentation recommends."""

from __future__ import annotations

import contextlib
import json
import subprocess
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import attrs
import psycopg
from psycopg import sql

from benchmarks import processes
from benchmarks.dataset.people import PASSWORD as PASSWORD_OF_CROWD
from benchmarks.figures.pages import crowd, crowd_administrator, cursor_behind, page_path
from benchmarks.peers.agreed import DSN_VARIABLE, PASSWORD, READY, ROWS, read_accounts
from benchmarks.peers.environments import ROOT, python_of
from benchmarks.saturation import Load
from userservice_core.domain.roles import ADMIN_ROLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scene import Scene

_SIGNED_IN: Final = 50
"""Accounts that read themselves, and are read and signed in to."""

_THREADS: Final = 4
"""Of each worker of what answers in threads."""

_DEEP: Final = 0.8
"""Of all users, the part that is before the deep page."""

_REGISTRATIONS: Final = 2_000
"""More than any party takes in one measurement."""

_LAST_CHARACTERS: Final = 4_000

# A few who may do nothing but use the service.
_ACTIVE: Final = (
    "SELECT user_id::text, email FROM users WHERE status = 'active' AND email_verified AND deleted_at IS NULL"
    " AND NOT EXISTS (SELECT FROM user_roles WHERE user_id = users.user_id AND role_id = %s)"
    " ORDER BY user_id LIMIT %s"
)


@attrs.frozen(kw_only=True)
class Routes:
    """
    Where a party has its operations.

    Attributes:
        user: Of one user, with `{id}`.
        page: Makes the path of a page behind so many users.
        credentials: Makes the body of a sign-in to an address.
        registration: Makes the body of a registration of an address.
        login_type: Of the body of a sign-in.
        token_header: That takes a token.
    """

    user: str
    page: Callable[[int], str]
    credentials: Callable[[str], str]
    registration: Callable[[str], str]
    me: str = "/users/me"
    login: str = "/auth/login"
    register: str = "/auth/register"
    login_type: str = "application/json"
    token_header: str = "Authorization"


@attrs.frozen(kw_only=True)
class Account:
    """An account and its token."""

    id: str
    email: str
    token: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Party:
    """
    One of those that are measured, while it serves.

    Attributes:
        administrator: The token of who may read all users.
        deep: The path of the deep page.
    """

    port: int
    routes: Routes
    administrator: str = attrs.field(repr=False)
    accounts: tuple[Account, ...]
    deep: str

    def me(self) -> Load:
        """Let each account read itself."""
        return self._read(*(self.routes.me for _ in self.accounts), tokens=tuple(each.token for each in self.accounts))

    def user(self) -> Load:
        """Let the administrator read each account."""
        return self._read(*(self.routes.user.format(id=each.id) for each in self.accounts))

    def first_page(self) -> Load:
        """Let the administrator read the first page of users."""
        return self._read(self.routes.page(0))

    def deep_page(self) -> Load:
        """Let the administrator read a page far behind."""
        return self._read(self.deep)

    def login(self) -> Load:
        """Sign in to each account by the password."""
        return Load(
            method="POST",
            port=self.port,
            paths=(self.routes.login,) * len(self.accounts),
            bodies=tuple(self.routes.credentials(each.email) for each in self.accounts),
            content_type=self.routes.login_type,
        )

    def register(self) -> Load:
        """Register addresses that nobody has, others each time."""
        bodies = tuple(self.routes.registration(f"{uuid.uuid4().hex}@example.com") for _ in range(_REGISTRATIONS))
        return Load(method="POST", port=self.port, paths=(self.routes.register,) * len(bodies), bodies=bodies)

    def _read(self, *paths: str, tokens: tuple[str, ...] = ()) -> Load:
        return Load(
            method="GET",
            port=self.port,
            paths=paths,
            tokens=tokens or (self.administrator,) * len(paths),
            token_header=self.routes.token_header,
        )


# --- the service ------------------------------------------------------------------------------------------------------

_ROUTES: Final = Routes(
    user="/admin/users/{id}",
    page=lambda _: page_path(limit=ROWS),
    credentials=lambda email: json.dumps({"email": email, "password": PASSWORD_OF_CROWD}),
    registration=lambda email: json.dumps({"email": email, "password": PASSWORD}),
)


def service(scene: Scene) -> Party:
    """Serve the service on as many users as this run wants, in an area."""
    port, administrator = crowd_administrator(scene)
    with psycopg.connect(crowd(scene).dsn) as connection:
        found = connection.execute(_ACTIVE, (ADMIN_ROLE.id, _SIGNED_IN)).fetchall()

    def token_of(email: str) -> str:
        body = {"email": email, "password": PASSWORD_OF_CROWD}
        signed_in = processes.ask(port, "POST", _ROUTES.login, body)
        return str(signed_in["accessToken"])

    cursor = cursor_behind(deep_offset(scene.effort.users), port, administrator)
    return Party(
        port=port,
        routes=_ROUTES,
        administrator=administrator,
        accounts=tuple(Account(id=user_id, email=email, token=token_of(email)) for user_id, email in found),
        deep=page_path(limit=ROWS, cursor=cursor),
    )


def deep_offset(users: int) -> int:
    """Return how many users come before the deep page."""
    return int(_DEEP * users) // ROWS * ROWS


# --- its peers --------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Peer:
    """
    A library whose application is measured.

    Attributes:
        name: In the names of figures.
        title: For people.
        package: The folder of the application.
        command: What serves it on a port by a number of workers: a module and its arguments.
        settings: As variables, beside the address of the database.
    """

    name: str
    title: str
    package: str
    command: Callable[[int, int], tuple[str, ...]]
    routes: Routes
    settings: dict[str, str] = attrs.field(factory=dict[str, str])

    @contextlib.contextmanager
    def serving(self, scene: Scene) -> Iterator[Party]:
        """Fill a new database and serve it within the block."""
        python = str(python_of(self.package))
        settings = {**self.settings, DSN_VARIABLE: _new_database(scene.server, self.package), "PYTHONPATH": str(ROOT)}
        told = _output_of(
            (python, "-m", f"benchmarks.peers.{self.package}.fill", str(scene.effort.users), str(1 + _SIGNED_IN)),
            settings,
        )
        administrator, *accounts = (Account(**each) for each in read_accounts(told))
        port, log = processes.free_port(), scene.folder / f"{self.package}.log"
        command = (python, "-m", *self.command(port, scene.effort.workers))
        with processes.running(command, settings, log=log) as server:
            processes.wait_for(READY, server, port=port, log=log)
            yield Party(
                port=port,
                routes=self.routes,
                administrator=administrator.token,
                accounts=tuple(accounts),
                deep=self.routes.page(deep_offset(scene.effort.users)),
            )


def _new_database(server: str, name: str) -> str:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def _output_of(command: tuple[str, ...], settings: dict[str, str]) -> bytes:
    finished = subprocess.run(command, env=processes.environment(settings), check=False, capture_output=True)
    if finished.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{finished.stderr.decode()[-_LAST_CHARACTERS:]}")
    return finished.stdout


def _gunicorn(app: str) -> Callable[[int, int], tuple[str, ...]]:
    return lambda port, workers: (
        *("gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", str(workers), "--threads", str(_THREADS)),
        *("--no-control-socket", "--log-level", "warning", app),
    )


PEERS: Final = (
    Peer(
        name="fastapi-users",
        title="fastapi-users",
        package="fastapi_users",
        command=lambda port, workers: (
            *("uvicorn", "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)),
            *("--log-level", "warning", "--no-access-log", "benchmarks.peers.fastapi_users.app:app"),
        ),
        routes=Routes(
            user="/users/{id}",
            page=lambda offset: f"/users/list?{urlencode({'offset': offset, 'limit': ROWS})}",
            credentials=lambda email: urlencode({"username": email, "password": PASSWORD}),
            registration=lambda email: json.dumps({"email": email, "password": PASSWORD}),
            login_type=processes.FORM,
        ),
    ),
    Peer(
        name="django",
        title="Django with REST framework and simplejwt",
        package="django_rest",
        command=_gunicorn("benchmarks.peers.django_rest.wsgi"),
        routes=Routes(
            user="/users/{id}",
            page=lambda offset: f"/users?{urlencode({'offset': offset, 'limit': ROWS})}",
            credentials=lambda email: json.dumps({"username": email, "password": PASSWORD}),
            registration=lambda email: json.dumps({"username": email, "email": email, "password": PASSWORD}),
        ),
        settings={"DJANGO_SETTINGS_MODULE": "benchmarks.peers.django_rest.settings"},
    ),
    Peer(
        name="flask-security",
        title="Flask-Security-Too",
        package="flask_security",
        command=_gunicorn("benchmarks.peers.flask_security.app:app"),
        routes=Routes(
            user="/users/{id}",
            page=lambda offset: f"/users?page={offset // ROWS + 1}",
            login="/login?include_auth_token",
            register="/register",
            credentials=lambda email: json.dumps({"email": email, "password": PASSWORD}),
            registration=lambda email: json.dumps({"email": email, "password": PASSWORD}),
            token_header="Authentication-Token",
        ),
    ),
)
