"""Refresh tokens in a cookie, over every host: what a browser is given, and what others can make it send."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import attrs
import pyotp
import pytest

from tests.hosts.installation import COOKIE_HOSTS, HOSTS, ISSUER, Installation
from userservice_core.domain.events import NotificationKind
from userservice_core.http.cors import CrossOriginRules
from userservice_core.http.refresh_cookie import COOKIE_NAME
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import HostClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from userservice_core.http.messages import Response

_EMAIL: Final = "ada@example.com"
_PASSWORD: Final = "correct horse battery staple"
_APP: Final = "https://app.example.com"
_OWN: Final = (("origin", ISSUER), ("sec-fetch-site", "same-origin"))
_FORGOTTEN: Final = f"{COOKIE_NAME}=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Strict"

_REFRESH: Final = "/auth/refresh-token"
_USING: Final = ("/auth/login", "/auth/mfa/challenge", _REFRESH, "/auth/logout", "/auth/logout-all")


@attrs.define
class _Browser:
    """A browser that keeps the cookie as RFC 6265bis has it, and the page in it that holds the access token."""

    client: HostClient
    token: str | None = None
    access: str = ""

    def post(
        self,
        path: str,
        content: Mapping[str, Any] | None = None,
        *,
        page: Sequence[tuple[str, str]] = _OWN,
        cookies: str | None = None,
        access: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        method: str = "POST",
    ) -> Response:
        """Send a request from *page*, with the cookie or with *cookies* in its place."""
        if cookies is None and self.token is not None:
            cookies = f"theme=dark; {COOKIE_NAME}={self.token}; seen=1"
        sent = [*page, *headers, *([] if cookies is None else [("cookie", cookies)])]
        response = send_json(self.client, method, path, content, headers=sent, token=access)
        self._keep(response)
        return response

    def sign_in(self) -> Response:
        """Give the password."""
        response = self.post("/auth/login", {"email": _EMAIL, "password": _PASSWORD})
        assert response.status == 200, response.body
        self.access = json_of(response).get("accessToken", "")
        return response

    def _keep(self, response: Response) -> None:
        told = [value for name, value in response.headers if name == "set-cookie"]
        assert len(told) <= 1
        for pair, *attributes in (value.split("; ") for value in told):
            name, _, value = pair.partition("=")
            assert name == COOKIE_NAME
            lifetime, *others = attributes
            assert others == ["Path=/", "Secure", "HttpOnly", "SameSite=Strict"]
            self.token = value if lifetime != "Max-Age=0" else None


@attrs.frozen
class _House:
    """A host whose refresh tokens travel in a cookie, and somebody who has an account."""

    installation: Installation
    name: str
    client: HostClient

    @classmethod
    def open(cls, name: str, rules: CrossOriginRules | None = None) -> _House:
        """Begin."""
        installation = Installation.begin(
            FakeClock(), refresh_token_cookie=True, cross_origin=rules or CrossOriginRules()
        )
        installation.access_token(_EMAIL)
        return cls(installation, name, COOKIE_HOSTS[name](installation.service))

    def browser(self) -> _Browser:
        """Open one that nobody has used."""
        return _Browser(self.client)

    def signed_in(self) -> _Browser:
        """Open one and sign in."""
        browser = self.browser()
        browser.sign_in()
        return browser

    def open_sessions(self) -> int:
        """Count what can be refreshed."""
        now = self.installation.clock.now()
        return sum(session.is_open(now=now) for session in self.installation.stored().sessions.values())


@pytest.fixture(params=COOKIE_HOSTS)
def house(request: pytest.FixtureRequest) -> _House:
    """Each host in turn."""
    return _House.open(request.param)


def _problem(response: Response) -> tuple[int, str]:
    return response.status, json_of(response)["type"].rpartition(":")[2]


def _set_cookie(response: Response) -> str | None:
    return response.header("set-cookie")


# --- what a browser is given ------------------------------------------------------------------------------------------


@pytest.mark.asvs("3.3.1", "3.3.2", "3.3.3", "3.3.4")
def test_a_browser_keeps_the_token_and_no_script_sees_it(house: _House) -> None:
    """For this host alone, over https alone, from its own site alone, and no longer than it is good."""
    browser = house.browser()
    answer = browser.sign_in()
    told = json_of(answer)

    assert browser.token is not None
    assert _set_cookie(answer) == (
        f"__Host-refresh-token={browser.token}; Max-Age={told['refreshExpiresIn']};"
        " Path=/; Secure; HttpOnly; SameSite=Strict"
    )
    assert told["refreshExpiresIn"] == int(timedelta(days=14).total_seconds())
    assert set(told) == {"accessToken", "tokenType", "expiresIn", "refreshExpiresIn", "deviceToken", "user"}
    assert browser.token not in answer.body.decode()
    assert answer.header("cache-control") == "no-store"


def test_a_session_goes_on_and_ends_by_the_cookie(house: _House) -> None:
    """Each refresh sets the next token, and signing out removes it; what is gone is good no more."""
    browser = house.signed_in()
    first = browser.token
    refreshed = browser.post(_REFRESH)
    second = browser.token
    again = browser.post(_REFRESH, {})
    out = browser.post("/auth/logout")

    assert (refreshed.status, again.status, out.status) == (200, 200, 204)
    assert "refreshToken" not in json_of(refreshed)
    assert len({first, second}) == 2
    assert browser.token is None
    assert _set_cookie(out) == _FORGOTTEN
    assert browser.post(_REFRESH).status == 401
    assert browser.post(_REFRESH, cookies=f"{COOKIE_NAME}={second}").status == 401
    assert house.open_sessions() == 0


def test_the_second_factor_gives_the_cookie_and_the_password_alone_none(house: _House) -> None:
    """As it is with the token itself."""
    browser = house.signed_in()
    secret = json_of(browser.post("/auth/mfa/setup", access=browser.access))["secret"]
    totp = pyotp.TOTP(secret)
    code = {"code": totp.at(house.installation.clock.now())}
    assert browser.post("/auth/mfa/verify", code, access=browser.access).status == 200
    house.installation.clock.advance(timedelta(seconds=30))

    other = house.browser()
    asked = other.sign_in()
    assert (_set_cookie(asked), other.token) == (None, None)
    answer = {"mfaSessionToken": json_of(asked)["mfaSessionToken"], "code": totp.at(house.installation.clock.now())}
    answered = other.post("/auth/mfa/challenge", answer)

    assert answered.status == 200
    assert "refreshToken" not in json_of(answered)
    assert other.post(_REFRESH).status == 200


def test_what_ends_the_session_removes_the_cookie(house: _House) -> None:
    """Ending the session that asks, deactivation, deletion; ending another one removes nothing."""
    browser, other = house.signed_in(), house.signed_in()
    listed = json_of(browser.post("/auth/sessions", access=browser.access, method="GET"))["data"]
    ids = {each["current"]: each["id"] for each in listed}

    elsewhere = browser.post(f"/auth/sessions/{ids[False]}", access=browser.access, method="DELETE")
    assert (elsewhere.status, _set_cookie(elsewhere)) == (204, None)
    here = browser.post(f"/auth/sessions/{ids[True]}", access=browser.access, method="DELETE")
    assert (here.status, _set_cookie(here)) == (204, _FORGOTTEN)
    assert _problem(other.post(_REFRESH)) == (401, "invalid-refresh-token")
    assert other.token is None, "it was told to forget what is good for nothing"

    left = house.signed_in()
    assert _set_cookie(left.post("/users/me/deactivate", access=left.access)) == _FORGOTTEN
    house.installation.access_token("eve@example.com")
    gone = house.browser()
    account = {"email": "eve@example.com", "password": _PASSWORD}
    token = json_of(gone.post("/auth/login", account))["accessToken"]
    deleted = gone.post("/users/me", access=token, method="DELETE")
    assert (deleted.status, _set_cookie(deleted)) == (204, _FORGOTTEN)


def test_signing_out_takes_the_cookie_or_the_access_token(house: _House) -> None:
    """Either suffices; a cookie that is worth nothing is removed and told, and without either nobody is signed out."""
    by_cookie = house.signed_in()
    house.installation.clock.advance(timedelta(minutes=11))
    assert by_cookie.post("/auth/logout", access=by_cookie.access).status == 204, "past the access token"
    by_token = house.signed_in()
    by_token.token = None
    assert by_token.post("/auth/logout-all", access=by_token.access).status == 204
    assert house.open_sessions() == 0

    lost = house.browser()
    lost.token = "made-up"
    refused = lost.post("/auth/logout")
    assert _problem(refused) == (401, "invalid-refresh-token")
    assert _set_cookie(refused) == _FORGOTTEN
    nothing = lost.post("/auth/logout")
    assert _problem(nothing) == (401, "invalid-token")
    assert _set_cookie(nothing) is None


# --- what others can make it send -------------------------------------------------------------------------------------


_STRANGERS: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "another site": [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")],
    "another site in an old browser": [("origin", "https://evil.example")],
    "another site that is said to be the own": [("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
    "the own origin that is said to be another site": [("origin", ISSUER), ("sec-fetch-site", "cross-site")],
    "another host of the domain": [("origin", "https://blog.example.com"), ("sec-fetch-site", "same-site")],
    "another host of the domain without an origin": [("sec-fetch-site", "same-site")],
    "a frame in a sandbox": [("origin", "null"), ("sec-fetch-site", "cross-site")],
    "a frame in a sandbox of an old browser": [("origin", "null")],
    "a sandbox on the own page": [("origin", "null"), ("sec-fetch-site", "same-origin")],
    "nobody knows": [],
    "an empty origin": [("origin", "")],
    "the address bar": [("sec-fetch-site", "none")],
    "a word of a later standard": [("origin", ISSUER), ("sec-fetch-site", "same-party")],
    "without encryption": [("origin", ISSUER.replace("https", "http"))],
    "another port": [("origin", f"{ISSUER}:8443")],
    "a name that begins alike": [("origin", f"{ISSUER}.evil.example")],
    "a name that ends alike": [("origin", ISSUER.replace("//", "//evil-"))],
    "a path behind it": [("origin", f"{ISSUER}/")],
    "two origins": [("origin", ISSUER), ("origin", "https://evil.example")],
    "two origins in one": [("origin", f"{ISSUER}, {ISSUER}")],
    "two words": [("origin", ISSUER), ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
    "a referrer alone": [("referer", f"{ISSUER}/")],
    "an origin that may not send cookies": [("origin", _APP), ("sec-fetch-site", "same-site")],
}


@pytest.mark.asvs("3.5.1")
def test_no_page_of_others_makes_a_browser_use_the_cookie(house: _House) -> None:
    """Nor have one set, so that nobody works on in a stranger's session: whatever the operation, nothing is done."""
    browser = house.signed_in()
    before = house.installation.stored()
    contents = {
        "/auth/login": {"email": _EMAIL, "password": _PASSWORD},
        "/auth/mfa/challenge": {"mfaSessionToken": "x", "code": "123456"},
    }
    for path in _USING:
        for who, page in _STRANGERS.items():
            for access in (None, browser.access):
                refused = browser.post(path, contents.get(path), page=page, access=access)
                assert _problem(refused) == (403, "cross-site-request"), (path, who)
                assert _set_cookie(refused) is None, (path, who)

    assert house.installation.stored() == before
    assert browser.post(_REFRESH).status == 200


