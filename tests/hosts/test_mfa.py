"""The second factor, over every host."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pyotp
import pytest

from tests.hosts.installation import Installation
from userservice_core.http.routes import ROUTES
from userservice_core.testing.host import HostClient, json_of, send_json

if TYPE_CHECKING:
    from userservice_core.http.messages import Response

_EMAIL = "ada@example.com"
_PASSWORD = "correct horse battery staple"


@attrs.define
class _Ada:
    """Somebody whose second factor is on."""

    installation: Installation
    client: HostClient
    token: str
    secret: str
    recovery_codes: list[str]

    def code(self) -> str:
        """Wait for the next code."""
        self.installation.clock.advance(timedelta(seconds=30))
        return pyotp.TOTP(self.secret).at(self.installation.clock.now())

    def send(self, path: str, body: dict[str, Any] | None = None, *, token: str | None = None) -> Response:
        """Post."""
        return send_json(self.client, "POST", path, body, token=token)

    def sign_in(self) -> Response:
        """Give the password."""
        return self.send("/auth/login", {"email": _EMAIL, "password": _PASSWORD})

    def challenge(self) -> str:
        """Give the password, and return the token for the code."""
        return str(json_of(self.sign_in())["mfaSessionToken"])


@pytest.fixture
def ada(installation: Installation, client: HostClient) -> _Ada:
    """Her second factor is on, and her session fresh."""
    installation.access_token(_EMAIL)
    login = send_json(client, "POST", "/auth/login", {"email": _EMAIL, "password": _PASSWORD})
    token = str(json_of(login)["accessToken"])
    setup = send_json(client, "POST", "/auth/mfa/setup", token=token)
    assert (setup.status, setup.header("cache-control")) == (200, "no-store")
    shown = json_of(setup)
    assert set(shown) == {"otpauthUrl", "secret", "qrSvg"}
    assert shown["otpauthUrl"].startswith("otpauth://totp/")
    assert shown["qrSvg"].startswith("<svg")
    code = pyotp.TOTP(shown["secret"]).at(installation.clock.now())
    verified = send_json(client, "POST", "/auth/mfa/verify", {"code": code}, token=token)
    assert (verified.status, verified.header("cache-control")) == (200, "no-store")
    return _Ada(installation, client, token, shown["secret"], json_of(verified)["recoveryCodes"])


def _problem(response: Response) -> tuple[int, str]:
    return response.status, json_of(response)["type"].rpartition(":")[2]


@pytest.mark.asvs("6.3.3")
def test_a_sign_in_takes_password_and_code(ada: _Ada) -> None:
    """The first answer holds no token of a session, the second is that of a sign-in."""
    first = ada.sign_in()
    token = json_of(first)["mfaSessionToken"]

    answered = ada.send("/auth/mfa/challenge", {"mfaSessionToken": token, "code": ada.code()})

    assert (first.status, set(json_of(first))) == (200, {"mfaRequired", "mfaSessionToken"})
    assert json_of(first)["mfaRequired"] is True
    assert answered.status == 200
    assert {"accessToken", "refreshToken", "user"} <= set(json_of(answered))
    assert json_of(answered)["user"]["mfaEnabled"] is True
    me = send_json(ada.client, "GET", "/users/me", token=json_of(answered)["accessToken"])
    assert (me.status, json_of(me)["mfaEnabled"]) == (200, True)
    assert send_json(ada.client, "GET", "/users/me", token=token).status == 401, "it is no access token"


def test_a_recovery_code_stands_for_the_code_once(ada: _Ada) -> None:
    """401 afterwards."""
    bodies = [{"mfaSessionToken": ada.challenge(), "recoveryCode": ada.recovery_codes[0]} for _ in range(1)]
    first = ada.send("/auth/mfa/challenge", bodies[0])
    second = ada.send("/auth/mfa/challenge", {**bodies[0], "mfaSessionToken": ada.challenge()})

    assert first.status == 200
    assert _problem(second) == (401, "mfa-code-wrong")
    assert "Bearer" in (second.header("www-authenticate") or "")


@pytest.mark.asvs("6.6.3")
def test_wrong_codes_have_an_end(ada: _Ada) -> None:
    """Five for a challenge, then 401 whatever comes; ten an hour, then 429 with when to come back."""
    token = ada.challenge()
    wrong = [ada.send("/auth/mfa/challenge", {"mfaSessionToken": token, "code": "12345x"}) for _ in range(6)]
    token = ada.challenge()
    wrong += [ada.send("/auth/mfa/challenge", {"mfaSessionToken": token, "code": "12345x"}) for _ in range(4)]
    key = {"mfaSessionToken": token, "code": "12345x"}
    body = send_json(ada.client, "POST", "/auth/mfa/challenge", key, headers=(("idempotency-key", "x" * 40),))
    blocked = ada.send("/auth/mfa/challenge", {"mfaSessionToken": ada.challenge(), "code": ada.code()})

    assert [_problem(each) for each in wrong] == [
        *[(401, "mfa-code-wrong")] * 5,
        (401, "mfa-challenge-invalid"),
        *[(401, "mfa-code-wrong")] * 4,
    ]
    assert _problem(body) == (401, "mfa-code-wrong"), "a key makes no try free"
    assert _problem(blocked) == (429, "too-many-requests")
    assert 3_000 < int(blocked.header("retry-after") or "0") <= 3_600


@pytest.mark.parametrize(
    ("members", "pointers"),
    [
        ({}, ["/code"]),
        ({"code": "1", "recoveryCode": "1"}, ["/recoveryCode"]),
        ({"code": 1, "more": 2}, ["/code", "/more"]),
        ({"code": ""}, ["/code"]),
        ({"recoveryCode": "x" * 65}, ["/recoveryCode"]),
    ],
    ids=["nothing", "both", "types", "empty", "long"],
)
def test_bad_input_is_told_with_pointers(ada: _Ada, members: dict[str, Any], pointers: list[str]) -> None:
    """And costs no try."""
    token = ada.challenge()

    refused = ada.send("/auth/mfa/challenge", {"mfaSessionToken": token, **members})

    assert _problem(refused) == (400, "invalid-input")
    assert sorted(item["pointer"] for item in json_of(refused)["errors"]) == pointers
    assert ada.send("/auth/mfa/challenge", {"mfaSessionToken": token, "code": ada.code()}).status == 200


@pytest.mark.asvs("6.3.3", "7.5.1")
def test_sensitive_operations_want_a_fresh_proof_by_code(ada: _Ada) -> None:
    """The password alone proves nothing any more; the code renews the session's token."""
    ada.installation.clock.advance(timedelta(minutes=6))
    stale = [ada.send(f"/auth/mfa/{name}", token=ada.token) for name in ("setup", "disable", "recovery-codes")]
    by_password = ada.send("/auth/reauthenticate", {"password": _PASSWORD}, token=ada.token)
    neither = ada.send("/auth/reauthenticate", {}, token=ada.token)
    wrong = ada.send("/auth/reauthenticate", {"code": "12345x"}, token=ada.token)
    proved = ada.send("/auth/reauthenticate", {"code": ada.code()}, token=ada.token)
    token = json_of(proved)["accessToken"]

    for refused in stale:
        assert refused.status == 401
        assert 'error="insufficient_user_authentication", max_age="300"' in (refused.header("www-authenticate") or "")
    assert _problem(by_password) == (401, "mfa-code-required")
    assert _problem(neither) == (400, "invalid-input")
    assert _problem(wrong) == (401, "mfa-code-wrong")
    assert proved.status == 200
    assert _problem(ada.send("/auth/mfa/setup", token=token)) == (409, "mfa-already-enabled")
    codes = ada.send("/auth/mfa/recovery-codes", token=token)
    assert (codes.status, len(json_of(codes)["recoveryCodes"])) == (200, 10)
    assert ada.send("/auth/mfa/disable", token=token).status == 204
    assert _problem(ada.send("/auth/mfa/disable", token=token)) == (409, "mfa-not-enabled")
    assert _problem(ada.send("/auth/mfa/verify", {"code": "123456"}, token=token)) == (409, "mfa-not-set-up")
    assert "accessToken" in json_of(ada.sign_in())


