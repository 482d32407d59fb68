"""Processes of one installation, and somebody who may do everything in it."""

from __future__ import annotations

import contextlib
import re
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs

from tests.integration.postgres.building import new_user, register
from userservice_core.bootstrap import UserService, bootstrap
from userservice_core.config import Settings
from userservice_core.domain.ids import SessionId
from userservice_core.domain.roles import ADMIN_ROLE, AssignedRole
from userservice_core.domain.users import UserStatus
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.infrastructure.system.clock import SystemClock, Uuid7Generator
from userservice_core.ports.security import AccessClaims
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.host import PipelineClient, json_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.postgres import PostgresServer
    from userservice_core.domain.users import User

_LIMITS: Final = Path(__file__).parents[2] / "e2e" / "rate_limits.toml"
_COUNTED: Final = re.compile(
    r'userservice_occurrences_total\{outcome="([^"]*)",what="(replica_[^"]*)"\} ([0-9.e+]+)', re.MULTILINE
)


@attrs.frozen(kw_only=True)
class Installation:
    """
    What the processes of an installation share.

    Attributes:
        primary: The DSN of the primary, as the settings give it.
        replicas: The addresses of the replicas, as the settings give them.
    """

    primary: str
    replicas: tuple[str, ...]
    folder: Path

    @property
    def database(self) -> str:
        """The name of the database."""
        return urlsplit(self.primary).path.removeprefix("/")

    def settings(self, **settings: str) -> Settings:
        """Return the settings of a process of it."""
        values = {
            "PROFILE": "test",
            "DATABASE_URL": self.primary,
            "DATABASE_REPLICA_URLS": ",".join(self.replicas),
            "DATA_DIR": str(self.folder),
            "ISSUER": "https://accounts.example.com",
            "LOG_LEVEL": "WARNING",
            "RATE_LIMITS_FILE": str(_LIMITS),
            "DATABASE_START_SPREAD_SECONDS": "0",
            "DATABASE_WAIT_SECONDS": "5",
            **settings,
        }
        return Settings.from_environment({f"USERSERVICE_{name}": value for name, value in values.items()})

    @contextlib.contextmanager
    def instance(self, *, background: bool = True, **settings: str) -> Iterator[UserService]:
        """Start a process of it; with its threads, it is ready, and its replicas serve, when the block begins."""
        with bootstrap(self.settings(**settings), background=background) as service:
            if background:
                client = PipelineClient(service.pipeline)
                eventually(lambda: json_of(client.request("GET", "/health/ready"))["status"] == "ready")
            yield service

    def add_user(self, *roles: AssignedRole) -> User:
        """Return a new user who holds *roles*."""
        user = attrs.evolve(new_user(), status=UserStatus.ACTIVE, email_verified=True, roles=roles)
        with contextlib.closing(Database(self.primary)) as database:
            PostgresUnitOfWork(database).run(lambda transaction: register(transaction, user))
        return user

    def add_administrator(self) -> User:
        """Return a new user who may do everything."""
        return self.add_user(AssignedRole(ADMIN_ROLE.id, ADMIN_ROLE.name))


def token_of(service: UserService, user: User) -> str:
    """Return an access token of a sign-in at this moment."""
    now, ids = SystemClock().now(), Uuid7Generator()
    claims = AccessClaims(
        user_id=user.id,
        session_id=SessionId(ids.new()),
        client_id="userservice",
        token_id=str(ids.new()),
        issued_at=now,
        expires_at=now + timedelta(minutes=10),
        auth_time=now,
        amr=("pwd",),
    )
    return service.use_cases.token_issuer.issue(claims)


def counted(service: UserService) -> dict[tuple[str, str], int]:
    """Return who served reads and why others did not: what was counted, by name and outcome."""
    text, _ = service.metrics.render()
    return {(what, outcome): int(float(number)) for outcome, what, number in _COUNTED.findall(text.decode())}


def served_by_replicas(service: UserService) -> int:
    """Return how many reads replicas served until now."""
    return sum(
        number
        for (what, outcome), number in counted(service).items()
        if what.startswith("replica_read_") and outcome == "ok"
    )


def address(server: PostgresServer, database: str, **parameters: str) -> str:
    """Return the DSN of a database, with parameters of ours."""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return server.dsn(database) + (f"?{query}" if query else "")


def run_all(*works: Any) -> None:  # noqa: ANN401 - any callable
    """Run each of *works* in a thread, and raise what the first of them raises."""
    failures: list[BaseException] = []

    def run(work: Any) -> None:  # noqa: ANN401 - as above
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
