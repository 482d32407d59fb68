"""What is refused before anything of the service is asked, and what is taken from headers."""

from __future__ import annotations

import pytest

from userservice_core.domain.sessions import Origin
from userservice_core.errors import UserServiceError
from userservice_core.http.errors import MalformedRequestError, UnsupportedMediaTypeError
from userservice_core.http.messages import Request
from userservice_core.http.reception import (
    Limits,
    access_token_of,
    origin_of,
    request_id_of,
    require_readable,
    require_within,
    traceparent_of,
)
from userservice_core.http.router import Router
from userservice_core.http.routes import ROUTES

_LIMITS = Limits(body_bytes=64, header_bytes=512)
_ROUTER = Router(ROUTES)
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _request(*headers: tuple[str, str], body: bytes = b"", client_ip: str | None = None) -> Request:
    return Request(method="POST", path="/auth/login", headers=headers, body=body, client_ip=client_ip)


def _refusal(request: Request) -> str:
    with pytest.raises(UserServiceError) as caught:
        require_within(_LIMITS, request)
    return caught.value.code


def test_what_is_at_its_limit_is_within() -> None:
    """A limit is the largest size that is taken."""
    require_within(_LIMITS, _request(("content-length", "64"), body=b"x" * 64))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Request(method="GET", path="/" + "x" * 8_192), "uri-too-long"),
        (Request(method="GET", path="/", query="x" * 8_192), "uri-too-long"),
        (_request(("cookie", "x" * 512)), "headers-too-large"),
        (_request(*[("a", "")] * 101), "headers-too-large"),
        (_request(("x-a", "b\x00")), "malformed-request"),
        (_request(("x-a", "b\r\nc: d")), "malformed-request"),
        (_request(body=b"x" * 65), "body-too-large"),
        (_request(("content-length", "65")), "body-too-large"),
        (_request(("content-length", "9" * 400)), "body-too-large"),
        (_request(("content-length", "-1")), "malformed-request"),
        (_request(("content-length", "")), "malformed-request"),
        (_request(("content-length", "1_0")), "malformed-request"),
        (_request(("content-length", "\xb2")), "malformed-request"),
        (_request(("content-length", "2"), ("content-length", "2"), body=b"{}"), "malformed-request"),
        (_request(("content-length", "3"), body=b"{}"), "malformed-request"),
        (_request(("content-length", "1"), body=b"{}"), "malformed-request"),
    ],
)
def test_what_is_too_large_or_malformed_is_refused(request_: Request, code: str) -> None:
    """The address, the headers, the body, and a length that lies."""
    assert _refusal(request_) == code


@pytest.mark.parametrize(
    "value", ["application/json", "Application/JSON ; charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_json_in_utf_8_is_read(value: str) -> None:
    """The media type counts regardless of case, and UTF-8 may be said."""
    require_readable(_ROUTER.match("POST", "/auth/login").route, _request(("content-type", value), body=b"{}"))


@pytest.mark.asvs("3.5.2")
@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("content-type", ""),),
        (("content-type", "text/plain"),),
        (("content-type", "application/x-www-form-urlencoded"),),
        (("content-type", "application/json, application/json"),),
        (("content-type", "application/json; charset=utf-16"),),
        (("content-type", "application/json"), ("content-encoding", "gzip")),
    ],
)
def test_another_type_is_not_read(headers: tuple[tuple[str, str], ...]) -> None:
    """Forms, other charsets and compressed bodies are refused before they are looked at."""
    with pytest.raises(UnsupportedMediaTypeError):
        require_readable(_ROUTER.match("POST", "/auth/login").route, _request(*headers, body=b"{}"))


def test_a_body_that_may_be_missing_needs_no_type_when_it_is() -> None:
    """Signing out with the access token alone takes no body."""
    require_readable(_ROUTER.match("POST", "/auth/logout").route, _request())


@pytest.mark.asvs("3.5.1", "7.2.2")
@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Bearer a.b-c_d~e+f/g==", "a.b-c_d~e+f/g=="),
        ("bearer   a", "a"),
        ("Bearer", None),
        ("Bearer a b", None),
        ("Bearer \xff", None),
        ("Basic YTpi", None),
        ("", None),
    ],
)
def test_the_access_token_is_that_of_the_bearer_scheme(value: str, token: str | None) -> None:
    """RFC 6750 §2.1; another scheme, or none, is no token."""
    assert access_token_of(_request(("authorization", value))) == token


@pytest.mark.asvs("15.3.7")
def test_a_repeated_authorization_is_malformed() -> None:
    """Two proxies could each believe another one; it makes no difference whether a server has joined them."""
    for headers in ((("authorization", "Bearer a"),) * 2, (("authorization", "Bearer a,Bearer b"),)):
        with pytest.raises(MalformedRequestError):
            access_token_of(_request(*headers))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("abc-1.2_3", "abc-1.2_3"), ("x" * 128, "x" * 128), ("x" * 129, None), ("", None), ("a b", None), ("a\xe9", None)],
)
def test_a_request_id_is_taken_if_it_is_fit_for_logs(value: str, expected: str | None) -> None:
    """Anything else gets an id of our own."""
    assert request_id_of(_request(("x-request-id", value))) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (_TRACE, _TRACE),
        (_TRACE.upper(), None),
        ("ff" + _TRACE[2:], None),
        (_TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), None),
        ("x", None),
    ],
)
def test_a_trace_is_taken_if_it_is_well_formed(value: str, expected: str | None) -> None:
    """W3C Trace Context §3.2.2: anything else is ignored."""
    assert traceparent_of(_request(("traceparent", value))) == expected


@pytest.mark.asvs("4.1.3", "15.3.4")
@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (0, "203.0.113.9", "192.0.2.1"),
        (1, None, "192.0.2.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.1, 203.0.113.9", "198.51.100.1"),
        (2, "6.6.6.6, 198.51.100.1, 203.0.113.9", "198.51.100.1"),
        (3, "198.51.100.1, 203.0.113.9", "198.51.100.1"),
        (1, "2001:DB8::1", "2001:db8::1"),
        (1, "unknown", None),
        (1, "1.2.3.4\x00", None),
    ],
)
def test_only_trusted_hops_say_where_a_client_is(hops: int, forwarded: str | None, expected: str | None) -> None:
    """With no trusted proxy the header is the client's own invention."""
    headers = () if forwarded is None else (("x-forwarded-for", forwarded),)

    assert origin_of(_request(*headers, client_ip="192.0.2.1"), trusted_proxy_hops=hops).ip == expected


def test_a_user_agent_is_text_of_bounded_length() -> None:
    """UTF-8 where it is, replaced where it is not, and cut."""
    value = "B\xc3\xa9b\xff" + "x" * 600

    assert origin_of(_request(("user-agent", value)), trusted_proxy_hops=0) == Origin(
        ip=None, user_agent=("B\xe9b\N{REPLACEMENT CHARACTER}" + "x" * 600)[:512]
    )
