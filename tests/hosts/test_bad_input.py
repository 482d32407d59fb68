"""Bad input on every route that takes a body, over every host: a problem with pointers, never a 500, nothing stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from tests.paths import path_of
from userservice_core.http.body_format import BodyFormat
from userservice_core.http.problems import CONTENT_TYPE, TYPE_PREFIX
from userservice_core.http.routes import ROUTES, Route
from userservice_core.testing.host import json_of

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.testing.host import HostClient

_ROUTES: Final = [route for route in ROUTES if route.body is not None and route.body_format is BodyFormat.JSON]
"""What takes a form is for clients, and its suite is `test_oauth`."""
_JSON: Final = ("content-type", "application/json")


def _fits(route: Route, value: str) -> bool:
    """Tell whether *value* is a right one for every member, as true is where all are true or false."""
    assert route.body is not None
    try:
        msgspec.json.decode(_with_each_member(route, value), type=route.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return "\\u" not in value


def _authorization(installation: Installation, route: Route) -> list[tuple[str, str]]:
    """Return the header that the route asks for, of somebody who may do everything and signed in just now."""
    if not route.wants_user:
        return []
    return [("authorization", f"Bearer {installation.administrator_token('admin@example.com')}")]


def _members(route: Route) -> list[str]:
    assert route.body is not None
    return [field.encode_name for field in msgspec.structs.fields(route.body)]


def _with_each_member(route: Route, value: str) -> bytes:
    """Give every member *value*, or as many as a body has room for."""
    room = 60_000 // (len(value) + 40)
    members = ",".join(f'"{name}":{value}' for name in _members(route)[:room])
    return f"{{{members}}}".encode()


_WRONG_EVERYWHERE: Final = {
    "integer": "1",
    "huge integer": "9" * 5_000,
    "huge exponent": "1e999",
    "negative zero": "-0.0",
    "boolean": "true",
    "array": "[]",
    "object": "{}",
    "nul": '"\\u0000"',
    "nul within": '"a\\u0000@example.com"',
    "lone surrogate": '"\\ud800"',
    "low surrogate": '"\\udfff@example.com"',
    "nan": "NaN",
}

_WRONG_AS_A_WHOLE: Final = {
    "truncated": b'{"email": "a@exa',
    "blank": b" ",
    "array": b"[]",
    "array of objects": b'[{"email": "a@example.com"}]',
    "null": b"null",
    "string": b'"a@example.com"',
    "number": b"1e5",
    "two documents": b"{}{}",
    "single quotes": b"{'email': 'a'}",
    "bad utf-8": b'{"email": "\xff\xfe"}',
    "raw surrogate": b'{"email": "\xed\xa0\x80"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": "{}".encode("utf-16"),
    "deep arrays": b"[" * 30_000,
    "deep objects": b'{"a":' * 10_000,
    "unknown member": b'{"isAdmin": true}',
    "nul in a name": b'{"\\u0000": 1}',
    "surrogate in a name": b'{"\\ud800": 1}',
    "prototype": b'{"__proto__": {}, "constructor": {}}',
}

_TOO_LARGE: Final = {
    "100,000 levels": b"[" * 100_000,
    "1 MB string": b'{"email": "' + b"x" * 1_000_000 + b'"}',
    "just over": b'"' + b"x" * 65_535 + b'"',
}


def _require_problem(response: Any, *, status: int, code: str) -> dict[str, Any]:  # noqa: ANN401
    assert (response.status, response.header("content-type")) == (status, CONTENT_TYPE)
    problem = json_of(response)
    assert problem["type"] == TYPE_PREFIX + code
    assert problem["status"] == status
    return problem


@pytest.mark.asvs("2.2.1", "15.3.3", "15.3.5")
@pytest.mark.parametrize("route", _ROUTES, ids=lambda route: str(route.operation_id))
def test_wrong_members_are_told_with_their_pointers(
    installation: Installation, client: HostClient, route: Route
) -> None:
    """Wrong types, NUL, surrogates, absurd numbers and lengths in every member of every body."""
    sent = [_JSON, *_authorization(installation, route)]
    before = installation.stored()
    # As long as fits into a body that holds one in each member.
    long_text = f'"{"x" * (60_000 // len(_members(route)))}"'
    for name, value in {**_WRONG_EVERYWHERE, "long text": long_text}.items():
        if _fits(route, value):
            continue
        body = _with_each_member(route, value)
        response = client.request(route.method, path_of(route), headers=sent, body=body)
        problem = _require_problem(response, status=400, code="invalid-input")
        assert problem["errors"], name
        assert all(fault.keys() == {"pointer", "code", "message"} for fault in problem["errors"])
    assert installation.stored() == before


@pytest.mark.parametrize("route", _ROUTES, ids=lambda route: str(route.operation_id))
def test_what_is_not_the_object_wanted_is_told(installation: Installation, client: HostClient, route: Route) -> None:
    """Broken JSON, other JSON, other encodings, unknown members."""
    sent = [_JSON, *_authorization(installation, route)]
    before = installation.stored()
    for name, body in _WRONG_AS_A_WHOLE.items():
        response = client.request(route.method, path_of(route), headers=sent, body=body)
        problem = _require_problem(response, status=400, code="invalid-input")
        assert problem["errors"], name
    assert installation.stored() == before


@pytest.mark.asvs("1.3.3", "5.2.1")
@pytest.mark.parametrize("route", _ROUTES, ids=lambda route: str(route.operation_id))
def test_what_is_too_large_is_not_read(installation: Installation, client: HostClient, route: Route) -> None:
    """413 past the limit, whether the client says the length or not."""
    sent = [_JSON, *_authorization(installation, route)]
    before = installation.stored()
    for body in _TOO_LARGE.values():
        response = client.request(route.method, path_of(route), headers=sent, body=body)
        _require_problem(response, status=413, code="body-too-large")
    assert installation.stored() == before


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), (415, "unsupported-media-type")),
        ((("content-type", "text/plain"),), (415, "unsupported-media-type")),
        ((("content-type", "application/x-www-form-urlencoded"),), (415, "unsupported-media-type")),
        ((_JSON, _JSON), (415, "unsupported-media-type")),
        ((_JSON, ("content-encoding", "gzip")), (415, "unsupported-media-type")),
        ((_JSON, ("content-length", "100")), (400, "malformed-request")),
        ((_JSON, ("content-length", "9999999999")), (413, "body-too-large")),
        ((_JSON, ("authorization", "Bearer a"), ("authorization", "Bearer b")), (400, "malformed-request")),
        ((_JSON, ("cookie", "x" * 20_000)), (431, "headers-too-large")),
        ((_JSON, *((f"x-{number}", "y") for number in range(200))), (431, "headers-too-large")),
        ((_JSON, ("x-bytes", "\xff\xfe")), (400, "invalid-input")),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("route", _ROUTES, ids=lambda route: str(route.operation_id))
def test_bad_headers_are_told(
    installation: Installation,
    client: HostClient,
    route: Route,
    headers: tuple[tuple[str, str], ...],
    expected: tuple[int, str],
) -> None:
    """Types, lengths and sizes that do not fit; bytes that are no text are no harm by themselves."""
    sent = [*headers, *_authorization(installation, route)]
    before = installation.stored()
    response = client.request(route.method, path_of(route), headers=sent, body=b'{"unknown": 1}')

    _require_problem(response, status=expected[0], code=expected[1])
    assert installation.stored() == before


@pytest.mark.parametrize(
    "route", [route for route in _ROUTES if route.body_required], ids=lambda route: str(route.operation_id)
)
def test_a_missing_body_is_told(installation: Installation, client: HostClient, route: Route) -> None:
    """No body at all is a fault of the whole."""
    sent = [_JSON, *_authorization(installation, route)]
    problem = _require_problem(
        client.request(route.method, path_of(route), headers=sent), status=400, code="invalid-input"
    )

    assert [(fault["pointer"], fault["code"]) for fault in problem["errors"]] == [("", "malformed-json")]


@pytest.mark.asvs("2.2.1")
def test_faults_of_the_content_are_told_at_once(installation: Installation, client: HostClient) -> None:
    """What the domain refuses has pointers too, and all of it comes in one answer."""
    before = installation.stored()
    body = json.dumps({"email": "not an address", "password": "short"}).encode()
    problem = _require_problem(
        client.request("POST", "/auth/register", headers=[_JSON], body=body), status=400, code="invalid-input"
    )

    assert [(fault["pointer"], fault["code"]) for fault in problem["errors"]] == [
        ("/email", "invalid-email"),
        ("/password", "password-too-short"),
    ]
    assert installation.stored() == before
