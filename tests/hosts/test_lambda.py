"""What only a Lambda host can get wrong: stages, encodings, and the time an invocation has."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from adapters.lambda_handler.app import create_handler
from tests.hosts.installation import sample_route
from userservice_core.http.call import Call, empty_response

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response


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
