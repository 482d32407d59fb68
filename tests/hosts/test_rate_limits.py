"""What is tried too often is refused, over every host."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts.installation import HOSTS, Installation
from userservice_core.domain.rate_limits import Limit, RatePolicy
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

_EMAIL = "ada@example.com"
_PASSWORD = "correct horse battery staple"
_WRONG = "not this one"


def _begin(rates: RatePolicy | None = None, **options: Any) -> Installation:  # noqa: ANN401
    return Installation.begin(FakeClock(), rates=rates or RatePolicy(), **options)


@pytest.fixture
def limited() -> Iterator[Installation]:
    """An installation with the limits that are declared."""
    installation = _begin()
    with installation.service:
        yield installation


@pytest.fixture(params=HOSTS)
def user(request: pytest.FixtureRequest, limited: Installation) -> HostClient:
    """A client of each host."""
    limited.access_token(_EMAIL)
    return HOSTS[request.param](limited.service)


def _sign_in(client: HostClient, password: str = _WRONG, email: str = _EMAIL, **members: str) -> Response:
    return send_json(client, "POST", "/auth/login", {"email": email, "password": password, **members})


@pytest.mark.asvs("6.3.1")
def test_the_eleventh_failure_for_an_address_is_refused(user: HostClient, limited: Installation) -> None:
    """Before any password is looked at: the right one is refused as well, until a quarter of an hour has passed."""
    assert [_sign_in(user).status for _ in range(11)] == [401] * 10 + [429]

    refused = _sign_in(user, _PASSWORD)

    assert (refused.status, json_of(refused)["type"]) == (429, "urn:userservice:problem:too-many-requests")
    assert refused.header("retry-after") == "900"
    assert limited.service.metrics.render()[0].count(b'rate_limited{outcome="sign-in"} 2') == 1
    limited.clock.advance(timedelta(seconds=900))
    assert _sign_in(user, _PASSWORD).status == 200


def test_addresses_that_do_not_exist_are_refused_alike(user: HostClient) -> None:
    """Nobody learns from a limit whether there is an account."""
    for _ in range(10):
        _sign_in(user)
        _sign_in(user, email="nobody@example.com")

    known, unknown = _sign_in(user), _sign_in(user, email="Nobody@Example.com")

    assert known.status == unknown.status == 429
    assert {**json_of(known), "requestId": ""} == {**json_of(unknown), "requestId": ""}


def test_sign_ins_that_succeed_do_not_count(user: HostClient) -> None:
    """Nor does it matter how many there are."""
    for _ in range(12):
        assert _sign_in(user, _PASSWORD).status == 200
    assert [_sign_in(user).status for _ in range(11)] == [401] * 10 + [429]


def test_strangers_do_not_shut_a_known_device_out(user: HostClient) -> None:
    """It is counted by itself, and only its own failures count; another's device is no known one."""
    token = json_of(_sign_in(user, _PASSWORD))["deviceToken"]
    assert [_sign_in(user).status for _ in range(11)][-1] == 429

    assert _sign_in(user, _PASSWORD, deviceToken=token).status == 200
    assert _sign_in(user, _PASSWORD, deviceToken="s1.bent.token").status == 429
    assert [_sign_in(user, deviceToken=token).status for _ in range(11)] == [401] * 10 + [429]


def test_an_address_of_the_network_is_refused_after_a_hundred(user: HostClient) -> None:
    """Whichever accounts were tried: one password for many accounts is guessing too."""
    statuses = [_sign_in(user, email=f"user{number}@example.com").status for number in range(101)]

    assert statuses == [401] * 100 + [429]
    assert send_json(user, "POST", "/auth/register", {"email": "b@example.com", "password": _PASSWORD}).status == 429


