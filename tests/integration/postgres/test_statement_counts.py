"""How many statements an answer costs, counted where they are handed to the driver."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import attrs
import psycopg
import pytest

from tests.integration.postgres.building import new_user, register
from tests.integration.replicas.instances import token_of
from userservice_core.bootstrap import UserService, bootstrap
from userservice_core.config import Settings
from userservice_core.domain.clients import OPERATOR
from userservice_core.domain.roles import ADMIN_ROLE, INITIAL_ROLES, AssignedRole
from userservice_core.domain.users import User, UserStatus
from userservice_core.http.messages import Request, Response
from userservice_core.infrastructure.postgres.database import Cursor, Database
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_USERS: Final = 30


@attrs.frozen
class _Installation:
    """
    A process of the service, and one who may do everything.

    Attributes:
        statements: What was handed to the driver by this thread; others read revocations meanwhile.
    """

    service: UserService
    admin: User
    token: str
    statements: list[bytes]

    def cost_of(self, method: str, target: str, content: dict[str, Any] | None = None) -> int:
        """Return how many statements an answer takes once the caches are warm."""
        client = PipelineClient(self.service.pipeline)
        for _ in range(2):
            self.statements.clear()
            response = send_json(client, method, target, content, token=self.token)
            assert response.status == 200, response.body
            assert "data" not in (answer := json_of(response)) or answer["data"]
        return len(self.statements)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Count what this thread hands to the driver."""
    found: list[bytes] = []
    here = threading.get_ident()
    execute = Cursor.execute

    def counting(self: Cursor, query: Any, *args: Any, **kwargs: Any) -> Cursor:  # noqa: ANN401 - as the driver has it
        if threading.get_ident() == here:
            found.append(query)
        return execute(self, query, *args, **kwargs)

    monkeypatch.setattr(Cursor, "execute", counting)
    return found


@pytest.fixture
def installation(database: str, tmp_path: Path, pool: Database, statements: list[bytes]) -> Iterator[_Installation]:
    """With thirty users, who hold a role each, and one who holds two."""
    uow = PostgresUnitOfWork(pool)
    roles = (AssignedRole(ADMIN_ROLE.id, ADMIN_ROLE.name), *INITIAL_ROLES)
    admin = attrs.evolve(new_user(), status=UserStatus.ACTIVE, email_verified=True, roles=roles)
    for user in (admin, *(new_user() for _ in range(_USERS))):
        uow.run(lambda transaction, user=user: register(transaction, user))  # type: ignore[misc]
    values = {
        "PROFILE": "test",
        "DATABASE_URL": database,
        "DATABASE_DIRECT_URL": database,
        "DATA_DIR": str(tmp_path),
        "ISSUER": "https://accounts.example.com",
        "PUBLIC_URL": "https://accounts.example.com",
        "MAIL_URL": "console:",
        "LOG_LEVEL": "WARNING",
    }
    settings = Settings.from_environment({f"USERSERVICE_{name}": value for name, value in values.items()})
    with bootstrap(settings) as service:
        # Until it has loaded the revocations, it asks the primary for them.
        client = PipelineClient(service.pipeline)
        eventually(lambda: client.request("GET", "/health/ready").status == 200)
        yield _Installation(service, admin, token_of(service, admin), statements)


def test_a_read_is_one_statement(installation: _Installation) -> None:
    """Of one resource and of a page, however many rows and roles; permissions come from memory."""
    path = f"/admin/users/{installation.admin.id}"
    address = {"addressLine1": "1 Main Street", "city": "Paris", "postalCode": "75001", "countryCode": "FR"}
    client = PipelineClient(installation.service.pipeline)
    assert send_json(client, "POST", "/users/me/addresses", address, token=installation.token).status == 201

    costs = {
        target: installation.cost_of("GET", target)
        for target in (
            "/users/me",
            "/users/me/profile",
            "/users/me/addresses",
            path,
            f"{path}?include=loginState",
            f"{path}/profile",
            f"{path}/addresses",
            f"{path}/roles",
            "/admin/users",
            "/admin/users?limit=100&sort=-lastLoginAt&email=example&deleted=any&status=pending_verification",
            f"/admin/roles/{ADMIN_ROLE.id}/users",
            f"/admin/roles/{ADMIN_ROLE.id}/permissions",
            "/admin/roles",
            "/admin/permissions?limit=100",
        )
    }
    assert costs == dict.fromkeys(costs, 1)


