"""
Secrets that can be recognised, a way through the service that puts them wherever it takes one, and where they may be.

A canary is looked for in several spellings, and past the masks of the log: a mask is a second net, not the first.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import logging
import re
import traceback
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID

import attrs
import msgspec
import pyotp
import structlog

from tests.hosts.hostile_texts import api_document, text_places
from tests.paths import path_of
from userservice_core.errors import UserServiceError
from userservice_core.http.body_format import BodyFormat
from userservice_core.http.messages import Response
from userservice_core.http.refresh_cookie import COOKIE_NAME
from userservice_core.http.router import Router
from userservice_core.http.routes import ROUTES
from userservice_core.testing.host import HostClient, json_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from userservice_core.http.routes import Route

_ROUTER: Final = Router(ROUTES)
_DOCUMENT: Final = api_document()
_LEAST: Final = 12
_SECRET_MEMBER: Final = re.compile(r"token$|secret$|^code$|recoveryCode$|otpauth|password", re.IGNORECASE)
_DESCRIBING: Final = frozenset({"get_openapi", "get_authorization_server", "get_openid_configuration"})
_GIVEN_MEMBER: Final = re.compile(r"token$|secret$|codes$|otpauth", re.IGNORECASE)

PASSWORD: Final = "canary-pAssword-one-7f3c1e"
NEW_PASSWORD: Final = "canary-pAssword-two-9b2d4a"
THIRD_PASSWORD: Final = "canary-pAssword-three-c41f"
WRONG_PASSWORD: Final = "canary-wrong-5e8a0d-pAssword"
OWNER: Final = "canary-owner-8c05@example.com"
WRONG_CODE: Final = "canary-wrong-code-6e20"
STRANGER: Final = "canary-stranger-1b6e@example.com"


@attrs.define
class Canaries:
    """
    What must not be found, by its value.

    Attributes:
        secrets: For each, the operations whose answers hold it because they give it.
        never_logged: What may be stored and shown, but is in no log, metric or problem.
    """

    secrets: dict[str, set[str]] = attrs.field(factory=dict)
    never_logged: set[str] = attrs.field(factory=set)

    def add(self, secret: str, *given_by: str) -> str:
        """Look for *secret* everywhere but in the answers of *given_by*."""
        self.secrets.setdefault(secret, set()).update(given_by)
        return secret

    def found_in(self, text: str, *, but_from: str = "", and_personal: bool = False) -> set[str]:
        """Return what is in *text*, except for what the operation *but_from* gives."""
        wanted = {secret for secret, givers in self.secrets.items() if but_from not in givers}
        wanted |= self.never_logged if and_personal else set()
        return {secret for secret in wanted if any(spelling in text for spelling in _spellings(secret))}


@functools.cache
def _spellings(secret: str) -> set[str]:
    encoded = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], secret.encode().hex()}
    for offset in range(3):
        # What surrounds the secret decides its place among the groups of three bytes.
        middle = base64.b64encode(bytes(offset) + secret.encode()).decode()[4:-4]
        encoded |= {middle, middle.replace("+", "-").replace("/", "_")}
    return {spelling for spelling in encoded if len(spelling) >= _LEAST}


@attrs.frozen
class Exchange:
    """An answer, and the operation that gave it; empty for none."""

    operation: str
    response: Response


@attrs.define
class Watched:
    """A client that keeps every answer, and counts every secret in one that is good as a canary from then on."""

    client: HostClient
    canaries: Canaries
    seen: list[Exchange] = attrs.field(factory=list)

    def request(
        self, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        """Send one request."""
        response = self.client.request(method, target, headers=headers, body=body)
        try:
            operation = _ROUTER.match(method, target.partition("?")[0]).route.operation_id
        except UserServiceError:
            operation = ""
        is_json = "json" in (response.header("content-type") or "")
        if response.status < 300 and response.body and is_json and operation not in _DESCRIBING:
            for secret in _issued(msgspec.json.decode(response.body)):
                self.canaries.add(secret, operation)
        for name, value in response.headers:
            if name == "set-cookie" and (token := value.partition(";")[0].partition("=")[2]):
                self.canaries.add(token, operation)
        self.seen.append(Exchange(operation, response))
        return response

    def json(
        self, method: str, target: str, content: object = None, *, token: str | None = None, expect: int | None = None
    ) -> dict[str, Any]:
        """Send JSON, and return the answer's object."""
        headers = [("cookie", f"session={COOKIE}"), ("user-agent", "leaks")]
        if content is not None:
            headers.append(("content-type", "application/json"))
        if token is not None:
            headers.append(("authorization", f"Bearer {token}"))
        body = b"" if content is None else msgspec.json.encode(content)
        response = self.request(method, target, headers=headers, body=body)
        assert expect is None or response.status == expect, (method, target, response.status, response.body)
        return json_of(response) if response.body else {}


