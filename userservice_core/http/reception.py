"""What is checked of a request before anything of the service is asked: limits, media type, headers."""

from __future__ import annotations

import base64
import functools
import ipaddress
import re
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.application.client_tokens import ClientCredentials
from userservice_core.domain.sessions import Origin
from userservice_core.errors import InvalidClientError
from userservice_core.http.body_format import BodyFormat
from userservice_core.http.decoding import percent_decoded
from userservice_core.http.errors import (
    BodyTooLargeError,
    HeadersTooLargeError,
    MalformedRequestError,
    UnsupportedMediaTypeError,
    UriTooLongError,
)

if TYPE_CHECKING:
    from userservice_core.http.messages import Request
    from userservice_core.http.routes import Route

MAX_HEADERS: Final = 100
MAX_URI_BYTES: Final = 8_192
MAX_USER_AGENT_CHARACTERS: Final = 512
_MAX_LENGTH_DIGITS: Final = 12
_BYTES_AROUND_HEADER: Final = 4  # the colon, the space, and the end of the line

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
_JSON_TYPES: Final = {
    "POST": frozenset({"application/json"}),
    "PUT": frozenset({"application/json"}),
    "PATCH": frozenset({"application/json", "application/merge-patch+json"}),
    "DELETE": frozenset({"application/json"}),
}


_FORM_TYPES: Final = frozenset({BodyFormat.FORM.value})
_NO_FORM: Final = "Send the body as application/x-www-form-urlencoded in UTF-8, and not compressed."


@attrs.frozen(kw_only=True)
class Limits:
    """How large a request may be."""

    body_bytes: int
    header_bytes: int


def require_within(limits: Limits, request: Request) -> None:
    """
    Check the size of everything, and that no header carries control characters.

    Raises:
        UriTooLongError: If path and query are over 8 KiB.
        HeadersTooLargeError: If the headers are too many or too long.
        MalformedRequestError: If a header holds control characters, or the length announced is none or another one.
        BodyTooLargeError: If the body is, or was announced to be, over the limit.
    """
    if len(request.path) + len(request.query) > MAX_URI_BYTES:
        raise UriTooLongError
    size = sum(len(name) + len(value) + _BYTES_AROUND_HEADER for name, value in request.headers)
    if size > limits.header_bytes or len(request.headers) > MAX_HEADERS:
        raise HeadersTooLargeError
    if any(_CONTROL.search(value) for _, value in request.headers):
        raise MalformedRequestError("A header holds control characters.")
    _require_body_within(limits.body_bytes, request)


def _require_body_within(limit: int, request: Request) -> None:
    announced = request.header("content-length")
    if announced is not None and not (announced.isascii() and announced.isdecimal()):
        raise MalformedRequestError("The header Content-Length is no number.")
    if len(request.body) > limit or (announced is not None and _is_over(announced, limit)):
        raise BodyTooLargeError(maxBytes=limit)
    if announced is not None and int(announced) != len(request.body):
        raise MalformedRequestError("The body is not as long as the header Content-Length says.")


def _is_over(announced: str, limit: int) -> bool:
    return len(announced) > _MAX_LENGTH_DIGITS or int(announced) > limit


def require_readable(route: Route, request: Request) -> None:
    """
    Check that the body, where the route reads one, is of its type, in UTF-8 as it stands.

    Raises:
        UnsupportedMediaTypeError: If it is of another type, in another charset, or compressed.
    """
    if route.body is None or (not request.body and not route.body_required):
        return
    media_type, _, parameters = (request.header("content-type") or "").lower().partition(";")
    is_form = route.body_format is BodyFormat.FORM
    types = _FORM_TYPES if is_form else _JSON_TYPES[route.method]
    is_readable = media_type.strip() in types and parameters.strip() in {"", "charset=utf-8", 'charset="utf-8"'}
    if not is_readable or (request.header("content-encoding") or "identity").lower() != "identity":
        raise UnsupportedMediaTypeError(_NO_FORM if is_form else None)


def access_token_of(request: Request) -> str | None:
    """
    Return the token of the header `Authorization` (RFC 6750 §2.1); None where there is none, or another scheme.

    Raises:
        MalformedRequestError: If the header is repeated.
    """
    value = request.header("authorization")
    if value is None:
        return None
    if "," in value and value[:6].lower() == "bearer":
        raise MalformedRequestError("Send the header Authorization once.")
    match = _BEARER.fullmatch(value)
    return match[1] if match else None


def client_credentials_of(request: Request) -> ClientCredentials | None:
    """
    Return id and secret of the header `Authorization` (RFC 6749 §2.3.1); None where there is none, or another scheme.

    Raises:
        InvalidClientError: If they are not encoded as they have to be.
    """
    scheme, _, value = (request.header("authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(value.strip(), validate=True).decode("latin-1")
    except ValueError as error:
        raise InvalidClientError from error
    client_id, _, secret = (percent_decoded(part.replace("+", " ")) for part in text.partition(":"))
    if client_id is None or secret is None:
        raise InvalidClientError
    return ClientCredentials(client_id=client_id, secret=secret)


def request_id_of(request: Request) -> str | None:
    """Return the id that the client gave the request, None where it is missing or not fit for logs."""
    value = request.header("x-request-id")
    return value if value is not None and _REQUEST_ID.fullmatch(value) else None


def traceparent_of(request: Request) -> str | None:
    """Return the trace the request belongs to (W3C Trace Context §3.2), None where it is missing or malformed."""
    value = request.header("traceparent")
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None


def origin_of(request: Request, *, trusted_proxy_hops: int) -> Origin:
    """Tell where *request* came from; of `X-Forwarded-For` only what trusted proxies wrote counts."""
    return Origin(ip=_client_ip(request, trusted_proxy_hops), user_agent=_user_agent(request))


def _client_ip(request: Request, hops: int) -> str | None:
    forwarded = request.header("x-forwarded-for")
    if hops == 0 or forwarded is None:
        return _valid_ip(request.client_ip)
    entries = [entry.strip() for entry in forwarded.split(",")]
    return _valid_ip(entries[-hops] if hops <= len(entries) else entries[0])


# Proxies and clients call again and again, and reading an address takes longer than all else here.
@functools.lru_cache(maxsize=4_096)
def _valid_ip(text: str | None) -> str | None:
    try:
        return None if text is None else str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _user_agent(request: Request) -> str | None:
    value = request.header("user-agent")
    if value is None:
        return None
    return value.encode("latin-1", "replace").decode("utf-8", "replace")[:MAX_USER_AGENT_CHARACTERS]
