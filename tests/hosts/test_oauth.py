"""Service clients over every host: their secrets, tokens and questions, as any OAuth library asks them."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode
from uuid import UUID, uuid4

import attrs
import pytest

from tests.hosts.installation import ISSUER
from tests.paths import NOBODY, path_of
from userservice_core.domain.ids import ClientId
from userservice_core.domain.permission_sets import EVERYTHING
from userservice_core.http.routes import ROUTES, Caller, Holder
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

_FORM: Final = ("content-type", "application/x-www-form-urlencoded")
_ENDPOINTS: Final = ("/oauth/token", "/oauth/introspect", "/oauth/revoke")
_GRANT: Final = {"grant_type": "client_credentials"}


class _Desk:
    """An administrator and a service client at a host."""

    def __init__(self, client: HostClient, installation: Installation) -> None:
        self._client = client
        self.installation = installation
        self.admin = installation.administrator_token("root@example.com")
        made = self.must("POST", "/admin/clients", {"name": "Invoices", "permissions": ["authorization:query"]})
        self.id, self.secret = made["id"], made["secret"]

    def send(
        self, method: str, target: str, content: Mapping[str, Any] | None = None, *, if_match: str | None = None
    ) -> Response:
        """Send a request of the administrator."""
        headers = [] if if_match is None else [("if-match", if_match)]
        return send_json(self._client, method, target, content, token=self.admin, headers=headers)

    def must(self, method: str, target: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request that succeeds, and return what it answers."""
        response = self.send(method, target, content)
        assert response.status in {200, 201}, response.body
        return json_of(response)

    def form(
        self, target: str, content: Mapping[str, str] | str, *, headers: Sequence[tuple[str, str]] = ()
    ) -> Response:
        """Send a form, with id and secret in the header unless there are *headers*."""
        body = content if isinstance(content, str) else urlencode(content)
        sent = headers or [self.basic(self.id, self.secret)]
        return self._client.request("POST", target, headers=[_FORM, *sent], body=body.encode())

    @staticmethod
    def basic(client_id: str, secret: str) -> tuple[str, str]:
        """Return the header of both."""
        pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
        return ("authorization", f"Basic {base64.b64encode(pair).decode()}")

    def token(self, **parameters: str) -> str:
        """Get a token."""
        response = self.form("/oauth/token", {**_GRANT, **parameters})
        assert response.status == 200, response.body
        token: str = json_of(response)["access_token"]
        return token

    def call(self, method: str, target: str, token: str, content: Mapping[str, Any] | None = None) -> Response:
        """Call with a token."""
        return send_json(self._client, method, target, content, token=token)


@pytest.fixture
def desk(client: HostClient, installation: Installation) -> _Desk:
    """One administrator, one service client."""
    return _Desk(client, installation)


def _error(response: Response) -> tuple[int, str]:
    content = json_of(response)
    assert content.keys() == {"error", "error_description"}
    assert response.header("content-type") == "application/json"
    assert response.header("cache-control") == "no-store"
    return response.status, content["error"]


def _code(response: Response) -> tuple[int, str]:
    return response.status, json_of(response)["type"].rpartition(":")[2]


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("3.5.1")
def test_a_client_gets_a_token_and_uses_it(desk: _Desk) -> None:
    """By the header or by the form; on routes that ask for a permission it is as good as a user's."""
    check = {"userId": str(NOBODY), "permissions": ["user:read"]}
    for content, headers in (
        (_GRANT, ()),
        ({**_GRANT, "client_id": desk.id}, ()),
        ({**_GRANT, "client_id": desk.id, "client_secret": desk.secret}, (("accept", "*/*"),)),
        ({**_GRANT, "scope": "", "resource": "x", "client_secret": ""}, ()),
        ({**_GRANT, "scope": "authorization:query"}, ()),
    ):
        response = desk.form("/oauth/token", content, headers=headers)
        answer = json_of(response)
        assert response.status == 200, answer
        assert response.header("cache-control") == "no-store"
        assert answer == {
            "access_token": answer["access_token"],
            "token_type": "Bearer",
            "expires_in": answer["expires_in"],
            "scope": "authorization:query",
        }
        answered = desk.call("POST", "/auth/check-permissions", answer["access_token"], check)
        assert (answered.status, json_of(answered)["granted"]) == (200, False)