def _issued(content: object) -> Iterator[str]:
    """Yield the values of members that are named like secrets."""
    match content:
        case dict():
            for name, value in content.items():
                if _GIVEN_MEMBER.search(name):
                    yield from (each for each in texts(value) if len(each) >= _LEAST)
                else:
                    yield from _issued(value)
        case list():
            for item in content:
                yield from _issued(item)
        case _:
            pass


COOKIE: Final = "canary-cookie-2d7c95"
KEY: Final = "canary-key-3f1b0c9a7e5d2846"


def live_a_life(
    watched: Watched,
    *,
    mailed_token: Callable[[str], str],
    administrator: str,
    go_on: Callable[[], None],
    now: Callable[[], datetime],
) -> None:
    """
    Go through everything that takes or gives a secret, well and badly.

    Args:
        watched: The service.
        mailed_token: Return the token that was mailed last to an address.
        administrator: The access token of one who may do everything.
        go_on: Let some time pass.
        now: Tell the time that it is for the service.
    """
    canaries = watched.canaries
    for password in (PASSWORD, NEW_PASSWORD, THIRD_PASSWORD, WRONG_PASSWORD, WRONG_CODE, COOKIE, KEY):
        canaries.add(password)
    canaries.add(STRANGER)
    canaries.add(administrator)
    email = OWNER
    canaries.never_logged.add(email)

    def mailed() -> str:
        return canaries.add(mailed_token(email))

    send = watched.json
    headers = [("content-type", "application/json"), ("idempotency-key", KEY)]
    account = {"email": email, "password": PASSWORD}
    for _ in range(2):
        assert (
            watched.request("POST", "/auth/register", headers=headers, body=json.dumps(account).encode()).status == 201
        )
    send("POST", "/auth/register", account, expect=409)
    send("POST", "/auth/login", account, expect=403)
    send("POST", "/auth/request-email-verification", {"email": email}, expect=202)
    token = mailed()
    send("GET", f"/auth/verify-email?token={token}", expect=200)
    send("POST", "/auth/verify-email", {"token": token}, expect=200)
    send("POST", "/auth/verify-email", {"token": f"{token}x"})

    send("POST", "/auth/login", {"email": email, "password": WRONG_PASSWORD}, expect=401)
    send("POST", "/auth/login", {"email": STRANGER, "password": PASSWORD}, expect=401)
    send("POST", "/auth/request-password-reset", {"email": STRANGER}, expect=202)
    send("POST", "/auth/request-email-verification", {"email": STRANGER}, expect=202)
    session = send("POST", "/auth/login", account, expect=200)
    access = session["accessToken"]
    send("GET", "/users/me", token=access, expect=200)
    send("GET", "/users/me", token=f"{access}x", expect=401)
    session = send("POST", "/auth/refresh-token", {"refreshToken": session["refreshToken"]}, expect=200)
    send("POST", "/auth/refresh-token", {"refreshToken": f"{session['refreshToken']}x"}, expect=401)
    access = session["accessToken"]
    send("POST", "/auth/reauthenticate", {"password": PASSWORD}, token=access, expect=200)
    send("POST", "/auth/reauthenticate", {"password": WRONG_PASSWORD}, token=access)
    change = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
    send("POST", "/auth/change-password", {**change, "currentPassword": WRONG_PASSWORD}, token=access, expect=400)
    send("POST", "/auth/change-password", {**change, "newPassword": email}, token=access, expect=400)
    send("POST", "/auth/change-password", change, token=access, expect=200)
    go_on()
    send("POST", "/auth/request-password-reset", {"email": email}, expect=202)
    reset = mailed()
    send("POST", "/auth/reset-password", {"token": reset, "password": WRONG_PASSWORD[:9]}, expect=400)
    send("POST", "/auth/reset-password", {"token": reset, "password": THIRD_PASSWORD}, expect=200)
    send("POST", "/auth/reset-password", {"token": reset, "password": THIRD_PASSWORD}, expect=400)

    go_on()
    _have_a_second_factor(watched, account={"email": email, "password": THIRD_PASSWORD}, now=now)
    go_on()
    _serve_a_service(watched, account={"email": email, "password": THIRD_PASSWORD}, administrator=administrator)