@pytest.mark.asvs("3.5.1")
def test_a_form_of_another_page_cannot_be_what_is_sent(house: _House) -> None:
    """Even from a page that may: what a form sends is no JSON, and a GET does nothing."""
    browser = house.signed_in()
    headers = [*_OWN, ("cookie", f"{COOKIE_NAME}={browser.token}")]
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        for path in _USING:
            response = house.client.request("POST", path, headers=[*headers, ("content-type", kind)], body=b"{}")
            assert response.status == 415, path
    for path in _USING:
        assert house.client.request("GET", path, headers=headers).status == 405
    assert house.open_sessions() == 1


_FRIENDS: Final = {
    "a browser of today": _OWN,
    "an old browser": (("origin", ISSUER),),
    "without an origin": (("sec-fetch-site", "same-origin"),),
}


@pytest.mark.parametrize("name", COOKIE_HOSTS)
def test_pages_that_may_use_the_cookie_are_those_that_may_send_cookies_across_origins(name: str) -> None:
    """The service's own always; others by the settings for them, and the asterisk names nobody."""
    app = [("origin", _APP), ("sec-fetch-site", "same-site")]
    rules = {
        True: CrossOriginRules(origins=(_APP,), allow_credentials=True),
        False: CrossOriginRules(origins=(_APP,)),
        None: CrossOriginRules(origins=("*",)),
    }
    for may, rule in rules.items():
        browser = _House.open(name, rule).signed_in()
        answered = browser.post(_REFRESH, page=app)
        assert answered.status == (200 if may else 403)
        assert answered.header("access-control-allow-credentials") == ("true" if may else None)
        for page in _FRIENDS.values():
            assert browser.post(_REFRESH, page=page).status == 200
        assert browser.post(_REFRESH, page=[("origin", "*")]).status == 403
        assert browser.post(_REFRESH, page=[("origin", _APP), ("sec-fetch-site", "cross-site")]).status == 403


