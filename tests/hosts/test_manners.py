"""What every route owes to HTTP, tried on every route behind every host."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from tests.hosts.installation import HOSTS, Installation
from tests.paths import path_of
from userservice_core.http.body_format import BodyFormat
from userservice_core.http.cors import CrossOriginRules
from userservice_core.http.routes import ROUTES, Caller
from userservice_core.testing.host import HostClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.http.messages import Response
    from userservice_core.http.routes import Route

_ID: Final = ("x-request-id", "the-same-everywhere")
_PUBLIC: Final = frozenset(
    {"get_jwks", "get_openapi", "get_docs", "get_authorization_server", "get_openid_configuration"}
)
_BY_STATUS: Final = {
    406: "not-acceptable",
    413: "body-too-large",
    414: "uri-too-long",
    415: "unsupported-media-type",
    431: "headers-too-large",
}
_REFUSING: Final = ("image/png", "application/json;q=0, */*", "application/*;q=0.0", "text/plain, image/*;q=0.5")
_TAKING: Final = ("*/*", "application/json", "image/png, */*;q=0.1", "APPLICATION/JSON;charset=utf-8", "", "nonsense")


@attrs.frozen
class _Administrator:
    """Sends each route something that it may refuse, as somebody who may do everything."""

    client: HostClient
    token: str

    def ask(self, route: Route, *headers: tuple[str, str], method: str | None = None, body: bytes = b"{}") -> Response:
        given = [_ID, *headers]
        if route.who is not Caller.ANYONE:
            given.append(("authorization", f"Bearer {self.token}"))
        if route.body is None:
            body = b""
        elif all(name != "content-type" for name, _ in headers):
            is_form = route.body_format is BodyFormat.FORM
            given.append(("content-type", "application/x-www-form-urlencoded" if is_form else "application/json"))
        return self.client.request(method or route.method, path_of(route), headers=given, body=body)


@pytest.fixture
def administrator(installation: Installation, client: HostClient) -> _Administrator:
    """Somebody who may do everything, behind each host."""
    return _Administrator(client, installation.administrator_token("root@example.com"))


def _code(response: Response) -> str:
    """Return the code of a problem; OAuth's endpoints have no such, and then its status stands for it."""
    told: str = json_of(response).get("type", "")
    return told.rpartition(":")[2] or _BY_STATUS[response.status]


def _headers_of(response: Response) -> list[tuple[str, str]]:
    return sorted(response.headers)


def _routes(method: str | None = None) -> Iterator[Route]:
    return (route for route in ROUTES if method is None or route.method == method)


# --- methods ----------------------------------------------------------------------------------------------------------


def test_head_is_answered_as_get_without_the_body(administrator: _Administrator) -> None:
    """Status and headers are the same, the length among them, compressed or not."""
    for route in _routes("GET"):
        if route.operation_id == "export_current_user":
            continue  # each export is part of the next one
        for coding in ("gzip", "identity"):
            got = administrator.ask(route, ("accept-encoding", coding))
            head = administrator.ask(route, ("accept-encoding", coding), method="HEAD")

            assert (head.status, head.body) == (got.status, b""), route.operation_id
            assert _headers_of(head) == _headers_of(got), route.operation_id
            assert got.header("content-length") == str(len(got.body)), route.operation_id


@pytest.mark.asvs("3.5.3", "13.4.4")
def test_each_path_says_which_methods_it_takes(administrator: _Administrator) -> None:
    """To OPTIONS, and to whoever tries another one."""
    for route in _routes():
        methods = {other.method for other in _routes() if other.path == route.path}
        allowed = ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))
        refused = next(method for method in ("PUT", "PATCH", "DELETE", "POST", "TRACE") if method not in methods)

        options = administrator.ask(route, method="OPTIONS")
        assert (options.status, options.header("allow"), options.body) == (204, allowed, b""), route.path
        response = administrator.client.request(refused, path_of(route), headers=[_ID])
        assert (response.status, response.header("allow")) == (405, allowed), route.path


