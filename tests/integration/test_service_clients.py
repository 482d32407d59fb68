"""Service clients on PostgreSQL: tokens and their end at the same time, and in other processes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

from userservice_core.application.client_tokens import ClientCredentials
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.domain.clients import OPERATOR
from userservice_core.errors import (
    InvalidAccessTokenError,
    InvalidClientError,
    TooManyClientSecretsError,
    UserServiceError,
)
from userservice_core.testing.contracts.races import eventually, race

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from userservice_core.application.service_clients import NewSecret
    from userservice_core.bootstrap import UserService

_PERMISSIONS: Final = ("user:read", "role:list")


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """Those of an installation on the database of the test."""
    values = {
        "PROFILE": "test",
        "DATABASE_URL": database,
        "DATABASE_DIRECT_URL": database,
        "DATA_DIR": str(tmp_path),
        "ISSUER": "https://accounts.example.com",
        "PUBLIC_URL": "https://accounts.example.com",
        "MAIL_URL": "console:",
        "LOG_LEVEL": "WARNING",
        "DATABASE_WAIT_SECONDS": "5",
    }
    return Settings.from_environment({f"USERSERVICE_{name}": value for name, value in values.items()})


@pytest.fixture
def service(settings: Settings) -> Iterator[UserService]:
    """A process of it."""
    with bootstrap(settings) as service:
        yield service


@pytest.fixture
def new(service: UserService) -> NewSecret:
    """A client."""
    return service.use_cases.service_clients.create(actor=OPERATOR, name="Invoices", permissions=_PERMISSIONS)


def _token(service: UserService, new: NewSecret) -> str:
    credentials = ClientCredentials(client_id=str(new.client.id), secret=new.text)
    return service.use_cases.client_tokens.issue(credentials=credentials, scope=None).access_token


def _is_accepted(service: UserService, token: str, *, sensitive: bool = False) -> bool:
    access = service.use_cases.access
    try:
        caller = access.authenticate(token=token, sensitive=sensitive)
        access.require(principal=caller, permission="user:read")
    except InvalidAccessTokenError:
        return False
    return True


def _set_disabled(service: UserService, new: NewSecret, is_disabled: bool) -> None:  # noqa: FBT001 - a value to set
    service.use_cases.service_clients.change(
        actor=OPERATOR,
        client_id=new.client.id,
        revise=lambda client, now: client.revised(
            name=client.name, permissions=client.permissions, is_disabled=is_disabled, now=now
        ),
    )


def _delete_secret(service: UserService, new: NewSecret) -> None:
    service.use_cases.service_clients.delete_secret(actor=OPERATOR, client_id=new.client.id, secret_id=new.id)


@pytest.mark.parametrize(
    "end",
    [lambda service, new: _set_disabled(service, new, is_disabled=True), _delete_secret],
    ids=["disable", "delete"],
)
def test_no_token_outlives_the_end_of_what_it_was_got_by(
    service: UserService, new: NewSecret, end: Callable[[UserService, NewSecret], None]
) -> None:
    """Fifty ask for tokens while the client is disabled, or its secret deleted: all they got is refused for good."""
    tokens: list[str] = []
    ended = threading.Event()
    refusals: list[UserServiceError] = []

    def ask(_: int) -> None:
        while not ended.is_set():
            try:
                tokens.append(_token(service, new))
            except InvalidClientError as refusal:
                refusals.append(refusal)
                return

    with ThreadPoolExecutor(51) as threads:
        asking = [threads.submit(ask, number) for number in range(50)]
        eventually(lambda: len(tokens) >= 50)
        end(service, new)
        eventually(lambda: len(refusals) == 50)
        ended.set()
        for each in asking:
            each.result()

    assert not any(_is_accepted(service, token, sensitive=True) for token in tokens)
    other = service.use_cases.service_clients
    _set_disabled(service, new, is_disabled=False)
    again = other.create_secret(actor=OPERATOR, client_id=new.client.id)
    assert _is_accepted(service, _token(service, again), sensitive=True)
    assert not any(_is_accepted(service, token, sensitive=True) for token in tokens)


def test_another_process_refuses_what_has_ended(service: UserService, new: NewSecret, settings: Settings) -> None:
    """Within moments, without being asked to; and it hears what a client may do now."""
    token = _token(service, new)
    with bootstrap(settings) as other:
        eventually(lambda: other.health.report().status.takes_requests)
        assert _is_accepted(other, token)
        service.use_cases.service_clients.change(
            actor=OPERATOR,
            client_id=new.client.id,
            revise=lambda client, now: client.revised(
                name=client.name, permissions=frozenset(), is_disabled=False, now=now
            ),
        )
        caller = other.use_cases.access.authenticate(token=token)
        eventually(lambda: not other.use_cases.access.permissions_of_caller(caller).names)
        _set_disabled(service, new, is_disabled=True)
        eventually(lambda: not _is_refusal_missing(other, token))


def _is_refusal_missing(service: UserService, token: str) -> bool:
    """Tell whether the process's memory still takes the token for good."""
    try:
        return service.use_cases.access.authenticate(token=token) is not None
    except InvalidAccessTokenError:
        return False


def test_a_client_has_two_secrets_whoever_asks_at_once(service: UserService, new: NewSecret) -> None:
    """Of many requests for a second one, one succeeds; all others are told that there are two."""
    clients = service.use_cases.service_clients
    outcomes = race([lambda: clients.create_secret(actor=OPERATOR, client_id=new.client.id)] * 8)

    refused = [outcome for outcome in outcomes if isinstance(outcome, TooManyClientSecretsError)]
    assert len(refused) == 7, outcomes
    assert len(clients.get(client_id=new.client.id).secrets) == 2