@pytest.mark.parametrize(
    ("issuer", "origin"),
    [
        ("https://Accounts.Example.com:443/users", "https://accounts.example.com"),
        ("https://accounts.example.com:8443", "https://accounts.example.com:8443"),
        ("http://localhost:80", "http://localhost"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
    ],
)
def test_the_own_origin_is_that_of_the_issuer_as_browsers_write_it(
    installation: Installation, issuer: str, origin: str
) -> None:
    """In lower case, without path and without the port that is usual."""
    service = installation.with_routes(issuer=issuer, refresh_token_cookie=True)
    browser = _Browser(COOKIE_HOSTS["pipeline"](service))

    assert _problem(browser.post(_REFRESH, page=[("origin", origin)])) == (401, "invalid-refresh-token")
    assert browser.post(_REFRESH, page=[("origin", f"{origin}:444")]).status == 403


# --- what else is in the cookies, and in the body ---------------------------------------------------------------------


def test_a_token_in_the_body_is_refused_whether_there_is_a_cookie_or_not(house: _House) -> None:
    """There is one place for it, which no script reads; the session is as it was."""
    browser = house.signed_in()
    before = house.installation.stored()
    for path in (_REFRESH, "/auth/logout", "/auth/logout-all"):
        for cookies in (None, ""):
            refused = browser.post(path, {"refreshToken": browser.token}, cookies=cookies)
            assert _problem(refused) == (400, "invalid-input"), path
            assert [fault["pointer"] for fault in json_of(refused)["errors"]] == ["/refreshToken"], path

    assert house.installation.stored() == before
    assert browser.post(_REFRESH).status == 200


def test_what_another_host_of_the_domain_puts_in_its_place_is_not_taken(house: _House) -> None:
    """
    A cookie for the whole domain cannot have the name, and what is only like it is another; of two, neither counts.

    Not even where a client of old would read it so: by case, by white space, by a comma, in quotes.
    """
    browser, stranger = house.signed_in(), house.signed_in()
    good, evil = browser.token, stranger.token
    before = house.installation.stored()
    tossed = (
        f"{COOKIE_NAME}={good}; {COOKIE_NAME}={evil}",
        f"{COOKIE_NAME}={evil}; {COOKIE_NAME}={good}",
        f"{COOKIE_NAME}={good}; {COOKIE_NAME}={good}",
        f"{COOKIE_NAME}={good}; {COOKIE_NAME}=",
        f"{COOKIE_NAME}={good};{COOKIE_NAME}",
        f"{COOKIE_NAME.lower()}={evil}",
        f"__Secure-refresh-token={evil}",
        f"refresh-token={evil}",
        f"theme=dark, {COOKIE_NAME}={evil}",
        f"theme=dark,{COOKIE_NAME}={evil}",
        f"$Version=1, {COOKIE_NAME}={evil}",
        f"\xa0{COOKIE_NAME}={evil}",
        f"{COOKIE_NAME} ={evil}",
        f'theme="; {COOKIE_NAME}\u00a0={evil}"',
        f"={COOKIE_NAME}={evil}",
        f"{COOKIE_NAME}%3D{evil}",
        f'{COOKIE_NAME}="{evil}"',
        f"{COOKIE_NAME}= {evil}",
        f"{COOKIE_NAME}=",
        COOKIE_NAME,
        ";;;=;",
    )
    for cookies in tossed:
        assert _problem(_Browser(house.client).post(_REFRESH, cookies=cookies)) == (401, "invalid-refresh-token")
        out = _Browser(house.client).post("/auth/logout", cookies=cookies)
        assert out.status == 401, cookies

    assert house.installation.stored() == before
    assert browser.post(_REFRESH, cookies=f"theme=a,b;{COOKIE_NAME}={good};\ttheme=c").status == 200


def test_two_cookies_that_are_not_told_apart_are_not_forgotten(house: _House) -> None:
    """The own one may be good again once the other is gone."""
    browser = house.signed_in()

    refused = browser.post(_REFRESH, cookies=f"{COOKIE_NAME}={browser.token}; {COOKIE_NAME}=x")

    assert (refused.status, _set_cookie(refused)) == (401, None)
    assert browser.post(_REFRESH).status == 200


def test_an_old_cookie_ends_the_session_and_is_removed(house: _House) -> None:
    """Whoever holds a copy is out with the owner, who is told by mail."""
    browser = house.signed_in()
    copy = _Browser(house.client, token=browser.token)
    assert browser.post(_REFRESH).status == 200
    house.installation.clock.advance(timedelta(seconds=11))

    assert _problem(copy.post(_REFRESH)) == (401, "invalid-refresh-token")

    assert copy.token is None
    assert _problem(browser.post(_REFRESH)) == (401, "invalid-refresh-token")
    assert browser.token is None
    assert NotificationKind.REFRESH_REUSED in [mail.kind for mail in house.installation.mails()]


def test_tabs_that_refresh_at_once_get_the_same_cookie(house: _House) -> None:
    """And one that comes late by two turns is refused without losing the cookie of the others: they share it."""
    browser = house.signed_in()
    first = browser.token
    tabs = [_Browser(house.client, token=first) for _ in range(3)]
    assert [tab.post(_REFRESH).status for tab in tabs] == [200, 200, 200]
    assert len({tab.token for tab in tabs}) == 1
    assert tabs[0].post(_REFRESH).status == 200

    late = browser.post(_REFRESH)

    assert (late.status, _set_cookie(late)) == (401, None)
    assert tabs[0].post(_REFRESH).status == 200


# --- beside the rest --------------------------------------------------------------------------------------------------


def test_an_answer_that_is_given_again_gives_the_cookie_again(house: _House) -> None:
    """By the key of the first request; and a key does not sign another session out."""
    browser = house.browser()
    key = [("idempotency-key", str(uuid4()))]
    content = {"email": _EMAIL, "password": _PASSWORD}
    first = browser.post("/auth/login", content, headers=key)
    again = browser.post("/auth/login", content, headers=key)
    assert again.header("idempotency-replayed") == "true"
    assert _set_cookie(again) == _set_cookie(first) is not None
    assert house.open_sessions() == 1

    other = house.signed_in()
    key = [("idempotency-key", str(uuid4()))]
    assert browser.post("/auth/logout", headers=key).status == 204
    reused = other.post("/auth/logout", headers=key)
    assert _problem(reused) == (422, "idempotency-key-reused")
    assert house.open_sessions() == 1


@pytest.mark.parametrize("name", HOSTS)
def test_without_the_setting_a_cookie_is_nothing(installation: Installation, name: str) -> None:
    """Tokens are in bodies, no page is asked for, and what a browser sends by itself says nothing."""
    installation.access_token(_EMAIL)
    client = HOSTS[name](installation.service)
    evil = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]
    signed_in = send_json(client, "POST", "/auth/login", {"email": _EMAIL, "password": _PASSWORD}, headers=evil)
    token = json_of(signed_in)["refreshToken"]
    cookie = ("cookie", f"{COOKIE_NAME}={token}")

    for path, status in ((_REFRESH, 400), ("/auth/logout", 401), ("/auth/logout-all", 401)):
        refused = send_json(client, "POST", path, {}, headers=[cookie, *_OWN])
        assert (refused.status, _set_cookie(refused)) == (status, None), path
    refreshed = send_json(client, "POST", _REFRESH, {"refreshToken": token}, headers=[cookie, *evil])
    assert (refreshed.status, _set_cookie(refreshed)) == (200, None)
    made_up = send_json(client, "POST", _REFRESH, {"refreshToken": "made-up"}, headers=[cookie, *evil])
    assert (made_up.status, _set_cookie(made_up)) == (401, None)


def test_the_installation_describes_what_it_serves(house: _House) -> None:
    """A client that is made of the document sends no token in a body."""
    document = json.loads(house.client.request("GET", "/openapi.json").body)

    assert "refreshCookie" in document["components"]["securitySchemes"]
    assert "refreshToken" not in document["components"]["schemas"]["SignedInByCookieAnswer"]["properties"]