def test_a_client_is_no_user(desk: _Desk) -> None:
    """On every route for users, and on those that want a recent sign-in, whatever it holds."""
    desk.must("PATCH", f"/admin/clients/{desk.id}", {"permissions": ["user:assign_roles", "client:read"]})
    token = desk.token()
    before = desk.installation.stored()
    for route in ROUTES:
        if route.who is Caller.USER or (isinstance(route.who, Holder) and route.fresh):
            response = desk.call(route.method, path_of(route), token, {} if route.body is not None else None)
            assert _code(response) == (403, "user-token-required"), route.operation_id
    assert _code(desk.call("GET", "/users/me", token)) == (403, "user-token-required")
    assert _code(desk.call("POST", "/auth/logout", token)) == (403, "user-token-required")
    assert _code(desk.call("GET", "/admin/roles", token)) == (403, "permission-denied")
    assert desk.call("GET", f"/admin/clients/{desk.id}", token).status == 200
    assert attrs.evolve(desk.installation.stored(), audit=before.audit) == before


def test_a_client_is_let_in_where_a_permission_decides(installation: Installation, pipeline_client: HostClient) -> None:
    """On every route that wants no recent sign-in: whoever serves it asks for no user."""
    desk = _Desk(pipeline_client, installation)
    stored = installation.stored()
    client = stored.clients[ClientId(UUID(desk.id))]
    stored.clients[client.id] = attrs.evolve(client, permissions=frozenset({EVERYTHING}))
    desk.installation.service.use_cases.access.forget_all()
    token = desk.token()
    for route in ROUTES:
        if route.takes_clients:
            response = desk.call(route.method, path_of(route), token, {} if route.body is not None else None)
            assert response.status not in {401, 403, 500}, (route.operation_id, response.body)


def test_a_client_changes_what_it_may(desk: _Desk) -> None:
    """And gives nobody what it does not hold, nor what its token is not for."""
    permissions = ["role:create", "role:assign_permissions", "role:list", "user:read"]
    desk.must("PATCH", f"/admin/clients/{desk.id}", {"permissions": permissions})
    token = desk.token()
    role = json_of(desk.call("POST", "/admin/roles", token, {"name": "Clerk"}))
    known = {each["name"]: each["id"] for each in desk.must("GET", "/admin/permissions?limit=100")["data"]}
    path = f"/admin/roles/{role['id']}/permissions"
    for name, scope, expected in (
        ("user:list", " ".join(permissions), (403, "grant-not-held")),
        ("user:read", "role:assign_permissions role:list", (403, "grant-not-held")),
        ("user:read", "role:list", (403, "permission-denied")),
    ):
        body = {"permissionIds": [known[name]]}
        assert _code(desk.call("POST", path, desk.token(scope=scope), body)) == expected, name
    assert desk.call("POST", path, token, {"permissionIds": [known["user:read"]]}).status == 200


@pytest.mark.asvs("10.4.10", "11.2.5")
def test_who_is_not_a_client_is_told_one_thing(desk: _Desk) -> None:
    """The same for an unknown client and a wrong secret, byte by byte, at every endpoint."""
    parameters = {**_GRANT, "token": "x"}
    attempts = [
        (parameters, [desk.basic(desk.id, "wrong")]),
        (parameters, [desk.basic(str(uuid4()), desk.secret)]),
        (parameters, [desk.basic("me", desk.secret)]),
        (parameters, [desk.basic("", "")]),
        (parameters, [("authorization", "Basic")]),
        (parameters, [("authorization", "Basic %%%")]),
        (parameters, [("authorization", "Basic YTol")]),
        (parameters, [("authorization", f"Basic {base64.b64encode(b'a:%00').decode()}")]),
        (parameters, [("authorization", f"Bearer {desk.admin}")]),
        (parameters, [("accept", "*/*")]),
        ({**parameters, "client_id": desk.id}, [("accept", "*/*")]),
        ({**parameters, "client_id": desk.id, "client_secret": "wrong"}, [("accept", "*/*")]),
        ({**parameters, "client_id": "x", "client_secret": desk.secret}, [("accept", "*/*")]),
    ]
    answers = set()
    for target in _ENDPOINTS:
        for content, headers in attempts:
            response = desk.form(target, content, headers=headers)
            assert _error(response) == (401, "invalid_client"), (target, headers)
            answers.add((response.header("www-authenticate"), response.body))
    assert len(answers) == 1
    assert answers.pop()[0] == 'Basic realm="userservice"'