def test_a_caller_is_asked_for_the_password_ten_times(user: HostClient, limited: Installation) -> None:
    """Whoever took over a session may not guess on; another user of the same place may."""
    token = json_of(_sign_in(user, _PASSWORD))["accessToken"]
    body = {"currentPassword": _WRONG, "newPassword": "another sentence, as long"}

    changes = [send_json(user, "POST", "/auth/change-password", body, token=token).status for _ in range(5)]
    proofs = [send_json(user, "POST", "/auth/reauthenticate", {"password": "no"}, token=token).status for _ in range(6)]

    assert (changes, proofs) == ([400] * 5, [401] * 5 + [429])
    other = limited.access_token("grace@example.com")
    assert send_json(user, "POST", "/auth/reauthenticate", {"password": "no"}, token=other).status == 401


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("by_change", [False, True])
def test_wrong_passwords_end_the_session_they_were_given_in(host: str, by_change: bool) -> None:  # noqa: FBT001
    """Once there were as many as lock the account; another session goes on, and the right password proves there."""
    installation = _begin(RatePolicy(limits={}, account_failures=3))
    with installation.service:
        client = HOSTS[host](installation.service)
        installation.access_token(_EMAIL)
        token, other = (json_of(_sign_in(client, _PASSWORD))["accessToken"] for _ in range(2))
        path, body = "/auth/reauthenticate", {"password": _WRONG}
        if by_change:
            path, body = "/auth/change-password", {"currentPassword": _WRONG, "newPassword": "a sentence, as long"}

        answers = [json_of(send_json(client, "POST", path, body, token=token)) for _ in range(4)]

        code = "current-password-wrong" if by_change else "invalid-credentials"
        assert [answer["type"].rpartition(":")[2] for answer in answers] == [code] * 3 + ["invalid-token"]
        proved = send_json(client, "POST", "/auth/reauthenticate", {"password": _PASSWORD}, token=other)
        assert (proved.status, _sign_in(client, _PASSWORD).status) == (200, 401)


def test_wrong_secrets_of_clients_are_counted(user: HostClient) -> None:
    """In the language of OAuth, with a time to wait."""
    basic = base64.b64encode(b"018f0000-0000-7000-8000-000000000000:guess").decode()
    headers = (("authorization", f"Basic {basic}"), ("content-type", "application/x-www-form-urlencoded"))

    answers = [
        user.request("POST", "/oauth/token", headers=headers, body=b"grant_type=client_credentials") for _ in range(101)
    ]

    assert [answer.status for answer in answers] == [401] * 100 + [429]
    assert json_of(answers[-1])["error"] == "temporarily_unavailable"
    assert answers[-1].header("retry-after") == "900"


@pytest.mark.parametrize("host", ["pipeline", "starlette", "flask", "lambda"])
@pytest.mark.parametrize("hops", [0, 1])
def test_a_made_up_header_evades_no_limit(host: str, hops: int) -> None:
    """Only what trusted proxies wrote counts: another X-Forwarded-For each time is one address all the same."""
    installation = _begin(RatePolicy(limits={"sign-in.address": Limit(5, 60)}), trusted_proxy_hops=hops)
    with installation.service:
        client = HOSTS[host](installation.service)
        body = b'{"email": "a@example.com", "password": "x"}'
        statuses = []
        for number in range(7):
            trusted = ", 198.51.100.7" if hops else ""
            headers = (
                ("content-type", "application/json"),
                ("x-forwarded-for", f"203.0.113.{number}{trusted}"),
                ("forwarded", f"for=203.0.113.{number}"),
                ("x-real-ip", f"203.0.113.{number}"),
            )
            statuses.append(client.request("POST", "/auth/login", headers=headers, body=body).status)
    assert statuses == [401] * 5 + [429] * 2


@pytest.mark.asvs("2.4.1")
@pytest.mark.parametrize("host", HOSTS)
def test_each_rate_class_may_be_limited(host: str) -> None:
    """By caller where there is one, by address where there is none, and each class by itself."""
    limits = {name: Limit(2, 60) for name in ("read.caller", "write.caller", "mail.address", "refresh.address")}
    installation = _begin(RatePolicy(limits=limits))
    with installation.service:
        client = HOSTS[host](installation.service)
        ada, grace = (installation.access_token(f"{name}@example.com") for name in ("ada", "grace"))

        assert [send_json(client, "GET", "/users/me", token=ada).status for _ in range(3)] == [200, 200, 429]
        assert send_json(client, "GET", "/users/me", token=grace).status == 200
        patch = {"bio": "short"}
        written = [send_json(client, "PATCH", "/users/me/profile", patch, token=ada).status for _ in range(3)]
        assert written == [200, 200, 429]
        asked = [
            send_json(client, "POST", "/auth/request-password-reset", {"email": "a@example.com"}).status
            for _ in range(3)
        ]
        assert asked == [202, 202, 429]
        refreshed = [send_json(client, "POST", "/auth/refresh-token", {"refreshToken": "x"}).status for _ in range(3)]
        assert refreshed == [401, 401, 429]
