"""What other services put in front of their routes: the same answers on Starlette and on Flask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, g
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

from adapters.flask_app.protect import protect
from adapters.starlette_app.protect import Protect
from tests.hosts.clients import AsgiClient, WsgiClient
from tests.key_endpoint import ISSUER, Answering, KeyEndpoint, issued, new_issuer
from userservice_core import AccessClaims, Authorizer, TokenVerifier
from userservice_core.errors import PermissionsUnknownError
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.requests import Request
    from starlette.types import Message
    from starlette.websockets import WebSocket

    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

_ISSUER = new_issuer()


def _authorizer(*, permissions: Iterable[str] | None = None) -> Authorizer:
    verifier = TokenVerifier(_ISSUER.jwks(), issuer=ISSUER)
    held = None if permissions is None else tuple(permissions)
    return Authorizer(verifier, permissions=None if held is None else lambda _claims: held)


def _starlette(authorizer: Authorizer) -> HostClient:
    def invoices(request: Request) -> JSONResponse:
        return JSONResponse({"user": str(request.state.claims.user_id)})

    guarded = Middleware(Protect, authorizer=authorizer, permission="invoice:read")
    anyone = Middleware(Protect, authorizer=authorizer, public=("/health",))
    routes = [
        Route("/invoices", invoices, middleware=[guarded], methods=["GET", "POST"]),
        Route("/me", invoices),
        Route("/health", lambda _request: JSONResponse({})),
    ]
    return AsgiClient(Starlette(routes=routes, middleware=[anyone]))


def _flask(authorizer: Authorizer) -> HostClient:
    app = Flask(__name__)

    @app.route("/invoices", methods=["GET", "POST"])
    @protect(authorizer, "invoice:read")
    def invoices() -> dict[str, Any]:
        return {"user": str(g.claims.user_id)}

    @app.get("/me")
    @protect(authorizer)
    def who() -> dict[str, Any]:
        return {"user": str(g.claims.user_id)}

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {}

    return WsgiClient(app)


@pytest.fixture(params=[_starlette, _flask], ids=["starlette", "flask"])
def framework(request: pytest.FixtureRequest) -> Callable[[Authorizer], HostClient]:
    """Another service on each framework in turn."""
    made: Callable[[Authorizer], HostClient] = request.param
    return made


def _problem(response: Response) -> tuple[int, str, str | None]:
    document = json_of(response)
    assert (response.header("content-type"), document["status"]) == ("application/problem+json", response.status)
    assert response.header("cache-control") == "no-store"
    return response.status, document["type"].rpartition(":")[2], response.header("www-authenticate")


@pytest.mark.asvs("10.3.4")
def test_a_good_token_lets_in_and_its_claims_are_at_hand(framework: Callable[[Authorizer], HostClient]) -> None:
    """Whether it was verified before or not, with the permission by name or by wildcard."""
    client = framework(_authorizer())
    for permissions in (("invoice:read",), ("invoice:*",), ("*:*",)):
        token = issued(_ISSUER, permissions=permissions)
        for _ in range(2):
            answer = send_json(client, "GET", "/invoices", token=token)
            assert (answer.status, json_of(answer)) == (200, {"user": "00000000-0000-0000-0000-000000000001"})

    assert send_json(client, "GET", "/me", token=issued(_ISSUER)).status == 200


def test_a_path_without_protection_needs_no_token(framework: Callable[[Authorizer], HostClient]) -> None:
    """A health check has none."""
    client = framework(_authorizer())

    assert client.request("GET", "/health").status == 200
    assert client.request("GET", "/health/x").status in {401, 404}


@pytest.mark.asvs("10.3.1")
def test_without_a_good_token_the_answer_is_401(framework: Callable[[Authorizer], HostClient]) -> None:
    """It says how to authenticate, and whether a token was sent that is not good."""
    client = framework(_authorizer())
    plain, bad = 'Bearer realm="userservice"', 'Bearer realm="userservice", error="invalid_token"'

    assert _problem(client.request("GET", "/invoices")) == (401, "authentication-required", plain)
    basic = client.request("GET", "/invoices", headers=[("authorization", "Basic YTpi")])
    assert _problem(basic) == (401, "authentication-required", plain)
    for token in ("bent", issued(new_issuer()), issued(_ISSUER, seconds=-60)):
        assert _problem(send_json(client, "GET", "/me", token=token)) == (401, "invalid-token", bad)
    doubled = client.request("GET", "/me", headers=[("authorization", "Bearer a, Bearer b")])
    assert _problem(doubled) == (400, "malformed-request", None)


@pytest.mark.asvs("10.3.2")
def test_without_the_permission_the_answer_is_403_and_names_it(
    framework: Callable[[Authorizer], HostClient],
) -> None:
    """Also for a method that changes something, and where the token lists nothing at all."""
    client = framework(_authorizer())
    for permissions in ((), ("invoice:write", "invoices:*", "invoice", "*")):
        answer = send_json(client, "POST", "/invoices", {}, token=issued(_ISSUER, permissions=permissions))

        assert _problem(answer) == (403, "permission-denied", None)
        assert json_of(answer)["params"] == {"permission": "invoice:read"}


def test_permissions_that_do_not_fit_into_a_token_are_looked_up(
    framework: Callable[[Authorizer], HostClient],
) -> None:
    """Where there is a source; without one it cannot be told, and nobody is let in."""
    token = issued(_ISSUER, permissions=None)

    assert send_json(framework(_authorizer(permissions=["invoice:*"])), "GET", "/invoices", token=token).status == 200
    refused = send_json(framework(_authorizer(permissions=["user:*"])), "GET", "/invoices", token=token)
    assert _problem(refused) == (403, "permission-denied", None)
    unknown = send_json(framework(_authorizer()), "GET", "/invoices", token=token)
    assert (_problem(unknown), unknown.header("retry-after")) == ((503, "permissions-unknown", None), "1")


@pytest.mark.asvs("16.5.3")
def test_while_nobody_can_tell_the_answer_is_503(framework: Callable[[Authorizer], HostClient]) -> None:
    """A client that is told 401 would sign its user out; and the source's own failure is passed on."""
    with KeyEndpoint(Answering(status=500)) as endpoint:
        client = framework(Authorizer(TokenVerifier(endpoint.url, issuer=ISSUER)))
        answer = send_json(client, "GET", "/invoices", token=issued(_ISSUER))
    assert (_problem(answer), answer.header("retry-after")) == ((503, "signing-keys-unavailable", None), "1")

    def failing(_claims: AccessClaims) -> Iterable[str]:
        raise PermissionsUnknownError(retry_after_seconds=7)

    client = framework(Authorizer(TokenVerifier(_ISSUER.jwks(), issuer=ISSUER), permissions=failing))
    answer = send_json(client, "GET", "/invoices", token=issued(_ISSUER, permissions=None))
    assert (answer.status, answer.header("retry-after")) == (503, "7")


