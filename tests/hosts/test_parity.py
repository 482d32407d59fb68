"""Every host answers every request with the same status, headers and body as the pipeline without a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.hosts.installation import HOSTS
from tests.paths import path_of
from userservice_core.http.routes import ROUTES
from userservice_core.testing.host import json_of

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.testing.host import HostClient

_JSON: Final = ("content-type", "application/json")
_ID: Final = ("x-request-id", "the-same-everywhere")
_METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW")

_Sent = tuple[str, str, tuple[tuple[str, str], ...], bytes]

_REQUESTS: Final[tuple[_Sent, ...]] = (
    *((method, path, (), b"") for path in sorted({path_of(route) for route in ROUTES}) for method in _METHODS),
    *(
        ("GET", path, (), b"")
        for path in (
            "/",
            "//",
            "/users/me/",
            "/users//me",
            "/users/../users/me",
            "/users%2Fme",
            "/%75sers/me",
            "/users/%",
            "/users/%zz",
            "/users/%00",
            "/users/%ff",
            "/users/caf%C3%A9",
            "/users/100%25",
            "/users/{id}/effective-permissions",
            "/users/%7Bid%7D/effective-permissions",
            "/users/me;x=1",
            "/users/me?x=%00",
            "/a%0ab",
            "/" + "x" * 9_000,
        )
    ),
    *(
        ("GET", f"/auth/verify-email?{query}", (), b"")
        for query in ("", "token", "token=", "token=a", "token=a&token=b", "token=%00", "token=a+b%20c")
    ),
    *(
        ("GET", "/users/me", (("authorization", value),), b"")
        for value in (
            "",
            "Bearer",
            "Bearer x",
            "bearer a.b.c",
            "Basic YTpi",
            "Bearer a b",
            "Bearer a, Bearer b",
            "\xff",
        )
    ),
    ("GET", "/users/me", (("authorization", "Bearer a"), ("authorization", "Bearer b")), b""),
    ("GET", "/health/live", (("x-forwarded-for", "6.6.6.6"), ("user-agent", "B\xc3\xa9b")), b""),
    ("GET", "/health/live", (("host", "<bad host>"),), b""),
    ("GET", "/health/live", (("host", "a"), ("host", "b")), b""),
    ("GET", "/health/live", (("cookie", "x" * 20_000),), b""),
    ("GET", "/health/live", (("if-none-match", "*"),), b""),
    ("GET", "/openapi.json", (("if-none-match", "*"),), b""),
    ("HEAD", "/openapi.json", (("if-none-match", '"x", *'),), b""),
    ("GET", "/health/live", (), b"a body that nobody reads"),
    ("POST", "/auth/login", (_JSON,), b""),
    ("POST", "/auth/login", (_JSON,), b"{}"),
    ("POST", "/auth/login", (_JSON,), b'{"email": "\xff"}'),
    ("POST", "/auth/login", (_JSON,), b'{"email": "\\ud800", "password": 1, "x": null}'),
    ("POST", "/auth/login", (_JSON,), b'{"email": "nobody@example.com", "password": "not the right one"}'),
    ("POST", "/auth/login", (_JSON,), b"[" * 65_536),
    ("POST", "/auth/login", (_JSON,), b"[" * 65_537),
    ("POST", "/auth/login", (_JSON,), b"x" * 1_000_000),
    ("POST", "/auth/login", (), b"{}"),
    ("POST", "/auth/login", (_JSON, ("content-length", "abc")), b""),
    ("POST", "/auth/login", (_JSON, ("content-length", "7")), b"{}"),
    ("POST", "/auth/login", (_JSON, ("content-length", "9" * 30)), b"{}"),
    ("POST", "/auth/login", (_JSON, ("content-encoding", "gzip")), b"\x1f\x8b\x08"),
    ("POST", "/auth/logout", (), b""),
    ("POST", "/auth/logout", (_JSON,), b'{"refreshToken": "x"}'),
    ("POST", "/auth/refresh-token", (_JSON,), b'{"refreshToken": "x"}'),
    ("POST", "/auth/verify-email", (_JSON,), b'{"token": "x"}'),
    ("POST", "/auth/request-email-verification", (_JSON,), b'{"email": "nobody@example.com"}'),
)


@pytest.mark.asvs("2.2.2")
def test_a_host_answers_as_the_pipeline_does(host: HostClient, pipeline_client: HostClient) -> None:
    """Good and bad requests of every kind; one after the other, so that a difference names the request."""
    for method, target, headers, body in _REQUESTS:
        expected = pipeline_client.request(method, target, headers=(*headers, _ID), body=body)
        answered = host.request(method, target, headers=(*headers, _ID), body=body)

        assert (answered.status, sorted(answered.headers), answered.body) == (
            expected.status,
            sorted(expected.headers),
            expected.body,
        ), (method, target[:80], headers, body[:80])
        assert answered.status < 500


@pytest.mark.parametrize("name", [name for name in HOSTS if name != "lambda-rest"])
def test_a_query_that_is_no_text_is_told(installation: Installation, name: str) -> None:
    """Everywhere but behind a REST API, which decodes the query itself and so hands over something else."""
    response = HOSTS[name](installation.service).request("GET", "/auth/verify-email?token=%ff")

    assert (response.status, json_of(response)["type"]) == (400, "urn:userservice:problem:invalid-input")


@pytest.mark.asvs("3.2.1", "3.4.4")
def test_every_answer_is_protected(client: HostClient) -> None:
    """Each one forbids sniffing, framing and, unless it says otherwise, keeping; errors too."""
    for target in ("/health/live", "/nowhere"):
        response = client.request("GET", target)

        assert response.header("cache-control") == "no-store"
        assert response.header("x-content-type-options") == "nosniff"
        assert response.header("referrer-policy") == "no-referrer"
        assert response.header("content-security-policy") == "default-src 'none'; frame-ancestors 'none'"
