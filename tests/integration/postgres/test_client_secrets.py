"""Secrets of clients, held by one process and changed by another."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import pytest

from userservice_core.application.client_tokens import ClientCredentials
from userservice_core.bootstrap import UserService, bootstrap
from userservice_core.config import Settings
from userservice_core.domain.clients import OPERATOR
from userservice_core.errors import InvalidClientError
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.host import PipelineClient

if TYPE_CHECKING:
    from pathlib import Path

    from userservice_core.application.service_clients import NewSecret

_BOUND_SECONDS: Final = 5.0


@pytest.mark.parametrize("is_notified", [True, False])
def test_a_secret_that_ends_elsewhere_is_refused_in_time(database: str, tmp_path: Path, *, is_notified: bool) -> None:
    """As a revoked token is, also where nothing but the poll tells of it; a new one is taken at once."""
    values = {
        "PROFILE": "test",
        "DATABASE_URL": database,
        **({"DATABASE_DIRECT_URL": database} if is_notified else {}),
        "DATA_DIR": str(tmp_path),
        "ISSUER": "https://accounts.example.com",
        "MAIL_URL": "console:",
        "LOG_LEVEL": "ERROR",
    }
    settings = Settings.from_environment({f"USERSERVICE_{name}": value for name, value in values.items()})
    with contextlib.ExitStack() as stack:
        here, there = (stack.enter_context(bootstrap(settings)) for _ in range(2))
        for service in (here, there):
            client = PipelineClient(service.pipeline)
            eventually(lambda client=client: client.request("GET", "/health/ready").status == 200)  # type: ignore[misc]
        clients = here.use_cases.service_clients
        first = clients.create(actor=OPERATOR, name="Invoices", permissions=["user:read"])
        assert _is_taken(there, first)
        second = clients.rotate_secret(actor=OPERATOR, client_id=first.client.id)
        assert [_is_taken(there, secret) for secret in (first, second)] == [True, True]

        clients.delete_secret(actor=OPERATOR, client_id=first.client.id, secret_id=first.id)
        ended_at = time.monotonic()
        assert not _is_taken(here, first)
        eventually(lambda: not _is_taken(there, first))

        assert time.monotonic() - ended_at <= _BOUND_SECONDS
        assert [_is_taken(service, second) for service in (here, there)] == [True, True]


def _is_taken(service: UserService, secret: NewSecret) -> bool:
    credentials = ClientCredentials(client_id=str(secret.client.id), secret=secret.text)
    try:
        service.use_cases.client_tokens.introspect(credentials=credentials, token="x")
    except InvalidClientError:
        return False
    return True