def test_an_administrator_resets_it(ada: _Ada) -> None:
    """204, also a second time; the password signs in then."""
    root = ada.installation.administrator_token("root@example.com")
    path = f"/admin/users/{json_of(send_json(ada.client, 'GET', '/users/me', token=ada.token))['id']}/mfa"

    answers = [send_json(ada.client, "DELETE", path, token=root) for _ in range(2)]

    assert [answer.status for answer in answers] == [204, 204]
    assert "accessToken" in json_of(ada.sign_in())
    assert [mail.kind for mail in ada.installation.mails() if mail.kind.startswith("mfa_")] == [
        "mfa_enabled",
        "mfa_reset",
    ]


def test_the_export_says_that_it_is_on_and_no_more(ada: _Ada) -> None:
    """Neither the secret nor a digest."""
    exported = send_json(ada.client, "GET", "/users/me/export", token=ada.token)

    text = exported.body.decode()
    stored = ada.installation.stored()
    assert json_of(exported)["account"]["mfaEnabled"] is True
    assert ada.secret not in text
    assert not any(factor.sealed_secret in text for factor in stored.mfa_factors.values())


def test_the_routes_are_marked() -> None:
    """What turns the second factor off, or shows what stands for it, wants a fresh proof."""
    fresh = {route.path for route in ROUTES if "/mfa" in route.path and route.fresh}

    assert fresh == {"/auth/mfa/setup", "/auth/mfa/disable", "/auth/mfa/recovery-codes", "/admin/users/{id}/mfa"}