@pytest.mark.asvs("10.4.4", "10.4.11")
def test_what_is_asked_for_badly_is_told(desk: _Desk) -> None:
    """As RFC 6749 §5.2 wants it."""
    for content, expected in (
        ("", "invalid_request"),
        ("scope=authorization%3Aquery", "invalid_request"),
        ("grant_type=", "invalid_request"),
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=client_credentials&other=1&other=2", "invalid_request"),
        ("grant_type=client_credentials&other=%zz", "invalid_request"),
        ("grant_type=client_credentials&other=%00", "invalid_request"),
        ("grant_type=client_credentials&scope=user%3Aread", "invalid_scope"),
        ("grant_type=client_credentials&scope=%22%5C%C3%A9", "invalid_scope"),
        ("grant_type=client_credentials&client_secret=x", "invalid_request"),
        (f"grant_type=client_credentials&client_id={uuid4()}", "invalid_request"),
        ('{"grant_type": "client_credentials"}', "invalid_request"),
        ("\xff\xfe=1", "invalid_request"),
    ):
        assert _error(desk.form("/oauth/token", content)) == (400, expected), content
    for target in ("/oauth/introspect", "/oauth/revoke"):
        assert _error(desk.form(target, "token=")) == (400, "invalid_request")
        assert _error(desk.form(target, "token=a&token=b")) == (400, "invalid_request")


@pytest.mark.asvs("10.4.4")
def test_only_forms_are_taken(client: HostClient, desk: _Desk) -> None:
    """Not JSON, not compressed, not too large; and JSON routes take no forms."""
    known = desk.basic(desk.id, desk.secret)
    for target in _ENDPOINTS:
        for headers in (
            [known],
            [known, ("content-type", "application/json")],
            [known, ("content-type", "multipart/form-data")],
            [known, _FORM, ("content-encoding", "gzip")],
        ):
            response = client.request("POST", target, headers=headers, body=b"grant_type=client_credentials&token=x")
            assert _error(response) == (415, "invalid_request")
        response = client.request("POST", target, headers=[known, _FORM], body=b"token=" + b"x" * 70_000)
        assert _error(response) == (413, "invalid_request")
    charset = ("content-type", "application/x-www-form-urlencoded; charset=UTF-8")
    assert (
        client.request("POST", "/oauth/token", headers=[known, charset], body=urlencode(_GRANT).encode()).status == 200
    )
    assert client.request("POST", "/auth/login", headers=[_FORM], body=b"email=a&password=b").status == 415


# --- questions and ends -----------------------------------------------------------------------------------------------


@pytest.mark.asvs("10.4.10")
def test_a_token_is_told_of(desk: _Desk) -> None:
    """A user's and a client's; of what does not stand, that alone."""
    user = desk.installation.access_token("ada@example.com")
    token = desk.token()
    of_user = json_of(desk.form("/oauth/introspect", {"token": user, "token_type_hint": "refresh_token"}))
    of_client = json_of(desk.form("/oauth/introspect", {"token": token}))
    assert of_user.keys() == {
        *("active", "token_type", "iss", "sub", "client_id", "iat", "exp", "jti", "sid", "auth_time")
    }
    assert of_client == {
        "active": True,
        "token_type": "Bearer",
        "iss": ISSUER,
        "sub": desk.id,
        "client_id": desk.id,
        "scope": "authorization:query",
        "iat": of_client["iat"],
        "exp": of_client["exp"],
        "jti": of_client["jti"],
    }
    assert (of_user["active"], of_user["client_id"]) == (True, "userservice")
    desk.installation.clock.advance(timedelta(minutes=11))
    for ended in (user, token, "x", f"{token}A", "a.b.c"):
        response = desk.form("/oauth/introspect", {"token": ended})
        assert (response.status, response.body, response.header("cache-control")) == (
            200,
            b'{"active":false}',
            "no-store",
        )


