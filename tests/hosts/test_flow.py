"""The way of a new user through the service, over every host, with the same answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.flow import Answer, walk
from tests.hosts.installation import HOSTS, Installation
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from userservice_core.testing.host import HostClient

_PASSWORD = "correct horse battery staple"


class _FlowClient:
    """Carries the steps of the flow over a host."""

    def __init__(self, client: HostClient) -> None:
        self._client = client

    def send(self, method: str, path: str, *, body: object = None, token: str | None = None) -> Answer:
        """Send JSON, with a bearer token where there is one."""
        headers = [("content-type", "application/json")] if body is not None else []
        if token is not None:
            headers.append(("authorization", f"Bearer {token}"))
        sent = b"" if body is None else json.dumps(body).encode()
        response = self._client.request(method, path, headers=headers, body=sent)
        content: Any = json.loads(response.body) if response.body else None
        return Answer(response.status, dict(response.headers), content)


def test_every_host_leads_a_user_the_same_way(installation: Installation) -> None:
    """Register, mailed link, sign in, who am I, refresh, sign out: each step and each answer alike."""
    walks = {
        name: walk(_FlowClient(make(installation.service)), f"{name}@example.com", installation.mailed_token)
        for name, make in HOSTS.items()
    }

    expected = walks.pop("pipeline")
    assert {name: steps for name, steps in walks.items() if steps != expected} == {}


@pytest.fixture
def signed_in(installation: Installation, client: HostClient) -> dict[str, Any]:
    """What a new user got at sign-in, and their address."""
    email = f"user{len(installation.mails())}@example.com"
    credentials = {"email": email, "password": _PASSWORD}
    assert send_json(client, "POST", "/auth/register", credentials).status == 201
    token = installation.mailed_token(email)
    assert send_json(client, "POST", "/auth/verify-email", {"token": token}).status == 200
    return json_of(send_json(client, "POST", "/auth/login", credentials))


@pytest.mark.asvs("15.3.1")
def test_a_user_has_the_members_of_the_contract(client: HostClient, signed_in: dict[str, Any]) -> None:
    """Exactly those, in camelCase; nothing that is only for the service itself."""
    user = json_of(send_json(client, "GET", "/users/me", token=signed_in["accessToken"]))

    assert user == signed_in["user"]
    assert list(user) == [
        "id",
        "email",
        "emailVerified",
        "pendingEmail",
        "status",
        "roles",
        "attributes",
        "createdAt",
        "updatedAt",
        "mfaEnabled",
        "deletedAt",
        "version",
    ]
    assert (user["status"], user["roles"], user["createdAt"][-1]) == ("active", ["user"], "Z")


def test_an_unchanged_user_is_not_sent_again(client: HostClient, signed_in: dict[str, Any]) -> None:
    """The ETag of an answer makes the next one 304, without a body and with the same validator."""
    first = send_json(client, "GET", "/users/me", token=signed_in["accessToken"])
    etag = first.header("etag")
    assert etag == '"2-user1"'
    for matching in (etag, f'"1-user1", W/{etag}', "*"):
        again = send_json(
            client, "GET", "/users/me", token=signed_in["accessToken"], headers=[("if-none-match", matching)]
        )
        assert (again.status, again.body, again.header("etag")) == (304, b"", etag)
        assert again.header("content-length") is None
    other = send_json(
        client, "GET", "/users/me", token=signed_in["accessToken"], headers=[("if-none-match", '"1-user1"')]
    )

    assert (other.status, other.body) == (200, first.body)
    assert other.header("cache-control") == "no-store"


def test_head_says_what_get_would(client: HostClient, signed_in: dict[str, Any]) -> None:
    """The same headers, the length among them, and no body."""
    got = send_json(client, "GET", "/users/me", token=signed_in["accessToken"], headers=[("x-request-id", "r")])
    head = send_json(client, "HEAD", "/users/me", token=signed_in["accessToken"], headers=[("x-request-id", "r")])

    assert (head.status, sorted(head.headers), head.body) == (200, sorted(got.headers), b"")


@pytest.mark.asvs("7.4.1", "7.5.2")
def test_signing_out_everywhere_ends_every_session(client: HostClient, signed_in: dict[str, Any]) -> None:
    """Access and refresh tokens of all of them are refused at once."""
    credentials = {"email": signed_in["user"]["email"], "password": _PASSWORD}
    other = json_of(send_json(client, "POST", "/auth/login", credentials))
    assert send_json(client, "POST", "/auth/logout-all", token=signed_in["accessToken"]).status == 204

    for tokens in (signed_in, other):
        refused = send_json(client, "GET", "/users/me", token=tokens["accessToken"])
        assert (refused.status, refused.header("www-authenticate")) == (
            401,
            'Bearer realm="userservice", error="invalid_token"',
        )
        refreshing = send_json(client, "POST", "/auth/refresh-token", {"refreshToken": tokens["refreshToken"]})
        assert refreshing.status == 401


def test_a_refresh_token_alone_signs_out(client: HostClient, signed_in: dict[str, Any]) -> None:
    """Also beside an access token that is not good any more."""
    body = {"refreshToken": signed_in["refreshToken"]}

    assert send_json(client, "POST", "/auth/logout", body, token="stale").status == 204
    assert send_json(client, "GET", "/users/me", token=signed_in["accessToken"]).status == 401


@pytest.mark.asvs("6.3.8")
def test_an_unknown_address_is_answered_like_a_known_one(installation: Installation, client: HostClient) -> None:
    """Asking for a link, and signing in, do not tell who has an account."""
    email = "known@example.com"
    send_json(client, "POST", "/auth/register", {"email": email, "password": _PASSWORD})
    known, unknown = (
        send_json(client, "POST", path, body, headers=[("x-request-id", "r")])
        for path, body in (
            ("/auth/request-email-verification", {"email": email}),
            ("/auth/request-email-verification", {"email": "unknown@example.com"}),
        )
    )
    assert (known.status, sorted(known.headers), known.body) == (202, sorted(unknown.headers), unknown.body)
    wrong, nobody = (
        send_json(client, "POST", "/auth/login", body, headers=[("x-request-id", "r")])
        for body in (
            {"email": email, "password": "something else entirely"},
            {"email": "unknown@example.com", "password": "something else entirely"},
        )
    )

    assert (wrong.status, sorted(wrong.headers), wrong.body) == (401, sorted(nobody.headers), nobody.body)
    assert installation.mailed_token(email)


def test_verifiers_find_the_keys(client: HostClient) -> None:
    """A JWK Set that may be kept for some minutes and asked for again by its ETag."""
    keys = client.request("GET", "/.well-known/jwks.json")
    etag = keys.header("etag")
    assert etag is not None
    again = client.request("GET", "/.well-known/jwks.json", headers=[("if-none-match", etag)])

    assert (keys.status, keys.header("cache-control"), again.status) == (200, "public, max-age=300", 304)
    assert all({"kty", "kid", "alg", "use"} <= key.keys() and "d" not in key for key in json_of(keys)["keys"])
