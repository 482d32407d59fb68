"""Choosing passwords and proving again who one is, over every host."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts.installation import HOSTS, LEAKED_PASSWORD, Installation, sample_route
from userservice_core.http.call import empty_response
from userservice_core.http.routes import Caller
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

_EMAIL = "ada@example.com"
_PASSWORD = "correct horse battery staple"
_NEW = "another sentence, as long"


def _sign_in(client: HostClient, password: str = _PASSWORD, **members: str) -> Response:
    return send_json(client, "POST", "/auth/login", {"email": _EMAIL, "password": password, **members})


@pytest.fixture
def token(installation: Installation, client: HostClient) -> str:
    """An access token of somebody who has just signed in."""
    installation.access_token(_EMAIL)
    return str(json_of(_sign_in(client))["accessToken"])


@pytest.mark.asvs("6.2.2", "6.2.3", "7.4.3")
def test_a_password_is_changed_by_who_knows_it(client: HostClient, token: str) -> None:
    """The session goes on; the next sign-in takes the new one."""
    body = {"currentPassword": _PASSWORD, "newPassword": _NEW}

    changed = send_json(client, "POST", "/auth/change-password", body, token=token)

    assert (changed.status, json_of(changed)["email"]) == (200, _EMAIL)
    assert send_json(client, "GET", "/users/me", token=token).status == 200
    assert (_sign_in(client).status, _sign_in(client, _NEW).status) == (401, 200)


@pytest.mark.parametrize(
    ("body", "code", "pointers"),
    [
        ({"currentPassword": "not this one", "newPassword": _NEW}, "current-password-wrong", []),
        ({"currentPassword": _PASSWORD, "newPassword": "short"}, "invalid-input", ["/newPassword"]),
        ({"currentPassword": _PASSWORD, "newPassword": _PASSWORD}, "invalid-input", ["/newPassword"]),
        ({}, "invalid-input", ["/currentPassword", "/newPassword"]),
    ],
    ids=["wrong", "short", "the same", "nothing"],
)
def test_a_refused_change_says_why(
    client: HostClient, token: str, body: dict[str, str], code: str, pointers: list[str]
) -> None:
    """400 in each case, and the password stays."""
    refused = send_json(client, "POST", "/auth/change-password", body, token=token)

    problem = json_of(refused)
    assert (refused.status, problem["type"].rpartition(":")[2]) == (400, code)
    assert [item["pointer"] for item in problem.get("errors", ())] == pointers
    assert _sign_in(client).status == 200


@pytest.mark.parametrize("name", HOSTS)
def test_a_password_that_was_used_before_is_refused(name: str) -> None:
    """By a change and by a reset, where the settings remember some, which the policy says."""
    installation = Installation.begin(FakeClock(), password_history=2)
    client = HOSTS[name](installation.service)
    installation.access_token(_EMAIL)

    def change(current: str, new: str) -> Response:
        token = str(json_of(_sign_in(client, current))["accessToken"])
        body = {"currentPassword": current, "newPassword": new}
        return send_json(client, "POST", "/auth/change-password", body, token=token)

    assert json_of(send_json(client, "GET", "/auth/password-policy"))["rememberedPasswords"] == 2
    assert change(_PASSWORD, _NEW).status == 200
    assert send_json(client, "POST", "/auth/request-password-reset", {"email": _EMAIL}).status == 202
    body = {"token": installation.mailed_token(_EMAIL), "password": _PASSWORD}

    refused = [change(_NEW, _PASSWORD), send_json(client, "POST", "/auth/reset-password", body)]

    assert [(answer.status, json_of(answer)["type"].rpartition(":")[2]) for answer in refused] == [
        (400, "invalid-input")
    ] * 2
    assert [[(item["pointer"], item["code"]) for item in json_of(answer)["errors"]] for answer in refused] == [
        [("/newPassword", "password-reused")],
        [("/password", "password-reused")],
    ]
    assert _sign_in(client, _NEW).status == 200


@pytest.mark.asvs("7.5.1")
def test_an_operation_that_wants_a_recent_sign_in_takes_a_new_proof() -> None:
    """A refresh is none; a password is, and its token is of the same session."""

    def sensitive_thing(call: Call) -> Response:
        assert call.caller is not None
        return empty_response(204)

    route = sample_route(sensitive_thing, who=Caller.USER, fresh=True, path="/thing")
    for make in HOSTS.values():
        installation = Installation.begin(FakeClock())
        client = make(installation.with_routes(route))
        installation.access_token(_EMAIL)
        signed_in = json_of(_sign_in(client))
        installation.clock.advance(timedelta(minutes=5, seconds=1))
        tokens: dict[str, Any] = json_of(
            send_json(client, "POST", "/auth/refresh-token", {"refreshToken": signed_in["refreshToken"]})
        )
        refused = send_json(client, "GET", "/thing", token=tokens["accessToken"])
        wrong = send_json(
            client, "POST", "/auth/reauthenticate", {"password": "not this one"}, token=tokens["accessToken"]
        )
        proved = send_json(client, "POST", "/auth/reauthenticate", {"password": _PASSWORD}, token=tokens["accessToken"])

        assert refused.status == 401
        assert 'error="insufficient_user_authentication", max_age="300"' in (refused.header("www-authenticate") or "")
        assert (wrong.status, json_of(wrong)["type"].rpartition(":")[2]) == (401, "invalid-credentials")
        answer = json_of(proved)
        assert (proved.status, proved.header("cache-control")) == (200, "no-store")
        assert set(answer) == {"accessToken", "tokenType", "expiresIn"}
        assert send_json(client, "GET", "/thing", token=answer["accessToken"]).status == 204
        logged_out = send_json(client, "POST", "/auth/logout", token=answer["accessToken"])
        again = send_json(client, "POST", "/auth/refresh-token", {"refreshToken": tokens["refreshToken"]})
        assert (logged_out.status, again.status) == (204, 401), "it is of the same session"


@pytest.mark.asvs("6.3.2")
def test_the_first_administrator_chooses_a_password_at_the_first_sign_in(
    installation: Installation, client: HostClient
) -> None:
    """403 without a new one, which only whoever has the right one is told."""
    issued = installation.service.use_cases.accounts.create_first_administrator(email=_EMAIL)
    assert issued is not None

    refused, wrong = _sign_in(client, issued), _sign_in(client, "not this one", newPassword=_NEW)
    short = _sign_in(client, issued, newPassword="short")
    signed_in = _sign_in(client, issued, newPassword=_NEW)

    assert (refused.status, json_of(refused)["type"].rpartition(":")[2]) == (403, "password-change-required")
    assert wrong.status == 401
    assert [item["pointer"] for item in json_of(short)["errors"]] == ["/newPassword"]
    assert (signed_in.status, _sign_in(client, _NEW).status) == (200, 200)


@pytest.mark.asvs("6.2.12")
@pytest.mark.parametrize("is_away", [False, True])
def test_a_leaked_password_is_chosen_nowhere(
    client: HostClient,
    installation: Installation,
    token: str,
    is_away: bool,  # noqa: FBT001
) -> None:
    """Not at a registration, a change or a reset: 400, or 503 where it cannot be told; the link stays good."""
    send_json(client, "POST", "/auth/request-password-reset", {"email": _EMAIL})
    link = installation.mailed_token(_EMAIL)
    before = installation.stored().credentials
    installation.breached.is_away = is_away

    answers = [
        send_json(client, "POST", "/auth/register", {"email": "eve@example.com", "password": LEAKED_PASSWORD}),
        send_json(client, "POST", "/auth/reset-password", {"token": link, "password": LEAKED_PASSWORD}),
        send_json(
            client,
            "POST",
            "/auth/change-password",
            {"currentPassword": _PASSWORD, "newPassword": LEAKED_PASSWORD},
            token=token,
        ),
    ]

    problems = [(answer.status, json_of(answer)) for answer in answers]
    if is_away:
        assert [status for status, _ in problems] == [503, 503, 503]
        assert {problem["type"].rpartition(":")[2] for _, problem in problems} == {"breach-check-unavailable"}
        assert all(answer.header("retry-after") for answer in answers)
    else:
        assert [status for status, _ in problems] == [400, 400, 400]
        assert [(item["pointer"], item["code"]) for _, problem in problems for item in problem["errors"]] == [
            ("/password", "password-breached"),
            ("/password", "password-breached"),
            ("/newPassword", "password-breached"),
        ]
    assert before == installation.stored().credentials
    installation.breached.is_away = False
    assert send_json(client, "POST", "/auth/reset-password", {"token": link, "password": _NEW}).status == 200
