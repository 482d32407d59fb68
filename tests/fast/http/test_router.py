"""Paths and methods find their route, and nothing else does."""

from __future__ import annotations

from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.paths import NOBODY, path_of
from userservice_core.errors import UserServiceError
from userservice_core.http.errors import MalformedRequestError, MethodNotAllowedError, RouteNotFoundError
from userservice_core.http.router import Router
from userservice_core.http.routes import ROUTES, Route

_ROUTER = Router(ROUTES)
_ID = "0190f5fe-7c00-7a00-8abc-def012345678"


def _thing(path: str, method: str = "GET") -> Route:
    return attrs.evolve(ROUTES[0], method=method, path=path)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: str(route.operation_id))
def test_every_route_of_the_table_is_found(route: Route) -> None:
    """Method and path of the table lead to that very route."""
    assert _ROUTER.match(route.method, path_of(route)).route is route


def test_head_is_answered_by_the_route_of_get() -> None:
    """Whoever may GET may ask for the headers alone."""
    assert _ROUTER.match("GET", "/users/me").route is _ROUTER.match("HEAD", "/users/me").route


def test_an_encoded_path_is_the_same_path() -> None:
    """RFC 3986 §6.2.2.2: encoding a character that needs none changes nothing."""
    assert _ROUTER.match("GET", "/users/me").route is _ROUTER.match("GET", "/%75sers/m%65").route


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "*",
        "/users",
        "/users/me/",
        "//users/me",
        "/users//me",
        "/users/./me",
        "/users/x/../me",
        "/users%2Fme",
        "/USERS/ME",
        "/users/me;x=1",
        "/users/{id}/effective-permissions",
        "/users/%7Bid%7D/effective-permissions",
        "/users/me/effective-permissions",
        f"/users/{NOBODY.hex}/effective-permissions",
        f"/users/%7B{NOBODY}%7D/effective-permissions",
        f"/users/{NOBODY}0/effective-permissions",
        f"/users/{NOBODY}/",
        f"/users/{NOBODY}",
        "/users/\u00e9".encode().decode("latin-1"),
    ],
)
def test_another_path_is_not_found(path: str) -> None:
    """Nothing is normalised, and an encoded slash separates nothing."""
    with pytest.raises(RouteNotFoundError):
        _ROUTER.match("GET", path)


@pytest.mark.parametrize("sent", [str(NOBODY), str(NOBODY).upper(), f"%30{str(NOBODY)[1:]}"])
def test_a_parameter_is_read_from_the_path(sent: str) -> None:
    """A UUID in either case, encoded or not."""
    match = _ROUTER.match("GET", f"/users/{sent}/effective-permissions")

    assert match.parameters == {"id": NOBODY}


@pytest.mark.asvs("1.1.1")
@pytest.mark.parametrize("path", ["/users/%", "/users/%4", "/users/%zz", "/users/%00", "/users/%ff", "/users/\xff"])
def test_a_path_that_is_no_text_is_malformed(path: str) -> None:
    """Broken percent-encoding, NUL and bytes that are no UTF-8 are told apart from a path without a route."""
    with pytest.raises(MalformedRequestError):
        _ROUTER.match("GET", path)


def test_a_wrong_method_is_told_the_right_ones() -> None:
    """405 names what the path takes, HEAD and OPTIONS included."""
    with pytest.raises(MethodNotAllowedError) as caught:
        _ROUTER.match("DELETE", "/auth/verify-email")

    assert caught.value.allowed == ("GET", "HEAD", "OPTIONS", "POST")


def test_options_are_those_of_the_path() -> None:
    """A path without GET has no HEAD."""
    assert _ROUTER.allowed("/auth/login") == ("OPTIONS", "POST")


def test_ids_in_a_path_have_the_names_of_the_table() -> None:
    """Each is told under its name, in whatever case it is sent, encoded or not."""
    inner = _thing("/things/{id}/parts/{partId}")
    router = Router((_thing("/things/{id}"), inner))

    for sent in (_ID, _ID.upper(), _ID.replace("0", "%30")):
        match = router.match("GET", f"/things/{sent}/parts/{UUID(int=1)}")
        assert (match.route, match.parameters) == (inner, {"id": UUID(_ID), "partId": UUID(int=1)})


def test_a_name_is_no_id() -> None:
    """A path that has a name where another has an id is found, and its own methods are told."""
    router = Router((_thing("/things/{id}"), _thing("/things/me", "PUT")))

    assert router.match("PUT", "/things/me").parameters == {}
    assert router.match("GET", f"/things/{_ID}").parameters == {"id": UUID(_ID)}
    assert router.allowed("/things/me") == ("OPTIONS", "PUT")


@pytest.mark.parametrize(
    "sent", ["", "1", "{id}", f"{{{_ID}}}", f"urn:uuid:{_ID}", _ID.replace("-", ""), f"{_ID}%20", f"{_ID}0", "x" * 36]
)
def test_what_is_no_uuid_is_no_id(sent: str) -> None:
    """A path with it leads nowhere, as one with an unknown id does."""
    with pytest.raises(RouteNotFoundError):
        Router((_thing("/things/{id}"),)).match("GET", f"/things/{sent}")


def test_two_routes_of_one_method_and_path_are_refused() -> None:
    """The table cannot say two things at once."""
    with pytest.raises(ValueError, match="Two routes answer POST /auth/register"):
        Router((ROUTES[0], ROUTES[0]))


@given(method=st.text(max_size=8), path=st.text(max_size=60))
def test_any_request_line_is_answered(method: str, path: str) -> None:
    """Whatever is sent: a route or one of the documented errors."""
    try:
        assert _ROUTER.match(method, path).route in ROUTES
    except UserServiceError as error:
        assert isinstance(error, MalformedRequestError | MethodNotAllowedError | RouteNotFoundError)  # noqa: PT017
