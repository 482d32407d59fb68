"""Between WSGI and the messages of the HTTP core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Response as FlaskResponse
from werkzeug.datastructures import Headers

from userservice_core.http.messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What may stand in a path as it is (RFC 3986 §3.3), and the percent sign of what is encoded already.
_PATH_CHARACTERS = "/%:@!$&'()*+,;=~"
_WITHOUT_PREFIX = ("CONTENT_TYPE", "CONTENT_LENGTH")


def request_from(environ: Mapping[str, Any], *, max_body_bytes: int) -> Request:
    """
    Return the request of *environ*.

    Args:
        max_body_bytes: No more than this and one byte is read, so that the core sees that there was more.
    """
    return Request(
        method=environ["REQUEST_METHOD"],
        path=_raw_path(environ),
        query=environ.get("QUERY_STRING", ""),
        headers=tuple(_headers(environ)),
        body=_body(environ, max_body_bytes + 1),
        client_ip=environ.get("REMOTE_ADDR"),
    )


def flask_response(response: Response) -> FlaskResponse:
    """Return *response* for Flask, with its own headers only."""
    translated = FlaskResponse(response.body, response.status)
    translated.headers = Headers(list(response.headers))
    return translated


def _raw_path(environ: Mapping[str, Any]) -> str:
    """
    Return the path as sent, below where the application is mounted.

    WSGI itself knows the decoded path only; the servers that know more say it under either of two names.
    """
    sent: str | None = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if sent is not None and sent.startswith("/"):
        return sent.partition("?")[0].removeprefix(environ.get("SCRIPT_NAME", "")) or "/"
    path: str = environ.get("PATH_INFO", "") or "/"
    return quote(path, safe=_PATH_CHARACTERS.replace("%", ""), encoding="latin-1")


def _headers(environ: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-").lower(), value
        elif name in _WITHOUT_PREFIX and value:
            yield name.replace("_", "-").lower(), value


def _body(environ: Mapping[str, Any], limit: int) -> bytes:
    """Read until the end, the limit, or until the client is gone: then what is there is shorter than announced."""
    announced = environ.get("CONTENT_LENGTH") or ""
    if environ.get("wsgi.input_terminated"):
        wanted = limit
    elif announced.isascii() and announced.isdecimal():
        wanted = limit if len(announced) > len(str(limit)) else min(int(announced), limit)
    else:
        return b""
    pieces: list[bytes] = []
    while wanted > 0 and (piece := environ["wsgi.input"].read(wanted)):
        pieces.append(piece)
        wanted -= len(piece)
    return b"".join(pieces)