def _have_a_second_factor(watched: Watched, *, account: Mapping[str, str], now: Callable[[], datetime]) -> None:
    """Turn it on, sign in with it in every way, prove again who one is, and turn it off."""
    send, canaries = watched.json, watched.canaries
    access = send("POST", "/auth/login", account, expect=200)["accessToken"]
    secret = send("POST", "/auth/mfa/setup", token=access, expect=200)["secret"]
    for spelling in (base64.b32decode(secret).hex(), base64.b32decode(secret).decode("latin-1")):
        canaries.add(spelling)
    codes = _codes(secret, now)
    send("POST", "/auth/mfa/verify", {"code": WRONG_CODE}, token=access)
    recovery = send("POST", "/auth/mfa/verify", {"code": next(codes)}, token=access, expect=200)["recoveryCodes"]
    for code in recovery:
        canaries.add(code.replace("-", ""))

    waiting = send("POST", "/auth/login", account, expect=200)["mfaSessionToken"]
    send("POST", "/auth/mfa/challenge", {"mfaSessionToken": f"{waiting}x", "code": WRONG_CODE}, expect=401)
    for wrong in ({"code": WRONG_CODE}, {"recoveryCode": WRONG_CODE}):
        send("POST", "/auth/mfa/challenge", {"mfaSessionToken": waiting, **wrong}, expect=401)
    spent = {"mfaSessionToken": waiting, "recoveryCode": recovery[0]}
    headers = [("content-type", "application/json"), ("idempotency-key", f"{KEY}-mfa")]
    for _ in range(2):
        answered = watched.request("POST", "/auth/mfa/challenge", headers=headers, body=json.dumps(spent).encode())
        assert answered.status == 200
    send("POST", "/auth/mfa/challenge", spent, expect=401)

    waiting = send("POST", "/auth/login", account, expect=200)["mfaSessionToken"]
    begun = send("POST", "/auth/mfa/challenge", {"mfaSessionToken": waiting, "code": next(codes)}, expect=200)
    access = begun["accessToken"]
    send("POST", "/auth/reauthenticate", {"password": account["password"]}, token=access, expect=401)
    send("POST", "/auth/reauthenticate", {"code": WRONG_CODE}, token=access, expect=401)
    access = send("POST", "/auth/reauthenticate", {"code": next(codes)}, token=access, expect=200)["accessToken"]
    for code in send("POST", "/auth/mfa/recovery-codes", token=access, expect=200)["recoveryCodes"]:
        canaries.add(code.replace("-", ""))
    send("POST", "/auth/mfa/disable", token=access, expect=204)


def _codes(secret: str, now: Callable[[], datetime]) -> Iterator[str]:
    """Yield codes that are good at the moment, none twice: those of three steps are, so no time has to pass."""
    step = 0
    while True:
        present = int(now().timestamp()) // 30
        step = max(step + 1, present - 1)
        assert step <= present + 1
        yield pyotp.TOTP(secret).generate_otp(step)


def use_cookies(watched: Watched) -> None:
    """Sign in where the refresh token travels in a cookie, go on, be refused for every reason, and sign out."""
    account = {"email": OWNER, "password": THIRD_PASSWORD}
    page = [("origin", "https://accounts.example.com"), ("content-type", "application/json")]
    key = ("idempotency-key", f"{KEY}-cookie")

    def post(path: str, token: str = "", content: object = None, *others: tuple[str, str]) -> Response:
        body = b"{}" if content is None else msgspec.json.encode(content)
        cookie = [("cookie", f"{COOKIE_NAME}={token}")] if token else []
        return watched.request("POST", path, headers=[*page, *others, *cookie], body=body)

    def kept(response: Response) -> str:
        assert response.status == 200, response.body
        return (response.header("set-cookie") or "").partition(";")[0].partition("=")[2]

    first = kept(post("/auth/login", "", account, key))
    assert kept(post("/auth/login", "", account, key)) == first
    assert first in watched.canaries.secrets
    second = kept(post("/auth/refresh-token", first))
    refused = [
        post("/auth/refresh-token", f"{second}x"),
        post("/auth/refresh-token", second, None, ("cookie", f"{COOKIE_NAME}={first}")),
        post("/auth/refresh-token", second, None, ("sec-fetch-site", "cross-site")),
        post("/auth/refresh-token", second, {"refreshToken": second}),
        post("/auth/logout", f"{second}x"),
    ]
    assert [response.status for response in refused] == [401, 401, 403, 400, 401]
    assert post("/auth/logout", second).status == 204


