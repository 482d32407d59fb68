"""
Which errors an operation can answer with: what its place in the table implies, and what the table adds.

The OpenAPI document lists them, and the clients of the host suite refuse an answer that is not among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.errors import (
    AuthenticationError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    IdempotencyKeyInUseError,
    IdempotencyKeyInvalidError,
    IdempotencyKeyReusedError,
    InvalidAccessTokenError,
    InvalidClientError,
    InvalidInputError,
    OutcomeUnknownError,
    OverloadedError,
    PermissionDeniedError,
    RevocationsUnknownError,
    StaleVersionError,
    TooManyRequestsError,
    UnavailableError,
    UserServiceError,
    UserTokenRequiredError,
)
from userservice_core.http.errors import (
    BodyTooLargeError,
    CursorInvalidError,
    CursorMismatchError,
    FreshSignInRequiredError,
    HeadersTooLargeError,
    MalformedRequestError,
    NotAcceptableError,
    PreconditionRequiredError,
    RouteNotFoundError,
    UnsupportedMediaTypeError,
    UriTooLongError,
)
from userservice_core.http.problems import STATUS_BY_CODE
from userservice_core.http.routes import Caller, Holder, RateClass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.http.routes import Route

ErrorKind = type[UserServiceError]

_ALWAYS: Final[tuple[ErrorKind, ...]] = (
    MalformedRequestError,
    BodyTooLargeError,
    UriTooLongError,
    HeadersTooLargeError,
    UserServiceError,
    OverloadedError,
    DeadlineExceededError,
)


def possible_problems(route: Route) -> dict[int, tuple[ErrorKind, ...]]:
    """Return the errors by status, both in ascending order."""
    by_status: dict[int, dict[str, ErrorKind]] = {}
    for kind in _kinds(route):
        by_status.setdefault(STATUS_BY_CODE[kind.code], {})[kind.code] = kind
    return {status: tuple(kind for _, kind in sorted(by_status[status].items())) for status in sorted(by_status)}


def _kinds(route: Route) -> Iterator[ErrorKind]:
    yield from _ALWAYS
    yield from route.problems
    if route.has_body:
        yield NotAcceptableError
    if route.parameters:
        # What is no id makes another path.
        yield RouteNotFoundError
    yield from _kinds_of_input(route)
    if not route.pure:
        yield DatabaseUnavailableError
        if route.method != "GET" and route.rate_class is not RateClass.READ:
            yield OutcomeUnknownError
    if route.takes_key:
        yield from (IdempotencyKeyInvalidError, IdempotencyKeyReusedError, IdempotencyKeyInUseError)
    if route.is_limited:
        yield from (TooManyRequestsError, UnavailableError)
    yield from _kinds_of_caller(route)


def _kinds_of_caller(route: Route) -> Iterator[ErrorKind]:
    if route.wants_user:
        yield from (AuthenticationError, InvalidAccessTokenError, RevocationsUnknownError)
        if not route.takes_clients:
            yield UserTokenRequiredError
    if route.who is Caller.CLIENT:
        yield InvalidClientError
    if isinstance(route.who, Holder):
        yield PermissionDeniedError
    if route.fresh:
        yield FreshSignInRequiredError


def _kinds_of_input(route: Route) -> Iterator[ErrorKind]:
    if route.body is not None:
        yield UnsupportedMediaTypeError
    if route.body is not None or route.query is not None:
        yield InvalidInputError
    if route.is_list:
        yield from (CursorInvalidError, CursorMismatchError)
    if route.conditional:
        yield from (StaleVersionError, PreconditionRequiredError)