# --- what the client can take -----------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_not_done(installation: Installation, administrator: _Administrator) -> None:
    """Whoever takes nothing of what a route answers with is told so before anything happens."""
    before = installation.stored()
    for route in _routes():
        if route.content_type != "application/json":
            continue
        for accept in _REFUSING:
            response = administrator.ask(route, ("accept", accept))

            if route.has_body:
                assert (response.status, _code(response)) == (406, "not-acceptable"), (route.operation_id, accept)
                is_oauth = route.who is Caller.CLIENT
                assert response.header("content-type") == f"application/{'json' if is_oauth else 'problem+json'}"
            else:
                assert response.status != 406, (route.operation_id, accept)
    assert installation.stored().users == before.users


def test_what_can_be_read_is_answered(administrator: _Administrator) -> None:
    """Also where the header says nothing that can be understood."""
    for route in _routes():
        for accept in _TAKING:
            if route.content_type == "application/json":
                assert administrator.ask(route, ("accept", accept)).status != 406, (route.operation_id, accept)


# --- compression ------------------------------------------------------------------------------------------------------


def test_a_large_answer_is_compressed_for_who_takes_it(administrator: _Administrator) -> None:
    """It is the same once decompressed, and another representation: with its own length and its own ETag."""
    for operation in ("get_openapi", "list_permissions"):
        (route,) = (route for route in _routes() if route.operation_id == operation)
        plain = administrator.ask(route)
        assert plain.status == 200
        assert plain.header("content-encoding") is None
        assert "accept-encoding" in (plain.header("vary") or "")
        for accepted in ("gzip", "br;q=1.0, gzip;q=0.8, *;q=0.1", "*", "GZIP", "x-gzip"):
            packed = administrator.ask(route, ("accept-encoding", accepted))

            assert packed.header("content-encoding") == "gzip", accepted
            assert gzip.decompress(packed.body) == plain.body
            assert packed.header("content-length") == str(len(packed.body))
            assert packed.header("vary") == plain.header("vary")
            etag = plain.header("etag")
            assert packed.header("etag") == (None if etag is None else f'{etag[:-1]}+gzip"')
        for accepted in ("", "identity", "gzip;q=0", "br", "*;q=0", "gzip;q=0, *"):
            assert administrator.ask(route, ("accept-encoding", accepted)).body == plain.body, accepted


def test_each_coding_is_held_under_its_own_etag(administrator: _Administrator) -> None:
    """A client that holds one and takes the other is sent the other."""
    (route,) = (route for route in _routes() if route.operation_id == "get_openapi")
    plain, packed = (administrator.ask(route, ("accept-encoding", coding)) for coding in ("identity", "gzip"))
    assert plain.header("etag") != packed.header("etag")

    for held, coding, status in (
        (plain, "identity", 304),
        (packed, "gzip", 304),
        (plain, "gzip", 200),
        (packed, "identity", 200),
    ):
        conditions = [("if-none-match", held.header("etag") or ""), ("accept-encoding", coding)]
        response = administrator.ask(route, *conditions)
        assert response.status == status
        if status == 304:
            assert response.body == b""
            assert response.header("etag") == held.header("etag")
            assert response.header("content-encoding") is response.header("content-length") is None
            assert "accept-encoding" in (response.header("vary") or "")


def test_a_change_may_name_the_compressed_representation(administrator: _Administrator) -> None:
    """The version counts, and not how it was shown."""
    response = send_json(
        administrator.client,
        "PUT",
        "/users/me/profile",
        {"firstName": "Ada"},
        token=administrator.token,
        headers=[("if-match", '"0-profile1+gzip"')],
    )
    assert response.status == 200


def test_what_may_hold_a_secret_is_never_compressed(administrator: _Administrator) -> None:
    """Neither answers to anything but GET nor those about tokens: their length would tell of what they hold."""
    for route in _routes():
        response = administrator.ask(route, ("accept-encoding", "gzip"))
        if route.method != "GET" or route.path.startswith(("/auth/", "/oauth/")):
            assert response.header("content-encoding") is None, route.operation_id
        if response.header("content-encoding") is None:
            assert response.header("content-length") in {None, str(len(response.body))}


# --- protection and caches --------------------------------------------------------------------------------------------