@pytest.mark.asvs("10.4.9")
def test_a_token_is_ended(desk: _Desk) -> None:
    """The client's own and a user's; an unknown one is none; another client's is refused."""
    user = desk.installation.access_token("ada@example.com")
    other = desk.must("POST", "/admin/clients", {"name": "Other"})
    theirs = json_of(desk.form("/oauth/token", _GRANT, headers=[desk.basic(other["id"], other["secret"])]))
    mine, kept = desk.token(), desk.token()
    for token in (mine, mine, "x"):
        response = desk.form("/oauth/revoke", {"token": token})
        assert (response.status, response.body) == (200, b"")
    assert _error(desk.form("/oauth/revoke", {"token": theirs["access_token"]})) == (400, "unauthorized_client")
    assert desk.form("/oauth/revoke", {"token": user}).status == 200
    active = [
        json_of(desk.form("/oauth/introspect", {"token": token}))["active"]
        for token in (mine, kept, theirs["access_token"])
    ]
    assert active == [False, True, True]
    assert _code(desk.call("GET", "/auth/nothing", mine)) == (404, "route-not-found")
    assert _code(desk.call("POST", "/auth/check-permissions", mine, {})) == (401, "invalid-token")


def test_a_server_describes_itself(client: HostClient) -> None:
    """The same at both addresses, kept by caches, with addresses that there are."""
    first, second = (
        client.request("GET", f"/.well-known/{name}") for name in ("oauth-authorization-server", "openid-configuration")
    )
    metadata = json_of(first)

    assert first.body == second.body
    assert first.header("cache-control") == "public, max-age=300"
    etag = first.header("etag")
    assert etag is not None
    held = client.request("GET", "/.well-known/openid-configuration", headers=[("if-none-match", etag)])
    assert held.status == 304
    assert metadata["issuer"] == ISSUER
    assert metadata["grant_types_supported"] == ["client_credentials"]
    assert metadata["response_types_supported"] == []
    served = {route.path for route in ROUTES}
    named = {value.removeprefix(ISSUER) for name, value in metadata.items() if name.endswith(("_endpoint", "_uri"))}
    assert named == {*_ENDPOINTS, "/.well-known/jwks.json"}
    assert named <= served


# --- administration ---------------------------------------------------------------------------------------------------


def test_a_client_from_its_making_to_its_end(desk: _Desk) -> None:
    """Made, shown, listed, changed, disabled, deleted."""
    created = desk.send("POST", "/admin/clients", {"name": "Stock", "permissions": ["user:read", "role:list"]})
    made = json_of(created)
    path = f"/admin/clients/{made['id']}"
    assert (created.status, created.header("location"), created.header("etag")) == (201, path, '"1-client1"')
    secret = made.pop("secret")
    assert len(secret) == 43
    assert made == {
        "id": made["id"],
        "name": "Stock",
        "permissions": ["role:list", "user:read"],
        "disabled": False,
        "secrets": [{"id": made["secrets"][0]["id"], "createdAt": made["createdAt"], "lastUsedAt": None}],
        "createdAt": made["createdAt"],
        "disabledAt": None,
        "version": 1,
    }
    assert desk.must("GET", path) == made
    assert [each["name"] for each in desk.must("GET", "/admin/clients")["data"]] == ["Invoices", "Stock"]
    assert desk.must("PATCH", path, made) == made
    basic = [desk.basic(made["id"], secret)]
    token = json_of(desk.form("/oauth/token", _GRANT, headers=basic))["access_token"]
    changed = desk.must("PATCH", path, {"name": "Store", "disabled": True, "permissions": []})
    assert (changed["version"], changed["disabled"], changed["disabledAt"]) == (2, True, changed["disabledAt"])
    assert changed["disabledAt"] is not None
    assert changed["secrets"][0]["lastUsedAt"] is not None
    assert _error(desk.form("/oauth/token", _GRANT, headers=basic)) == (401, "invalid_client")
    assert _code(desk.call("GET", "/admin/roles", token)) == (401, "invalid-token")
    assert desk.send("DELETE", path, if_match='"1-client1"').status == 412
    assert desk.send("DELETE", path, if_match='"2-client1"').status == 204
    for method in ("GET", "DELETE"):
        assert _code(desk.send(method, path)) == (404, "client-not-found")


