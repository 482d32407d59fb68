"""Where it is a secret which addresses have accounts, registering tells nobody but their owners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.hosts.installation import HOSTS, ISSUER, Installation
from userservice_core.bootstrap import bootstrap_in_memory
from userservice_core.domain.events import NotificationKind
from userservice_core.http.pipeline import HttpOptions
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

_PASSWORD: Final = "correct horse battery staple"
_OTHER_PASSWORD: Final = "an entirely different sentence"
_PER_CALL: Final = {"x-request-id", "date"}


@pytest.fixture
def hiding() -> Installation:
    """A service that hides who has an account."""
    clock = FakeClock()
    in_memory = bootstrap_in_memory(options=HttpOptions(issuer=ISSUER), clock=clock, hide_registered_emails=True)
    return Installation(in_memory=in_memory, clock=clock)


@pytest.fixture(params=HOSTS)
def hiding_client(request: pytest.FixtureRequest, hiding: Installation) -> HostClient:
    """It, behind each host in turn."""
    return HOSTS[request.param](hiding.service)


def _register(client: HostClient, email: str, password: str = _PASSWORD) -> Response:
    return send_json(client, "POST", "/auth/register", {"email": email, "password": password})


def _mails(installation: Installation, email: str) -> list[tuple[NotificationKind, bool]]:
    return [(mail.kind, mail.token is not None) for mail in installation.mails() if mail.to == email]


def _seen(response: Response) -> tuple[int, set[tuple[str, str]], bytes]:
    headers = {(name, value) for name, value in response.headers if name not in _PER_CALL}
    return response.status, headers, response.body


def _sign_in(client: HostClient, email: str, password: str) -> int:
    return send_json(client, "POST", "/auth/login", {"email": email, "password": password}).status


@pytest.mark.asvs("6.3.8")
def test_the_answer_is_the_same_for_every_address(hiding_client: HostClient, hiding: Installation) -> None:
    """Status, headers and body: new, active, pending, suspended, deactivated, deleted."""
    administrator = hiding.administrator_token("root@example.com")

    def change(email: str, method: str, content: dict[str, Any] | None = None) -> None:
        (user_id,) = (user.id for user in hiding.stored().users.values() if user.email.address == email)
        response = send_json(hiding_client, method, f"/admin/users/{user_id}", content, token=administrator)
        assert response.status in {200, 204}

    new = _register(hiding_client, "new@example.com")
    for name in ("active", "suspended", "deactivated", "deleted"):
        assert _register(hiding_client, f"{name}@example.com").status == 202
        confirmed = {"token": hiding.mailed_token(f"{name}@example.com")}
        assert send_json(hiding_client, "POST", "/auth/verify-email", confirmed).status == 200
    change("suspended@example.com", "PATCH", {"status": "suspended", "statusReason": "chargeback"})
    change("deleted@example.com", "DELETE")
    token = hiding.token_of("deactivated@example.com")
    assert send_json(hiding_client, "POST", "/users/me/deactivate", token=token).status == 204
    before = dict(hiding.stored().credentials)

    names = ("new", "active", "suspended", "deactivated", "deleted")
    again = [_register(hiding_client, f"{name.upper()}@example.com", _OTHER_PASSWORD) for name in names]

    assert (new.status, new.body) == (202, b"")
    assert [_seen(response) for response in again] == [_seen(new)] * len(names)
    assert hiding.stored().credentials == before
    assert [_mails(hiding, f"{name}@example.com")[-1] for name in names] == [
        (NotificationKind.ALREADY_REGISTERED, True),
        (NotificationKind.ALREADY_REGISTERED, True),
        (NotificationKind.ACCOUNT_SUSPENDED, False),
        (NotificationKind.ACCOUNT_DEACTIVATED, False),
        (NotificationKind.RESTORE_ACCOUNT, True),
    ]


def test_an_account_is_opened_as_ever(hiding_client: HostClient, hiding: Installation) -> None:
    """The mailed link confirms it; what is wrong with an input is told, whether there is an account or not."""
    assert _register(hiding_client, "ada@example.com").status == 202
    confirmed = {"token": hiding.mailed_token("ada@example.com")}
    assert send_json(hiding_client, "POST", "/auth/verify-email", confirmed).status == 200
    assert _sign_in(hiding_client, "ada@example.com", _PASSWORD) == 200

    refusals = [_register(hiding_client, email, "short") for email in ("ada@example.com", "bob@example.com")]

    assert {response.status for response in refusals} == {400}
    assert json_of(refusals[0])["errors"] == json_of(refusals[1])["errors"]


def test_an_owner_chooses_a_password_by_the_mail(hiding_client: HostClient, hiding: Installation) -> None:
    """What was typed by whoever tried to register is nobody's password; three mails an hour are sent."""
    assert _register(hiding_client, "ada@example.com").status == 202
    for _ in range(4):
        assert _register(hiding_client, "ada@example.com", _OTHER_PASSWORD).status == 202
    assert _mails(hiding, "ada@example.com") == [
        (NotificationKind.VERIFY_EMAIL, True),
        *[(NotificationKind.ALREADY_REGISTERED, True)] * 2,
    ]

    chosen = {"token": hiding.mailed_token("ada@example.com"), "password": "one more sentence of several words"}
    assert send_json(hiding_client, "POST", "/auth/reset-password", chosen).status == 200

    passwords = (_PASSWORD, _OTHER_PASSWORD, chosen["password"])
    assert [_sign_in(hiding_client, "ada@example.com", each) for each in passwords] == [401, 401, 200]
    outcomes = [record.entry.outcome for record in hiding.stored().audit if record.entry.action == "user.registered"]
    assert outcomes == ["succeeded", *["refused"] * 4]