@pytest.mark.asvs("3.2.1", "3.4.1", "3.4.3", "3.4.4", "3.4.5", "3.4.6", "14.2.2", "14.2.5", "14.3.2")
def test_every_answer_is_protected_and_kept_by_nobody_who_should_not(administrator: _Administrator) -> None:
    """Good or bad, with a body or without; only what is the same for everybody may be kept, for a time that is told."""
    for route in _routes():
        anonymous = administrator.client.request(route.method, path_of(route), headers=[_ID])
        for response in (administrator.ask(route), administrator.ask(route, method="OPTIONS"), anonymous):
            assert response.header("x-content-type-options") == "nosniff", route.operation_id
            assert response.header("referrer-policy") == "no-referrer", route.operation_id
            policy = response.header("content-security-policy") or ""
            assert "default-src 'none'" in policy, route.operation_id
            assert "frame-ancestors 'none'" in policy, route.operation_id
            assert response.header("strict-transport-security") == "max-age=31536000", route.operation_id
            if route.operation_id in _PUBLIC and response.status == 200:
                assert response.header("cache-control") == "public, max-age=300", route.operation_id
                assert response.header("etag") is not None, route.operation_id
            elif response.status != 304:
                assert response.header("cache-control") == "no-store", route.operation_id


@pytest.mark.asvs("3.3.1", "3.3.2", "3.3.3", "3.3.4", "3.7.2")
def test_by_default_no_answer_sets_a_cookie_and_none_redirects(administrator: _Administrator) -> None:
    """So nothing that a browser sends by itself says who it is."""
    for route in _routes():
        for response in (administrator.ask(route), administrator.ask(route, method="OPTIONS")):
            assert response.header("set-cookie") is None, route.operation_id
            assert response.header("location") is None or response.status == 201, route.operation_id
            assert not 300 <= response.status < 304, route.operation_id
            assert response.status < 305 or response.status >= 400, route.operation_id


@pytest.mark.asvs("3.5.3")
def test_what_only_asks_changes_nothing(installation: Installation, administrator: _Administrator) -> None:
    """GET, HEAD and OPTIONS, whatever the path; that somebody had their data shown is in the log, and that alone."""
    before = installation.stored()
    for route in _routes():
        administrator.ask(route, method="OPTIONS")
        if route.method == "GET" and route.operation_id != "export_current_user":
            administrator.ask(route)
            administrator.ask(route, method="HEAD")
    assert installation.stored() == before


@pytest.mark.asvs("13.4.3")
@pytest.mark.parametrize(
    "path",
    [
        "/.git/config",
        "/.env",
        "/setup.cfg",
        "/docs/../setup.cfg",
        "/docs/%2e%2e/setup.cfg",
        "/docs/",
        "/..%2fetc/passwd",
    ],
)
def test_no_path_is_that_of_a_file(client: HostClient, path: str) -> None:
    """What is not in the table is not there."""
    assert client.request("GET", path).status in {400, 404}


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("1.3.3", "3.5.2", "5.2.1")
def test_every_route_has_its_limits(installation: Installation, administrator: _Administrator) -> None:
    """Of the address, the headers, the body, and its type; whatever else is wrong with the request."""
    before = installation.stored()
    for route in _routes():
        path = path_of(route)
        long_query = administrator.client.request(route.method, f"{path}?{'x' * 8_200}", headers=[_ID])
        assert (long_query.status, _code(long_query)) == (414, "uri-too-long"), path
        large = administrator.ask(route, ("x-large", "x" * 16_400))
        assert (large.status, _code(large)) == (431, "headers-too-large"), path
        many = administrator.ask(route, *((f"x-{number}", "x") for number in range(101)))
        assert (many.status, _code(many)) == (431, "headers-too-large"), path
        if route.body is None:
            continue
        full = administrator.ask(route, body=b" " * 65_537)
        assert (full.status, _code(full)) == (413, "body-too-large"), path
        for media_type in ("text/plain", "multipart/form-data", "application/json; charset=utf-16"):
            wrong = administrator.ask(route, ("content-type", media_type))
            assert wrong.status == 415, (path, media_type)
    assert installation.stored() == before


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTS)
def test_an_installation_may_want_each_change_to_name_its_version(installation: Installation, name: str) -> None:
    """Then a change that does not is told so on every route that has a version, and one that does is made."""
    client = HOSTS[name](installation.with_routes(require_if_match=True))
    administrator = _Administrator(client, installation.administrator_token("root@example.com"))
    conditional = [route for route in _routes() if route.conditional]
    assert conditional

    for route in conditional:
        response = administrator.ask(route)
        assert (response.status, _code(response)) == (428, "precondition-required"), route.operation_id
        assert administrator.ask(route, ("if-match", "*")).status != 428, route.operation_id
    assert administrator.ask(conditional[0], ("if-match", '"7-stale"'), body=b"{}").status == 412


