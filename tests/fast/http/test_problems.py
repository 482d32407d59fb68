"""Each error has its status, and its answer says what a client may know."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import pytest

from userservice_core import errors
from userservice_core.errors import (
    AuthenticationError,
    DatabaseUnavailableError,
    EmailTakenError,
    Fault,
    InvalidAccessTokenError,
    InvalidInputError,
    PermissionDeniedError,
    ProgrammingError,
    UserServiceError,
)
from userservice_core.http import errors as http_errors
from userservice_core.http.errors import FreshSignInRequiredError, MethodNotAllowedError
from userservice_core.http.problems import STATUS_BY_CODE, json_pointer, problem_response, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.http.messages import Response


def _error_classes() -> Iterator[type[UserServiceError]]:
    for module in (errors, http_errors):
        for _, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, UserServiceError):
                yield value


def _document(response: Response) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(response.body)
    return content


def test_every_error_has_a_status() -> None:
    """A new error is given its status, or this fails; and no status is kept for an error that is gone."""
    assert STATUS_BY_CODE.keys() == {error.code for error in _error_classes()}


@pytest.mark.parametrize("code", sorted(STATUS_BY_CODE))
def test_codes_are_kebab_case(code: str) -> None:
    """The code ends the type of the problem, so it is part of a URI."""
    assert code.replace("-", "").isalpha()
    assert code == code.lower()


def test_a_problem_says_what_went_wrong() -> None:
    """RFC 9457: type, title, status and detail, and the id under which the log knows the request."""
    response = problem_response(EmailTakenError(), request_id="r-1")

    assert response.status == 409
    assert response.headers == (("content-type", "application/problem+json"),)
    assert _document(response) == {
        "type": "urn:userservice:problem:email-taken",
        "title": "Email taken",
        "status": 409,
        "detail": EmailTakenError.default_detail,
        "requestId": "r-1",
    }


def test_faults_are_listed_with_pointers() -> None:
    """Invalid input lists every fault with a JSON Pointer (RFC 6901)."""
    error = InvalidInputError((Fault(("a/b", 0, "m~n"), "too-long", "Shorter."), Fault((), "malformed-json", "No.")))

    assert _document(problem_response(error, request_id="r"))["errors"] == [
        {"pointer": "/a~1b/0/m~0n", "code": "too-long", "message": "Shorter."},
        {"pointer": "", "code": "malformed-json", "message": "No."},
    ]


def test_parameters_of_an_error_are_told() -> None:
    """A client can act on them without reading prose."""
    response = problem_response(PermissionDeniedError(permission="user:list"), request_id="r")

    assert _document(response)["params"] == {"permission": "user:list"}


@pytest.mark.asvs("16.5.1")
@pytest.mark.parametrize("error", [UserServiceError("the cause"), ProgrammingError("the cause", where="here")])
def test_an_error_of_ours_tells_nothing_of_itself(error: UserServiceError) -> None:
    """The log has the cause; the client has the id to ask for it."""
    response = problem_response(error, request_id="r")

    assert _document(response) == {
        "type": "urn:userservice:problem:internal-error",
        "title": "Internal error",
        "status": 500,
        "detail": UserServiceError.default_detail,
        "requestId": "r",
    }


def test_an_error_without_a_status_is_ours() -> None:
    """A subclass that was forgotten does not pass for the client's fault."""

    class ForgottenError(UserServiceError):
        code = "forgotten"

    assert status_of(ForgottenError()) == 500


@pytest.mark.parametrize(
    ("error", "challenge"),
    [
        (AuthenticationError(), 'Bearer realm="userservice"'),
        (InvalidAccessTokenError(), 'Bearer realm="userservice", error="invalid_token"'),
        (
            FreshSignInRequiredError(max_age_seconds=300),
            'Bearer realm="userservice", error="insufficient_user_authentication", max_age="300"',
        ),
    ],
)
def test_every_401_carries_a_challenge(error: AuthenticationError, challenge: str) -> None:
    """RFC 6750 §3 and RFC 9470 §3: what is missing, and what was wrong with what was sent."""
    response = problem_response(error, request_id="r")

    assert response.status == 401
    assert response.header("www-authenticate") == challenge


def test_a_503_says_when_to_try_again() -> None:
    """Retry-After in seconds (RFC 9110 §10.2.3)."""
    response = problem_response(DatabaseUnavailableError(retry_after_seconds=7), request_id="r")

    assert (response.status, response.header("retry-after")) == (503, "7")


def test_a_405_names_the_methods() -> None:
    """RFC 9110 §15.5.6 requires the header Allow."""
    response = problem_response(MethodNotAllowedError(("GET", "HEAD")), request_id="r")

    assert (response.status, response.header("allow")) == (405, "GET, HEAD")


def test_the_root_has_the_empty_pointer() -> None:
    """RFC 6901 §5: the whole document."""
    assert json_pointer(()) == ""
