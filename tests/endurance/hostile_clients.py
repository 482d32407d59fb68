"""Clients that are slow on purpose, send what no client sends, or open more connections than there can be."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TIMEOUT_SECONDS: Final = 20.0
_PIECE: Final = b"x" * 65_536
CLOSED: Final = 0
"""In the place of a status: the server closed the connection without an answer."""

_HEAD: Final = b"POST /auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"

ODD_REQUESTS: Final = {
    "a header of 64 kB": b"GET /users/me HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 65_536 + b"\r\n\r\n",
    "a thousand headers": b"GET /users/me HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 1_000 + b"\r\n",
    "a name that is no token": b"GET /users/me HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n",
    "a length that is no number": _HEAD + b"Content-Length: ten\r\n\r\n{}",
    "a length below nothing": _HEAD + b"Content-Length: -1\r\n\r\n{}",
    "two lengths": _HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and pieces": _HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "pieces of no size": _HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "an unknown coding": _HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a folded header": b"GET /users/me HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
    "two tokens": b"GET /users/me HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    "no UTF-8": b"GET /users/me HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
    "a NUL": b"GET /users/me HTTP/1.1\r\nHost: a\r\nX-A: b\x00c\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    "a body that is compressed": _HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
    "a number of 60,000 digits": _HEAD + b'Content-Length: 60011\r\n\r\n{"email": ' + b"9" * 60_000 + b"}",
    "30,000 lists in one another": _HEAD + b"Content-Length: 30000\r\n\r\n" + b"[" * 30_000,
}
"""What is to be refused as the client's fault, by an answer or by closing the connection."""


def connect(port: int) -> socket.socket:
    """Return a connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS)


def status_of(connection: socket.socket) -> int:
    """Return the status of the answer, or CLOSED."""
    received = b""
    try:
        while b"\r\n" not in received:
            piece = connection.recv(4_096)
            if not piece:
                return CLOSED
            received += piece
    except ConnectionError:
        return CLOSED
    return int(received[9:12])


def answer_to(port: int, request: bytes) -> int:
    """Send *request* on a connection of its own, and return the status of the answer, or CLOSED."""
    with contextlib.closing(connect(port)) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        return status_of(connection)


def flooded(port: int, *, total_bytes: int, in_pieces: bool) -> tuple[int, int]:
    """Send a body that is far too long; return the status, and how many bytes the server took before it closed."""
    size = b"Transfer-Encoding: chunked" if in_pieces else b"Content-Length: %d" % total_bytes
    piece = b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE) if in_pieces else _PIECE
    sent = 0
    with contextlib.closing(connect(port)) as connection:
        connection.sendall(_HEAD + size + b"\r\n\r\n")
        with contextlib.suppress(ConnectionError, TimeoutError):
            while sent < total_bytes:
                connection.settimeout(1.0)
                connection.sendall(piece)
                sent += len(_PIECE)
        connection.settimeout(_TIMEOUT_SECONDS)
        return status_of(connection), sent


@contextlib.contextmanager
def held(port: int, count: int, beginning: bytes) -> Iterator[list[socket.socket]]:
    """Hold *count* connections for the block, on each of which no more than the *beginning* of a request was sent."""
    with contextlib.ExitStack() as opened:
        connections = []
        for _ in range(count):
            connection = opened.enter_context(contextlib.closing(connect(port)))
            connection.sendall(beginning)
            connections.append(connection)
        yield connections


def seconds_until_closed(connections: Sequence[socket.socket], *, began: float) -> float:
    """Wait until the server has answered or closed all, and return how long that took; raises if one is left."""
    for connection in connections:
        with contextlib.suppress(ConnectionError):
            connection.recv(4_096)
    return time.monotonic() - began
