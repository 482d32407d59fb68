"""The primary goes and comes back, as clients behind a load balancer see it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import attrs
import httpx

from tests.e2e.processes import Server, eventually, settings_for
from tests.integration.postgres.building import new_user, register
from tests.integration.replicas.instances import token_of
from tests.servers.nginx import Nginx
from tests.servers.postgres import PostgresServer
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.domain.roles import ADMIN_ROLE, AssignedRole
from userservice_core.domain.users import UserStatus
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.migrate import upgrade
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.run import ServersOfRun

_ROUNDS: Final = 10


def test_the_balancer_keeps_instances_whose_database_is_away(servers_of_run: ServersOfRun, tmp_path: Path) -> None:
    """
    Nobody takes an instance for broken; what needs no database is answered by all of them.

    What does is told when to come again, and is answered once the database is back, without a restart.
    """
    with contextlib.ExitStack() as running:
        primary = running.enter_context(PostgresServer(servers_of_run.folder / "outage", fsync=False))
        dsn = primary.dsn(primary.create_database())
        upgrade(dsn)
        environment = settings_for(dsn, tmp_path, REQUEST_TIMEOUT_SECONDS="2")
        user = attrs.evolve(
            new_user(),
            status=UserStatus.ACTIVE,
            email_verified=True,
            roles=(AssignedRole(ADMIN_ROLE.id, ADMIN_ROLE.name),),
        )
        with contextlib.closing(Database(dsn)) as database:
            PostgresUnitOfWork(database).run(lambda transaction: register(transaction, user))
        with bootstrap(Settings.from_environment(environment), background=False) as service:
            token = token_of(service, user)
        servers = [running.enter_context(Server("starlette", environment=environment)) for _ in range(2)]
        balancer = Nginx(tmp_path / "nginx")
        balancer.balance(server.port for server in servers)
        running.enter_context(balancer)
        client = running.enter_context(
            httpx.Client(base_url=balancer.url, headers={"authorization": f"Bearer {token}"}, timeout=10)
        )
        check = {"userId": str(user.id), "permissions": ["user:list"]}

        def aside() -> list[int]:
            return [
                client.get("/.well-known/jwks.json").status_code,
                client.get("/health/ready").status_code,
                client.post("/auth/check-permissions", json=check).status_code,
            ]

        # Each instance has what it needs in memory, wherever the balancer sends the next request.
        assert [aside() for _ in range(_ROUNDS)] == [[200] * 3] * _ROUNDS
        assert client.get("/users/me").status_code == 200
        primary.kill9()
        # What was revoked is known for some seconds more, and until then what is in memory may be answered from.
        meanwhile = [aside() for _ in range(_ROUNDS)]
        refused = [client.get("/users/me") for _ in range(2)]
        ready = [client.get("/health/ready").status_code for _ in range(_ROUNDS)]
        primary.start()
        eventually(lambda: client.get("/users/me").status_code == 200, what="an answer from the database")
        back = [client.get("/users/me").status_code for _ in range(_ROUNDS)]

    assert [answer.status_code for answer in refused] == [503, 503]
    assert all("retry-after" in answer.headers for answer in refused)
    assert meanwhile == [[200] * 3] * _ROUNDS
    assert ready == [200] * _ROUNDS
    assert back == [200] * _ROUNDS