def _serve_a_service(watched: Watched, *, account: Mapping[str, str], administrator: str) -> None:
    """Let a service client get tokens, and ask about and end those of the user of *account*."""
    send = watched.json
    made = send(
        "POST", "/admin/clients", {"name": "leaks", "permissions": ["user:read"]}, token=administrator, expect=201
    )
    secret = send("POST", f"/admin/clients/{made['id']}/secrets", token=administrator, expect=201)["secret"]
    form = ("content-type", "application/x-www-form-urlencoded")
    basic = ("authorization", "Basic " + base64.b64encode(f"{made['id']}:{secret}".encode()).decode())
    granted = watched.request("POST", "/oauth/token", headers=[form, basic], body=b"grant_type=client_credentials")
    assert granted.status == 200, granted.body
    session = send("POST", "/auth/login", account, expect=200)
    for target in ("/oauth/introspect", "/oauth/revoke"):
        for asked in (json_of(granted)["access_token"], session["refreshToken"]):
            watched.request("POST", target, headers=[form, basic], body=urlencode({"token": asked}).encode())
    wrong = urlencode({"grant_type": "client_credentials", "client_id": made["id"], "client_secret": WRONG_PASSWORD})
    assert watched.request("POST", "/oauth/token", headers=[form], body=wrong.encode()).status == 401
    session = send("POST", "/auth/login", account, expect=200)
    send("GET", "/users/me/export", token=session["accessToken"], expect=200)
    send("POST", "/auth/logout", {"refreshToken": session["refreshToken"]}, expect=204)


def knock_everywhere(watched: Watched, *, administrator: Callable[[], str]) -> None:
    """Put a canary of its own into every place of every route that may hold one, as nobody and as an administrator."""
    for number, route in enumerate(ROUTES):
        bearer, basic, cookie, key, query, text = (
            watched.canaries.add(f"canary-{what}-{number:03}-e7a1")
            for what in ("bearer", "basic", "cookie", "key", "query", "text")
        )
        credentials = base64.b64encode(f"{UUID(int=0)}:{basic}".encode()).decode()
        for authorization in (f"Bearer {bearer}", f"Basic {credentials}", f"Bearer {administrator()}"):
            headers = [("authorization", authorization), ("cookie", f"a={cookie}"), ("idempotency-key", f"{key}{key}")]
            target = path_of(route)
            if route.query is not None:
                names = [field.encode_name for field in msgspec.structs.fields(route.query)]
                target += "?" + urlencode({name: query for name in names if _SECRET_MEMBER.search(name)})
            body = b""
            if route.body is not None:
                is_form = route.body_format is BodyFormat.FORM
                headers.append(("content-type", "application/x-www-form-urlencoded" if is_form else "application/json"))
                body = _secret_body(route, text)
            watched.request(route.method, target, headers=headers, body=body)


def _secret_body(route: Route, text: str) -> bytes:
    """Return a body with *text* in each member that is named like a secret, and nothing else."""
    assert route.body is not None
    named = [place[-1] for place in text_places(_DOCUMENT, route) if isinstance(place[-1], str)]
    content = {name: text for name in named if _SECRET_MEMBER.search(name)}
    return urlencode(content).encode() if route.body_format is BodyFormat.FORM else json.dumps(content).encode()


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """Collect all that is logged, at every level and without any mask; exceptions with all their frames."""
    lines: list[str] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record) + repr(vars(record)))

    handler, root = Collecting(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with structlog.testing.capture_logs() as events:
            yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for event in events:
            error = event.get("exc_info")
            told = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
            lines.append(f"{event!r}{told}")


def texts(value: object) -> Iterator[str]:
    """Yield every text in *value*, however deep, bytes as latin-1."""
    match value:
        case str():
            yield value
        case bytes():
            yield value.decode("latin-1")
        case dict():
            for name, item in value.items():
                yield from texts(name)
                yield from texts(item)
        case list() | tuple() | set() | frozenset():
            for item in value:
                yield from texts(item)
        case _:
            kind = type(value)
            if attrs.has(kind):
                for field in attrs.fields(kind):
                    yield from texts(getattr(value, field.name))
            else:
                yield str(value)


def require_clean_answers(watched: Watched) -> None:
    """Expect no secret in an answer but in that which gives it, and nothing about anybody in a problem."""
    assert len({exchange.operation for exchange in watched.seen}) >= len(ROUTES)
    for operation, response in ((exchange.operation, exchange.response) for exchange in watched.seen):
        told = response.body.decode("utf-8", "replace") + repr(response.headers)
        is_problem = response.status >= 400
        found = watched.canaries.found_in(told, but_from=operation if not is_problem else "", and_personal=is_problem)
        assert found == set(), (operation, response.status, found)
