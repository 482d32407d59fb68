"""What only a Lambda host can get wrong: shapes, stages, encodings, repetition, and the time an invocation has."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from adapters.lambda_handler.app import create_handler
from adapters.lambda_handler.translate import request_from, result_of
from tests.hosts.installation import sample_route
from tests.lambda_events import (
    CLIENT_IP,
    EventMaker,
    http_api_event,
    load_balancer_event,
    response_of,
    rest_api_event,
    several_values_event,
)
from userservice_core.errors import ProgrammingError
from userservice_core.http.call import Call, empty_response
from userservice_core.http.decoding import read_query
from userservice_core.http.messages import Response
from userservice_core.testing.host import json_of

if TYPE_CHECKING:
    from tests.hosts.installation import Installation


class _Invocation:
    def __init__(self, milliseconds: int = 10_000) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        """Return what the test says."""
        return self._milliseconds


def _event(method: str, path: str, *, stage: str = "$default", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"rawPath": path, "requestContext": {"stage": stage, "http": {"method": method}}, **more}


@pytest.mark.parametrize(
    ("stage", "path", "status"),
    [
        ("$default", "/health/live", 200),
        ("prod", "/prod/health/live", 200),
        ("prod", "/health/live", 200),
        ("prod", "/prod", 404),
        ("prod", "/production/health/live", 404),
        ("$default", "/nowhere/caf\u00e9 au lait", 404),
        ("$default", "/nowhere/\ud800", 404),
        ("$default", "", 404),
    ],
)
def test_paths_are_those_below_the_stage(installation: Installation, stage: str, path: str, status: int) -> None:
    """A gateway puts its stage in front, and hands the path over encoded or not."""
    handler = create_handler(installation.service)

    assert handler(_event("GET", path, stage=stage), _Invocation())["statusCode"] == status


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"body": base64.b64encode(b'{"email": 1}').decode(), "isBase64Encoded": True}, 400),
        ({"body": '{"email": "\ud800"}', "isBase64Encoded": False}, 400),
        ({"body": "*", "isBase64Encoded": True}, 400),
        ({"body": None}, 400),
        ({}, 400),
    ],
)
def test_any_body_is_understood(installation: Installation, more: dict[str, Any], status: int) -> None:
    """Encoded, as text, broken or missing."""
    handler = create_handler(installation.service)
    event = _event("POST", "/auth/login", headers={"Content-Type": "application/json"}, **more)

    assert handler(event, _Invocation())["statusCode"] == status


def test_an_invocation_about_to_end_begins_nothing(installation: Installation) -> None:
    """Work that would be cut off is refused, and may be repeated."""
    served: list[Call] = []

    def wait(call: Call) -> Response:
        served.append(call)
        return empty_response(204)

    handler = create_handler(installation.with_routes(sample_route(wait)))

    assert handler(_event("GET", "/wait"), _Invocation(milliseconds=200))["statusCode"] == 503
    assert served == []


# --- shapes -----------------------------------------------------------------------------------------------------------

_SHAPES: dict[str, EventMaker] = {
    "http": http_api_event,
    "rest": rest_api_event,
    "balancer": load_balancer_event,
    "balancer-several": several_values_event,
}


@pytest.fixture(params=_SHAPES)
def make_event(request: pytest.FixtureRequest) -> EventMaker:
    """Each shape of event in turn."""
    return _SHAPES[request.param]


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"requestContext": None},
        {"requestContext": {"http": None}},
        {"requestContext": {"connectionId": "x", "routeKey": "$connect"}},
        {"Records": [{"eventSource": "aws:sqs"}]},
        {"source": "aws.events", "detail": {}},
        {str(number): None for number in range(1_000)},
    ],
)
def test_an_event_that_is_no_request_is_told(installation: Installation, event: dict[str, Any]) -> None:
    """The function was connected to something else: the error says what is expected, and what came."""
    with pytest.raises(ProgrammingError, match="no HTTP request") as refused:
        create_handler(installation.service)(event, _Invocation())

    assert all(member in str(refused.value) for member in sorted(event)[:20])
    assert len(str(refused.value)) < 400


def test_missing_and_null_members_are_no_fault(installation: Installation, make_event: EventMaker) -> None:
    """Each member that a shape is not told by may be absent, or null, in turn and all at once."""
    handler = create_handler(installation.service)
    event = make_event("GET", "/health/live", (("host", "x"),), b"")
    needed = {"requestContext", "httpMethod", "path", "rawPath"}
    optional = [name for name in event if name not in needed]

    for names in ([name] for name in optional):
        assert handler({**event, **dict.fromkeys(names)}, _Invocation())["statusCode"] == 200, names
        rest = {name: value for name, value in event.items() if name not in names}
        assert handler(rest, _Invocation())["statusCode"] == 200, names
    assert handler({**event, **dict.fromkeys(optional)}, _Invocation())["statusCode"] == 200
    nulls = {"headers": {"host": None}, "multiValueHeaders": {"host": None, "x-a": [None]}}
    assert handler({**event, **nulls}, _Invocation())["statusCode"] == 200


def test_a_rest_api_is_known_without_its_context(installation: Installation) -> None:
    """Tools that test a function by hand send the method and the path, and little else."""
    event = {"httpMethod": "GET", "path": "/health/live", "requestContext": None}

    assert create_handler(installation.service)(event, _Invocation())["statusCode"] == 200


def test_each_front_end_gets_the_members_that_it_reads(installation: Installation) -> None:
    """Headers as one value or as a list, as the front end takes them, and the reason where it wants one."""
    handler = create_handler(installation.service)
    results = {name: handler(make("GET", "/health/live", (), b""), _Invocation()) for name, make in _SHAPES.items()}

    assert {name: sorted(result) for name, result in results.items()} == {
        "http": ["body", "cookies", "headers", "isBase64Encoded", "statusCode"],
        "rest": ["body", "isBase64Encoded", "multiValueHeaders", "statusCode"],
        "balancer": ["body", "headers", "isBase64Encoded", "statusCode", "statusDescription"],
        "balancer-several": ["body", "isBase64Encoded", "multiValueHeaders", "statusCode", "statusDescription"],
    }
    assert results["balancer"]["statusDescription"] == "200 OK"
    assert results["balancer"]["headers"]["content-type"] == "application/json"
    assert results["rest"]["multiValueHeaders"]["content-type"] == ["application/json"]


def test_every_shape_carries_what_goes_in_and_out(make_event: EventMaker) -> None:
    """Query, cookies, address, a body that is no text, cookies to set, and a status that has no name."""
    event = make_event(
        "POST",
        "/caf%C3%A9?q=a%20b%26c&r=%2B",
        (("cookie", "one=1; two=2"), ("x-forwarded-for", "6.6.6.6"), ("user-agent", "B\xc3\xa9b")),
        b"\xff\x00",
    )
    request = request_from(event, time_left_seconds=None)

    assert (request.method, request.path, request.client_ip) == ("POST", "/caf%C3%A9", CLIENT_IP)
    assert read_query(request.query) == {"q": "a b&c", "r": "+"}
    assert (request.header("cookie"), request.header("user-agent")) == ("one=1; two=2", "B\xc3\xa9b")
    assert request.body == b"\xff\x00"

    cookies = (("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2"))
    response = Response(status=299, headers=(*cookies, ("x-sent", "y")), body=b"\x1f\x8b\xff")
    answered = response_of(result_of(response, event))

    assert (answered.status, answered.body, answered.header("x-sent")) == (299, b"\x1f\x8b\xff", "y")
    assert answered.header("set-cookie") == "a=1; Path=/, b=2"


def test_cookies_are_read_once(installation: Installation) -> None:
    """A front end that sends them both ways does not double them."""
    event = {**_event("GET", "/"), "headers": {"Cookie": "a=1"}, "cookies": ["a=1"]}

    assert request_from(event, time_left_seconds=None).header("cookie") == "a=1"
    assert create_handler(installation.service)(event, _Invocation())["statusCode"] == 404


# --- repetition -------------------------------------------------------------------------------------------------------


def test_a_repeated_invocation_does_nothing_twice(installation: Installation, make_event: EventMaker) -> None:
    """The platform may deliver an event again: confirming an address and signing out change nothing more."""
    handler = create_handler(installation.service)
    credentials = {"email": "ada@example.com", "password": "correct horse battery staple"}

    def event_of(path: str, body: dict[str, str]) -> dict[str, Any]:
        content = json.dumps(body).encode()
        return make_event("POST", path, (("content-type", "application/json"),), content)

    def invoke(event: dict[str, Any]) -> Response:
        return response_of(handler(event, _Invocation()))

    assert invoke(event_of("/auth/register", credentials)).status == 201
    verify = event_of("/auth/verify-email", {"token": installation.mailed_token("ada@example.com")})
    assert invoke(verify).status == 200
    after_verification = installation.stored()
    assert invoke(verify).status == 200
    assert installation.stored() == after_verification

    tokens = json_of(invoke(event_of("/auth/login", credentials)))
    sign_out = event_of("/auth/logout", {"refreshToken": tokens["refreshToken"]})
    assert invoke(sign_out).status == 204
    after_sign_out = installation.stored()
    invoke(sign_out)
    assert installation.stored() == after_sign_out
