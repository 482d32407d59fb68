"""
Between the events that carry HTTP requests to a function and the messages of the HTTP core.

There are three shapes: that of HTTP APIs of API Gateway and of function URLs (payload format 2.0), that of its REST
APIs (1.0), and that of Application Load Balancers, whose target group says whether headers have one value or several.
Members may be missing or null in all of them.
"""

from __future__ import annotations

import base64
import enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

from userservice_core.errors import ProgrammingError
from userservice_core.http.messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from userservice_core.http.messages import Headers

_DEFAULT_STAGE: Final = "$default"
# What may stand in a path as it is (RFC 3986 §3.3), and the percent sign of what is encoded already.
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~"
_MAX_NAMED_MEMBERS: Final = 20


class EventShape(enum.Enum):
    """Which front end sent an event."""

    HTTP_API = enum.auto()
    REST_API = enum.auto()
    LOAD_BALANCER = enum.auto()


def shape_of(event: Mapping[str, Any]) -> EventShape:
    """
    Tell which front end sent *event*.

    Raises:
        ProgrammingError: If it is none that carries HTTP requests; the function was connected to something else.
    """
    context = _mapping(event, "requestContext")
    if _mapping(context, "http"):
        return EventShape.HTTP_API
    if "elb" in context:
        return EventShape.LOAD_BALANCER
    if "httpMethod" in event and "path" in event:
        return EventShape.REST_API
    members = ", ".join(sorted(map(str, event))[:_MAX_NAMED_MEMBERS])
    raise ProgrammingError(
        "The event is no HTTP request of API Gateway, a function URL or an Application Load Balancer."
        f" Its members are: {members or 'none'}."
    )


def request_from(event: Mapping[str, Any], *, time_left_seconds: float | None) -> Request:
    """
    Return the request of *event*.

    Args:
        time_left_seconds: Until the platform ends the invocation.

    Raises:
        ProgrammingError: If there is none in it.
    """
    shape = shape_of(event)
    headers = tuple(_headers(event))
    return Request(
        method=_method(event, shape),
        path=_raw_path(event, shape),
        query=_query(event, shape),
        headers=headers,
        body=_body(event),
        client_ip=_client_ip(event, shape, headers),
        time_left_seconds=time_left_seconds,
    )


def result_of(response: Response, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return *response* as the front end that sent *event* wants it."""
    text, is_encoded = _text_of(response.body)
    result: dict[str, Any] = {"statusCode": response.status, "body": text, "isBase64Encoded": is_encoded}
    shape = shape_of(event)
    if shape is EventShape.HTTP_API:
        others = [header for header in response.headers if header[0] != "set-cookie"]
        cookies = [value for name, value in response.headers if name == "set-cookie"]
        return {**result, "headers": _single(others), "cookies": cookies}
    if shape is EventShape.REST_API:
        return {**result, "multiValueHeaders": _multiple(response.headers)}
    result["statusDescription"] = f"{response.status} {_reason(response.status)}"
    # The target group takes the kind of headers that it sends, and no other.
    if event.get("multiValueHeaders") is not None:
        return {**result, "multiValueHeaders": _multiple(response.headers)}
    return {**result, "headers": _single(response.headers)}


# --- in ---------------------------------------------------------------------------------------------------------------


def _mapping(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a member that is an object; an empty one where it is missing, null or no object."""
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _method(event: Mapping[str, Any], shape: EventShape) -> str:
    if shape is EventShape.HTTP_API:
        return _text(_mapping(_mapping(event, "requestContext"), "http").get("method"))
    return _text(event.get("httpMethod"))


def _raw_path(event: Mapping[str, Any], shape: EventShape) -> str:
    """Return the path below the stage; gateways hand it over decoded or not, depending on their kind."""
    path = _text(event.get("rawPath" if shape is EventShape.HTTP_API else "path")) or "/"
    # Load balancers have none.
    stage = _mapping(event, "requestContext").get("stage") or _DEFAULT_STAGE
    if stage != _DEFAULT_STAGE and (path == f"/{stage}" or path.startswith(f"/{stage}/")):
        path = path.removeprefix(f"/{stage}") or "/"
    return quote(path, safe=_PATH_CHARACTERS, errors="replace")


def _query(event: Mapping[str, Any], shape: EventShape) -> str:
    if shape is EventShape.HTTP_API:
        return _text(event.get("rawQueryString"))
    # REST APIs decode the query, load balancers leave it as it was sent.
    pairs = _pairs(event, "multiValueQueryStringParameters", "queryStringParameters")
    if shape is EventShape.REST_API:
        pairs = ((_encoded(name), _encoded(value)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _encoded(text: str) -> str:
    return quote_plus(text, errors="replace")


def _headers(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    names = set()
    for name, value in _pairs(event, "multiValueHeaders", "headers"):
        names.add(name.lower())
        # Text of any script arrives decoded; the core wants the bytes as latin-1.
        yield name.lower(), _as_latin_1(value)
    cookies = event.get("cookies")
    if cookies and "cookie" not in names:
        yield "cookie", _as_latin_1("; ".join(map(_text, cookies)))


def _as_latin_1(text: str) -> str:
    return text.encode("utf-8", "replace").decode("latin-1")


def _pairs(event: Mapping[str, Any], multiple: str, single: str) -> Iterator[tuple[str, str]]:
    """Return names and values from where they all are, else from where each name has one."""
    several = _mapping(event, multiple)
    for name, values in several.items():
        for value in values or ():
            yield name, _text(value)
    if not several:
        for name, value in _mapping(event, single).items():
            yield name, _text(value)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _client_ip(event: Mapping[str, Any], shape: EventShape, headers: Headers) -> str | None:
    """Return who connected to the front end; a load balancer says so only by what it appends to a header."""
    if shape is EventShape.LOAD_BALANCER:
        forwarded = [value for name, value in headers if name == "x-forwarded-for"]
        return forwarded[-1].rpartition(",")[2].strip() if forwarded else None
    told = _mapping(_mapping(event, "requestContext"), "http" if shape is EventShape.HTTP_API else "identity")
    return _text(told.get("sourceIp")) or None


def _body(event: Mapping[str, Any]) -> bytes:
    body = _text(event.get("body"))
    if not event.get("isBase64Encoded"):
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        return b""


# --- out --------------------------------------------------------------------------------------------------------------


def _text_of(body: bytes) -> tuple[str, bool]:
    """Return *body* as it fits into JSON, and whether it is encoded for that."""
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode("ascii"), True


def _single(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in _multiple(headers).items()}


def _multiple(headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    by_name: dict[str, list[str]] = {}
    for name, value in headers:
        by_name.setdefault(name, []).append(value)
    return by_name


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