def test_refusals_carry_the_id_of_their_request(framework: Callable[[Authorizer], HostClient]) -> None:
    """The client's, or a new one; and HEAD has no body."""
    client = framework(_authorizer())

    named = client.request("GET", "/invoices", headers=[("x-request-id", "r-1")])
    assert json_of(named)["requestId"] == "r-1"
    assert len(json_of(client.request("GET", "/invoices"))["requestId"]) == 36
    assert client.request("HEAD", "/invoices").body == b""


def test_a_web_socket_is_protected_too() -> None:
    """Without a good token it is closed before it opens."""

    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(str(socket.state.claims.user_id))
        await socket.close()

    app = Starlette(routes=[WebSocketRoute("/live", echo)], middleware=[Middleware(Protect, authorizer=_authorizer())])

    def sent_to(*headers: tuple[bytes, bytes]) -> list[str]:
        sent: list[str] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            sent.append(message["type"])

        scope = {"type": "websocket", "path": "/live", "query_string": b"", "headers": list(headers)}
        asyncio.run(app(scope, receive, send))
        return sent

    authorization = (b"authorization", f"Bearer {issued(_ISSUER)}".encode())
    assert sent_to(authorization) == ["websocket.accept", "websocket.send", "websocket.close"]
    assert sent_to() == ["websocket.close"]


def test_the_claims_of_a_request_are_not_those_of_the_next() -> None:
    """Even where the server hands the same state to every request."""
    seen: list[bool] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:  # noqa: ANN401 - as ASGI has them
        seen.append("claims" in scope["state"])

    shared: dict[str, Any] = {}
    protected = Protect(app, authorizer=_authorizer(), public=("/health",))
    authorization = [(b"authorization", f"Bearer {issued(_ISSUER)}".encode())]
    for path, headers in (("/me", authorization), ("/health", [])):
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "state": shared}
        asyncio.run(protected(scope, None, None))  # type: ignore[arg-type]

    assert (seen, shared) == ([True, False], {})
