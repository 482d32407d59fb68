"""Texts that break programs, stored in PostgreSQL and read again."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from tests.hosts.hostile_texts import HOSTILE_TEXTS, Target, api_document, try_body
from userservice_core.bootstrap import bootstrap, new_key_ring
from userservice_core.config import Settings
from userservice_core.domain.ids import SessionId, UserId
from userservice_core.http.routes import ROUTES, Route
from userservice_core.infrastructure.system.clock import Uuid7Generator
from userservice_core.ports.security import AccessClaims
from userservice_core.testing.host import PipelineClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

_DOCUMENT: Final = api_document()
_STORING: Final = ("patch_profile", "add_address", "create_role", "create_permission")


@pytest.fixture
def target(database: str, observer: psycopg.Connection) -> Iterator[Target]:
    """The service on a database with an administrator in it."""
    environment = {
        "USERSERVICE_PROFILE": "test",
        "USERSERVICE_DATABASE_URL": database,
        "USERSERVICE_DATABASE_POOL_SIZE": "2",
        "USERSERVICE_ISSUER": "https://accounts.example.com",
        "USERSERVICE_KEYRING": new_key_ring(),
    }
    with contextlib.closing(bootstrap(Settings.from_environment(environment), background=False)) as service:
        service.use_cases.accounts.create_first_administrator(email="root@example.com")
        row = observer.execute("SELECT user_id FROM users").fetchone()
        assert row is not None
        user_id = UserId(row[0])

        def sign_in() -> str:
            now = datetime.now(UTC)
            ids = Uuid7Generator()
            claims = AccessClaims(
                user_id=user_id,
                session_id=SessionId(ids.new()),
                client_id="userservice",
                token_id=str(ids.new()),
                issued_at=now,
                expires_at=now + timedelta(minutes=10),
                auth_time=now,
                amr=("pwd",),
            )
            return service.use_cases.token_issuer.issue(claims)

        yield Target(client=PipelineClient(service.pipeline), sign_in=sign_in, user_id=user_id)


@pytest.mark.asvs("1.2.1", "1.2.4")
@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.operation_id in _STORING], ids=lambda route: str(route.operation_id)
)
def test_a_text_is_read_as_it_was_written_or_refused_with_its_place(target: Target, route: Route) -> None:
    """The database has rules of its own about text; none of them shows."""
    stored = 0
    for kind, text in HOSTILE_TEXTS.items():
        try:
            stored += len(try_body(_DOCUMENT, route, target, text))
        except AssertionError as error:
            raise AssertionError(kind) from error

    assert stored > len(HOSTILE_TEXTS) // 3