def test_a_warm_permission_check_is_none(installation: _Installation) -> None:
    """Neither for the caller, nor for who is asked about."""
    check = {"userId": str(installation.admin.id), "permissions": ["user:read", "role:list"]}

    assert installation.cost_of("POST", "/auth/check-permissions", check) == 0
    assert installation.cost_of("POST", "/auth/check-permissions/batch", {"checks": [check] * 100}) == 0
    assert installation.cost_of("GET", f"/users/{installation.admin.id}/effective-permissions") == 0


def test_a_warm_introspection_is_none(installation: _Installation) -> None:
    """Neither for the client that asks, nor for the token; and whoever is refused costs one."""
    new = installation.service.use_cases.service_clients.create(
        actor=OPERATOR, name="Invoices", permissions=["user:read"]
    )
    client = PipelineClient(installation.service.pipeline)

    def introspect(secret: str) -> int:
        form = {"client_id": str(new.client.id), "client_secret": secret, "token": installation.token}
        installation.statements.clear()
        status = client.request(
            "POST",
            "/oauth/introspect",
            headers=(("content-type", "application/x-www-form-urlencoded"),),
            body=urlencode(form).encode(),
        ).status
        assert status == (200 if secret == new.text else 401)
        return len(installation.statements)

    introspect(new.text)
    assert [introspect(new.text) for _ in range(3)] == [0, 0, 0]
    assert introspect("another") <= 2


def test_a_refresh_is_one_statement(installation: _Installation, database: str) -> None:
    """It is a transaction of its own, changes the session alone, and nobody is told."""
    email, password = "refreshing@example.com", "a sentence works well"
    client = PipelineClient(installation.service.pipeline)
    assert send_json(client, "POST", "/auth/register", {"email": email, "password": password}).status == 201
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE users SET status = 'active', email_verified = true WHERE email = %s", (email,))
        signed_in = send_json(client, "POST", "/auth/login", {"email": email, "password": password})
        rows = "SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM audit_entries)"
        before = connection.execute(rows).fetchone()
        token = json_of(signed_in)["refreshToken"]
        for _ in range(3):
            installation.statements.clear()
            refreshed = send_json(client, "POST", "/auth/refresh-token", {"refreshToken": token})
            assert refreshed.status == 200
            assert [statement[:16] for statement in installation.statements] == [b"UPDATE sessions "]
            token = json_of(refreshed)["refreshToken"]
        assert connection.execute(rows).fetchone() == before


def test_an_event_loop_runs_no_statement(installation: _Installation) -> None:
    """Not even where nothing is known yet: then a thread runs them, while the loop goes on."""
    new = installation.service.use_cases.service_clients.create(
        actor=OPERATOR, name="Invoices", permissions=["user:read"]
    )
    form = {"client_id": str(new.client.id), "client_secret": new.text, "token": installation.token}
    check = {"userId": str(installation.admin.id), "permissions": ["user:read"]}
    questions = (
        ("/auth/check-permissions", "application/json", json.dumps(check).encode()),
        ("/auth/check-permissions/batch", "application/json", json.dumps({"checks": [check] * 2}).encode()),
        ("/oauth/introspect", "application/x-www-form-urlencoded", urlencode(form).encode()),
    )
    installation.statements.clear()
    for path, content_type, body in questions:
        headers = (("authorization", f"Bearer {installation.token}"), ("content-type", content_type))
        request = Request(
            method="POST", path=path, headers=headers if "json" in content_type else headers[1:], body=body
        )
        begun = installation.service.pipeline.begin(request)
        first = begun if isinstance(begun, Response) else begun.result(timeout=10)
        again = installation.service.pipeline.begin(request)
        assert isinstance(again, Response)
        assert (first.status, first.body) == (again.status, again.body) == (200, again.body)

    assert installation.statements == []


def test_the_rest_of_a_list_is_one_statement_a_page(installation: _Installation) -> None:
    """From the first page to the last; only a page past the last one asks again, for the total."""
    client = PipelineClient(installation.service.pipeline)
    targets, costs = ["/admin/users?limit=7"], []
    while targets:
        target = targets.pop()
        installation.statements.clear()
        page = json_of(send_json(client, "GET", target, token=installation.token))["page"]
        costs.append(len(installation.statements))
        targets += [f"/admin/users?limit=7&cursor={cursor}" for cursor in (page["nextCursor"],) if cursor]
    # The first call of all fills the caches.
    assert costs[1:] == [1] * (_USERS // 7)
    installation.statements.clear()
    assert send_json(client, "GET", "/admin/users?page=50", token=installation.token).status == 200
    assert len(installation.statements) == 2
