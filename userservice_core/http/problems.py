"""
Errors as problem details (RFC 9457): the only place that knows which status an error code answers with.

The `type` is ``urn:userservice:problem:<code>``: an absolute URI, as RFC 9457 §3.1.1 recommends, that is the same on
every installation, under every path prefix and after a change of domain, and that promises no page at an address which
nobody of this project controls. A relative reference would change its meaning with the path of the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from userservice_core.errors import (
    AuthenticationError,
    IdempotencyKeyInUseError,
    InvalidAccessTokenError,
    InvalidClientError,
    InvalidInputError,
    UnavailableError,
    UserServiceError,
)
from userservice_core.http.errors import FreshSignInRequiredError, MethodNotAllowedError
from userservice_core.http.messages import Headers, Response
from userservice_core.http.wire import FaultItem, ProblemAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from userservice_core.errors import Fault

TYPE_PREFIX: Final = "urn:userservice:problem:"
CONTENT_TYPE: Final = "application/problem+json"
INTERNAL_STATUS: Final = 500

STATUS_BY_CODE: Final[dict[str, int]] = {
    "invalid-input": 400,
    "token-invalid": 400,
    "current-password-wrong": 400,
    "malformed-request": 400,
    "idempotency-key-invalid": 400,
    "cursor-invalid": 400,
    "cursor-mismatch": 400,
    "invalid-scope": 400,
    "unsupported-grant-type": 400,
    "unauthorized-client": 400,
    "authentication-required": 401,
    "invalid-credentials": 401,
    "invalid-token": 401,
    "invalid-refresh-token": 401,
    "mfa-challenge-invalid": 401,
    "mfa-code-wrong": 401,
    "mfa-code-required": 401,
    "invalid-client": 401,
    "fresh-sign-in-required": 401,
    "forbidden": 403,
    "permission-denied": 403,
    "grant-not-held": 403,
    "target-outranks-actor": 403,
    "wildcard-grant": 403,
    "user-token-required": 403,
    "email-not-verified": 403,
    "account-suspended": 403,
    "account-deactivated": 403,
    "registration-closed": 403,
    "password-change-required": 403,
    "cross-site-request": 403,
    "not-found": 404,
    "user-not-found": 404,
    "session-not-found": 404,
    "role-not-found": 404,
    "address-not-found": 404,
    "permission-not-found": 404,
    "client-not-found": 404,
    "signing-key-not-found": 404,
    "client-secret-not-found": 404,
    "route-not-found": 404,
    "method-not-allowed": 405,
    "not-acceptable": 406,
    "conflict": 409,
    "email-taken": 409,
    "rotation-under-way": 409,
    "already-exists": 409,
    "too-many-addresses": 409,
    "too-many-client-secrets": 409,
    "role-in-use": 409,
    "permission-in-use": 409,
    "system-object": 409,
    "last-administrator": 409,
    "status-change-not-allowed": 409,
    "account-status": 409,
    "mfa-already-enabled": 409,
    "mfa-not-set-up": 409,
    "mfa-not-enabled": 409,
    "limit-reached": 409,
    "idempotency-key-in-use": 409,
    "stale-version": 412,
    "body-too-large": 413,
    "uri-too-long": 414,
    "unsupported-media-type": 415,
    "idempotency-key-reused": 422,
    "precondition-required": 428,
    "too-many-requests": 429,
    "headers-too-large": 431,
    # What follows is never the client's fault, and its detail never the client's business.
    "internal-error": INTERNAL_STATUS,
    "mail-delivery-failed": INTERNAL_STATUS,
    "event-rejected": INTERNAL_STATUS,
    "bus-unavailable": 503,
    "seal-broken": INTERNAL_STATUS,
    "configuration-invalid": INTERNAL_STATUS,
    "schema-mismatch": INTERNAL_STATUS,
    "programming-error": INTERNAL_STATUS,
    "unavailable": 503,
    "overloaded": 503,
    "breach-check-unavailable": 503,
    "database-unavailable": 503,
    "deadline-exceeded": 503,
    "outcome-unknown": 503,
    "revocations-unknown": 503,
    "signing-keys-unavailable": 503,
    "permissions-unknown": 503,
}


def status_of(error: UserServiceError) -> int:
    """Return the status that *error* answers with; a code without one is our fault."""
    return STATUS_BY_CODE.get(error.code, INTERNAL_STATUS)


def problem_response(error: UserServiceError, *, request_id: str) -> Response:
    """Tell the client of *error*; one that is not theirs says nothing of its cause."""
    status = status_of(error)
    if status == INTERNAL_STATUS:
        error = UserServiceError()
    document = ProblemAnswer(
        type=f"{TYPE_PREFIX}{error.code}",
        title=title_of(error.code),
        status=status,
        detail=error.detail,
        request_id=request_id,
        errors=tuple(_item(fault) for fault in error.faults) if isinstance(error, InvalidInputError) else (),
        params=dict(error.params),
    )
    headers = (("content-type", CONTENT_TYPE), *headers_of(error))
    return Response(status=status, headers=headers, body=msgspec.json.encode(document))


def title_of(code: str) -> str:
    """Return *code* in words."""
    return code.replace("-", " ").capitalize()


def json_pointer(place: Sequence[str | int]) -> str:
    """Return *place* as a JSON Pointer (RFC 6901 §3)."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in place)


def _item(fault: Fault) -> FaultItem:
    return FaultItem(pointer=json_pointer(fault.field), code=fault.code, message=fault.message)


def headers_of(error: UserServiceError) -> Headers:
    """Return what the headers of an answer say of *error*."""
    match error:
        case InvalidClientError():
            return (("www-authenticate", 'Basic realm="userservice"'),)
        case AuthenticationError():
            return (("www-authenticate", f"Bearer {', '.join(_challenge(error))}"),)
        case IdempotencyKeyInUseError():
            return (("retry-after", "1"),)
        case UnavailableError():
            return (("retry-after", str(error.retry_after_seconds)),)
        case MethodNotAllowedError():
            return (("allow", ", ".join(error.allowed)),)
        case _:
            return ()


def _challenge(error: AuthenticationError) -> Iterator[str]:
    """Say what was wrong with the token, if one was sent at all (RFC 6750 §3.1, RFC 9470 §3)."""
    yield 'realm="userservice"'
    match error:
        case InvalidAccessTokenError():
            yield 'error="invalid_token"'
        case FreshSignInRequiredError():
            yield 'error="insufficient_user_authentication"'
            yield f'max_age="{error.max_age_seconds}"'
