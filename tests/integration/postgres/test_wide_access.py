"""Somebody with two hundred roles, each of which grants five hundred permissions, is no harder to ask about."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest

from userservice_core.application.authorization import PermissionCheck
from userservice_core.bootstrap import bootstrap, new_key_ring
from userservice_core.config import Settings
from userservice_core.domain.ids import UserId
from userservice_core.infrastructure.postgres.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from userservice_core.bootstrap import UserService

_ROLES: Final = 200
_PERMISSIONS: Final = 500
_CHECKS: Final = 100


@pytest.fixture(params=[True, False], ids=["process", "function"])
def service(request: pytest.FixtureRequest, database: str) -> Iterator[UserService]:
    """The service as a process that keeps a cache, and as a function that keeps nothing between calls."""
    environment = {
        "USERSERVICE_PROFILE": "test",
        "USERSERVICE_DATABASE_URL": database,
        "USERSERVICE_DATABASE_POOL_SIZE": "2",
        "USERSERVICE_ISSUER": "https://accounts.example.com",
        "USERSERVICE_KEYRING": new_key_ring(),
    }
    with contextlib.closing(bootstrap(Settings.from_environment(environment), background=request.param)) as opened:
        yield opened


@pytest.fixture
def holder(service: UserService, observer: psycopg.Connection) -> UserId:
    """A user with all of the roles."""
    assert service.use_cases.accounts.create_first_administrator(email="root@example.com") is not None
    observer.execute("DELETE FROM user_roles")
    observer.execute(
        "INSERT INTO permissions (permission_id, resource, action, is_system_permission)"
        " SELECT gen_random_uuid(), 'wide', 'action_' || n, false FROM generate_series(1, %s) n",
        (_PERMISSIONS,),
    )
    observer.execute(
        "INSERT INTO roles (role_id, name, name_key, is_system_role, version)"
        " SELECT gen_random_uuid(), 'wide ' || n, 'wide ' || n, false, 1 FROM generate_series(1, %s) n",
        (_ROLES,),
    )
    observer.execute(
        "INSERT INTO role_permissions SELECT role_id, permission_id FROM roles, permissions"
        " WHERE name LIKE 'wide %%' AND resource = 'wide'"
    )
    observer.execute("INSERT INTO user_roles SELECT user_id, role_id FROM users, roles WHERE roles.name LIKE 'wide %%'")
    row = observer.execute("SELECT user_id FROM users").fetchone()
    assert row is not None
    return UserId(row[0])


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reads that this thread asks of the database; others of the process watch for what was revoked."""
    asked: list[str] = []
    this = threading.get_ident()

    def counted(name: str) -> Any:  # noqa: ANN401 - a method of any shape
        original = getattr(Database, name)

        def ask(self: Database, statement: Any, **params: Any) -> Any:  # noqa: ANN401
            if threading.get_ident() == this:
                asked.append(name)
            return original(self, statement, **params)

        return ask

    for name in ("fetch_all", "fetch_one"):
        monkeypatch.setattr(Database, name, counted(name))
    return asked


def test_a_hundred_questions_take_two_reads(service: UserService, holder: UserId, statements: list[str]) -> None:
    """Which roles the user holds, and what roles grant; not more for more questions, roles or permissions."""
    statements.clear()
    checks = [
        PermissionCheck(user_id=holder, permissions=tuple(f"wide:action_{n + m}" for m in range(5)))
        for n in range(1, _CHECKS + 1)
    ]
    checked = service.use_cases.authorization.check_all(checks=checks)

    assert all(each.granted for each in checked)
    assert len(checked) == _CHECKS
    assert len(statements) == 2


def test_all_that_a_user_may_do_takes_two_reads(service: UserService, holder: UserId, statements: list[str]) -> None:
    """Each permission once, though every role grants it."""
    statements.clear()
    effective = service.use_cases.authorization.effective_permissions(user_id=holder)

    assert len(effective) == _PERMISSIONS
    assert len(statements) == 2