_APP: Final = "https://app.example.com"


def _served(installation: Installation, name: str, rules: CrossOriginRules) -> HostClient:
    return HOSTS[name](installation.with_routes(cross_origin=rules))


def _cors(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers if name.startswith("access-control-")}


@pytest.mark.asvs("3.4.2")
@pytest.mark.parametrize("name", HOSTS)
def test_pages_of_named_origins_may_read_answers(installation: Installation, name: str) -> None:
    """Errors too; other origins get the answer without a word, and caches keep them apart."""
    client = _served(installation, name, CrossOriginRules(origins=(_APP,)))

    for target in ("/health/live", "/users/me", "/nowhere"):
        named = client.request("GET", target, headers=[("origin", _APP)])
        assert _cors(named)["access-control-allow-origin"] == _APP
        assert "etag" in _cors(named)["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in _cors(named)
        for others in (
            [("origin", "https://evil.example.com")],
            [("origin", f"{_APP}.evil.com")],
            [("origin", "null")],
        ):
            assert _cors(client.request("GET", target, headers=others)) == {}
        for headers in ([], [("origin", _APP)], [("origin", "null")]):
            assert "origin" in (client.request("GET", target, headers=headers).header("vary") or "")


@pytest.mark.parametrize("name", HOSTS)
def test_a_preflight_is_answered_from_memory(installation: Installation, name: str) -> None:
    """With what the path takes; nothing is asked of whoever is stored."""
    client = _served(installation, name, CrossOriginRules(origins=(_APP,), allow_credentials=True, max_age_seconds=60))
    asked = [("origin", _APP), ("access-control-request-method", "POST")]
    with installation.in_memory.store.held():
        for route in _routes():
            response = client.request("OPTIONS", path_of(route), headers=asked)
            told = _cors(response)
            assert response.status == 204, route.path
            assert told["access-control-allow-origin"] == _APP
            assert told["access-control-allow-credentials"] == "true"
            assert route.method in told["access-control-allow-methods"].split(", ")
            assert "idempotency-key" in told["access-control-allow-headers"]
            assert told["access-control-max-age"] == "60"
    strange = client.request("OPTIONS", "/auth/login", headers=[("origin", "https://evil.example.com"), asked[1]])
    assert (strange.status, _cors(strange)) == (204, {})
    no_preflight = client.request("OPTIONS", "/auth/login", headers=asked[:1])
    assert "access-control-allow-methods" not in _cors(no_preflight)
    assert client.request("OPTIONS", "/nowhere", headers=asked).status == 404


@pytest.mark.asvs("3.4.2")
@pytest.mark.parametrize("name", HOSTS)
def test_all_pages_may_read_where_that_is_wanted(installation: Installation, name: str) -> None:
    """All are told the same, so that there is nothing to keep apart, and none may send cookies."""
    client = _served(installation, name, CrossOriginRules(origins=("*",), allow_credentials=True))

    response = client.request("GET", "/health/live", headers=[("origin", "https://any.example.com")])

    assert _cors(response)["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in _cors(response)
    assert "origin" not in (response.header("vary") or "")


@pytest.mark.asvs("3.4.2")
def test_by_default_no_page_may_read(client: HostClient) -> None:
    """Browsers keep answers from pages of other origins unless they are told otherwise."""
    response = client.request("GET", "/health/live", headers=[("origin", _APP)])

    assert _cors(response) == {}
