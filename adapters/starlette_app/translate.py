"""Between ASGI and the messages of the HTTP core."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from userservice_core.http.messages import Request, Response

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

BODY_SECONDS: Final = 10.0
"""How long a body may take to come, as long as the server waits for the head of a request."""

_SIGNS_OF_BODY = frozenset({b"content-length", b"transfer-encoding"})
_USUALLY_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


async def request_from(scope: Scope, receive: Receive, *, max_body_bytes: int) -> Request:
    """
    Return the request of *scope*.

    Args:
        max_body_bytes: Reading ends with the first piece that goes past it, so that the core sees that it does.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    method: str = scope["method"]
    # HTTP/2 needs no header to send a body.
    has_body = method not in _USUALLY_WITHOUT_BODY or any(name in _SIGNS_OF_BODY for name, _ in headers)
    client = scope.get("client")
    return Request(
        method=method,
        path=_raw_path(scope),
        query=scope["query_string"].decode("latin-1"),
        headers=tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers),
        body=await _body(receive, max_body_bytes) if has_body else b"",
        client_ip=client[0] if client else None,
    )


def messages_of(response: Response) -> tuple[Message, Message]:
    """Return what ASGI sends for *response*."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    return (
        {"type": "http.response.start", "status": response.status, "headers": headers},
        {"type": "http.response.body", "body": response.body},
    )


def _raw_path(scope: Scope) -> str:
    """Return the path as sent, below where the application is mounted."""
    sent: bytes | None = scope.get("raw_path")
    path = quote(scope["path"]) if sent is None else sent.decode("latin-1")
    return path.removeprefix(scope.get("root_path", "")) or "/"


async def _body(receive: Receive, limit: int) -> bytes:
    """
    Read until the end, the limit, or until the client is gone or too slow.

    Then what is there is shorter than announced, and refused for that.
    """
    pieces: list[bytes] = []
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(BODY_SECONDS):
            while size <= limit:
                message = await receive()
                piece: bytes = message.get("body", b"")
                pieces.append(piece)
                size += len(piece)
                if not message.get("more_body", False):
                    break
    return b"".join(pieces)[: limit + 1]
