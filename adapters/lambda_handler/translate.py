"""Between events of API Gateway (HTTP API, payload format 2.0) or a function URL and the messages of the HTTP core."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from userservice_core.http.messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULT_STAGE = "$default"
# What may stand in a path as it is (RFC 3986 §3.3), and the percent sign of what is encoded already.
_PATH_CHARACTERS = "/%:@!$&'()*+,;=~"


def request_from(event: Mapping[str, Any], *, time_left_seconds: float | None) -> Request:
    """
    Return the request of *event*.

    Args:
        time_left_seconds: Until the platform ends the invocation.
    """
    http = event["requestContext"]["http"]
    headers: Mapping[str, str] = event.get("headers") or {}
    return Request(
        method=http["method"],
        path=_raw_path(event),
        query=event.get("rawQueryString") or "",
        # Text of any script arrives decoded; the core wants the bytes as latin-1.
        headers=tuple((name.lower(), _as_latin_1(value)) for name, value in headers.items()),
        body=_body(event),
        client_ip=http.get("sourceIp"),
        time_left_seconds=time_left_seconds,
    )


def result_of(response: Response) -> dict[str, Any]:
    """Return *response* as the platform wants it; every body of the service is text in UTF-8."""
    return {
        "statusCode": response.status,
        "headers": dict(response.headers),
        "body": response.body.decode(),
        "isBase64Encoded": False,
    }


def _raw_path(event: Mapping[str, Any]) -> str:
    """Return the path below the stage; gateways hand it over decoded or not, depending on their kind."""
    path: str = event.get("rawPath") or "/"
    stage = event["requestContext"].get("stage", _DEFAULT_STAGE)
    if stage != _DEFAULT_STAGE and (path == f"/{stage}" or path.startswith(f"/{stage}/")):
        path = path.removeprefix(f"/{stage}") or "/"
    return quote(path, safe=_PATH_CHARACTERS, errors="replace")


def _as_latin_1(value: str) -> str:
    return value.encode("utf-8", "replace").decode("latin-1")


def _body(event: Mapping[str, Any]) -> bytes:
    body: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        return b""
