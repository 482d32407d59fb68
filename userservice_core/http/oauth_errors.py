"""Errors of the OAuth endpoints, in the form that every OAuth client reads (RFC 6749 §5.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from userservice_core.errors import InvalidInputError, UserServiceError
from userservice_core.http.messages import Response
from userservice_core.http.problems import INTERNAL_STATUS, headers_of, json_pointer, status_of
from userservice_core.http.wire import OAuthErrorAnswer

if TYPE_CHECKING:
    from userservice_core.errors import Fault

_OWN_CODES: Final = frozenset({"invalid-client", "invalid-scope", "unsupported-grant-type", "unauthorized-client"})
"""Those of our codes that RFC 6749 §5.2 has too, with underscores."""

_RETRIABLE: Final = frozenset({429, 503})
_NOT_DESCRIBABLE: Final = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
"""What `error_description` must not hold (RFC 6749 §5.2)."""


def oauth_error_response(error: UserServiceError) -> Response:
    """Tell the client of *error*; one that is not theirs says nothing of its cause."""
    status = status_of(error)
    if status == INTERNAL_STATUS:
        error = UserServiceError()
    document = OAuthErrorAnswer(
        error=_code_of(error, status), error_description=_NOT_DESCRIBABLE.sub("?", _description_of(error))
    )
    headers = (("content-type", "application/json"), *headers_of(error))
    return Response(status=status, headers=headers, body=msgspec.json.encode(document))


def _code_of(error: UserServiceError, status: int) -> str:
    if error.code in _OWN_CODES:
        return error.code.replace("-", "_")
    if status == INTERNAL_STATUS:
        return "server_error"
    return "temporarily_unavailable" if status in _RETRIABLE else "invalid_request"


def _description_of(error: UserServiceError) -> str:
    return " ".join(map(_told, error.faults)) if isinstance(error, InvalidInputError) else error.detail


def _told(fault: Fault) -> str:
    place = json_pointer(fault.field).removeprefix("/")
    return f"{place}: {fault.message}" if place else fault.message