def test_secrets_come_and_go(desk: _Desk) -> None:
    """Two at a time, each shown once; what is gone opens nothing."""
    path = f"/admin/clients/{desk.id}/secrets"
    (first,) = desk.must("GET", f"/admin/clients/{desk.id}")["secrets"]
    second = desk.must("POST", path)
    assert second.keys() == {"id", "secret"}
    assert _code(desk.send("POST", path)) == (409, "too-many-client-secrets")
    token = desk.token()
    assert desk.send("DELETE", f"{path}/{first['id']}").status == 204
    assert _code(desk.send("DELETE", f"{path}/{first['id']}")) == (404, "client-secret-not-found")
    assert _error(desk.form("/oauth/token", _GRANT)) == (401, "invalid_client")
    desk.secret = second["secret"]
    assert json_of(desk.form("/oauth/introspect", {"token": token})) == {"active": False}
    assert json_of(desk.form("/oauth/introspect", {"token": desk.token()}))["active"] is True


def test_what_a_client_may_not_be_is_told(desk: _Desk) -> None:
    """All at once, with pointers; unknown permissions, wildcards, members that cannot be changed."""
    refused = json_of(desk.send("POST", "/admin/clients", {"name": "", "permissions": ["no:such"]}))
    assert [(fault["pointer"], fault["code"]) for fault in refused["errors"]] == [("/name", "blank")]
    refused = json_of(desk.send("POST", "/admin/clients", {"name": "a", "permissions": ["no:such", "user:read"]}))
    assert [(fault["pointer"], fault["code"]) for fault in refused["errors"]] == [
        ("/permissions", "unknown-permission")
    ]
    body = {"name": "a", "permissions": ["user:*"]}
    assert _code(desk.send("POST", "/admin/clients", body)) == (400, "invalid-input")
    body = {"name": "a", "permissions": ["*:*"]}
    assert _code(desk.send("POST", "/admin/clients", body)) == (403, "wildcard-grant")
    wrong = {"id": str(uuid4()), "secrets": [], "createdAt": "2020-01-01T00:00:00Z", "version": 9}
    refused = json_of(desk.send("PATCH", f"/admin/clients/{desk.id}", wrong))
    assert {(fault["pointer"], fault["code"]) for fault in refused["errors"]} == {
        (f"/{name}", "read-only") for name in wrong
    }


@pytest.mark.asvs("7.5.3")
def test_changes_want_a_recent_sign_in(desk: _Desk) -> None:
    """Reading does not."""
    desk.installation.clock.advance(timedelta(minutes=6))
    path = f"/admin/clients/{desk.id}"

    assert desk.send("GET", "/admin/clients").status == 200
    assert desk.send("GET", path).status == 200
    for method, target, content in (
        ("POST", "/admin/clients", {"name": "a"}),
        ("PATCH", path, {"name": "a"}),
        ("DELETE", path, None),
        ("POST", f"{path}/secrets", None),
        ("DELETE", f"{path}/secrets/{NOBODY}", None),
    ):
        assert _code(desk.send(method, target, content)) == (401, "fresh-sign-in-required")
