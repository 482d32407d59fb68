"""
Asking others over HTTP with nothing but the standard library, so that the base install can do it.

Whoever answers is believed nothing: the connection is encrypted or stays on this machine, redirects are not followed,
and size and time are bounded, whatever the answer says of itself.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import attrs

from userservice_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

    from _typeshed import WriteableBuffer

OK: Final = 200
NOT_MODIFIED: Final = 304

_PIECE_BYTES: Final = 65_536


class FetchError(Exception):
    """The document was not had; the message says why and holds nothing of the answer's content."""


@attrs.frozen
class HttpUrl:
    """An address that may be believed: over https, or of this machine."""

    text: str
    host: str
    port: int
    target: str
    is_encrypted: bool

    @classmethod
    def parse(cls, text: str, *, of: str) -> HttpUrl:
        """
        Read an address.

        Args:
            text: The URL.
            of: What is there, for the messages, such as `the key set`.

        Raises:
            ConfigurationError: If what is fetched from it could be anybody's, or it is none.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError((f"The URL of {of} cannot be read: {error}.",)) from error
        host = parts.hostname
        if parts.scheme not in {"https", "http"} or not host or not text.isascii() or re.search(r"[\s\x00-\x1f]", text):
            raise ConfigurationError((f"The URL of {of} is no http or https URL in ASCII.",))
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError((f"The URL of {of} must not hold credentials.",))
        is_encrypted = parts.scheme == "https"
        if not is_encrypted and not _is_loopback(host):
            whole = f"{of[0].upper()}{of[1:]}"
            raise ConfigurationError((f"{whole} must be fetched over https; http is for this machine only.",))
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return cls(text, host, port or (443 if is_encrypted else 80), target, is_encrypted)

    def below(self, name: str) -> HttpUrl:
        """Return the address of *name*, which needs no encoding, in the folder that this address is of."""
        return attrs.evolve(self, target=f"{self.target.rstrip('/')}/{name}", text=f"{self.text.rstrip('/')}/{name}")


@attrs.frozen(kw_only=True)
class HttpAnswer:
    """
    What was answered.

    Attributes:
        headers: By name in lower case; of several of one name, the first.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)


def fetch(
    url: HttpUrl,
    *,
    headers: Mapping[str, str],
    timeout_seconds: float,
    max_bytes: int,
    wanted: Collection[int] = (OK,),
    form: bytes | None = None,
) -> HttpAnswer:
    """
    GET what is at *url*, or POST to it.

    Args:
        headers: Sent beside those that every request needs.
        timeout_seconds: For everything from the connection to the last byte, except the look-up of the name, which the
            system bounds.
        max_bytes: Of the body.
        wanted: The statuses that are an answer.
        form: What is posted.

    Raises:
        FetchError: If it was not had in time, is too large, or has another status.
    """
    try:
        deadline = _Deadline(time.monotonic() + timeout_seconds)
        return _fetch(url, headers, max_bytes, wanted, form, deadline=deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"{type(error).__name__}: {error}"[:200]) from error


def _fetch(
    url: HttpUrl,
    headers: Mapping[str, str],
    max_bytes: int,
    wanted: Collection[int],
    form: bytes | None,
    *,
    deadline: _Deadline,
) -> HttpAnswer:
    connection = http.client.HTTPConnection(url.host, url.port)
    if url.is_encrypted:
        connection.default_port = http.client.HTTPS_PORT
    with _connect(url, deadline) as connected:
        # A connection that has a socket opens none, and this one is wrapped so that every wait ends at the deadline.
        connection.sock = _TimedSocket(connected, deadline)
        sent = {"Accept-Encoding": "identity", "Connection": "close", **headers}
        connection.request("GET" if form is None else "POST", url.target, body=form, headers=sent)
        with connection.getresponse() as answer:
            return _read_answer(answer, max_bytes, wanted)


def _read_answer(answer: http.client.HTTPResponse, max_bytes: int, wanted: Collection[int]) -> HttpAnswer:
    if answer.status not in wanted:
        raise FetchError(f"the endpoint answered {answer.status}")
    headers = {name.lower(): value for name, value in reversed(answer.getheaders())}
    if answer.status == NOT_MODIFIED:
        return HttpAnswer(status=answer.status, headers=headers, body=b"")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise FetchError("the answer is compressed, which was not asked for")
    return HttpAnswer(status=answer.status, headers=headers, body=_read_body(answer, max_bytes))


def _read_body(answer: http.client.HTTPResponse, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    if answer.length is not None and answer.length > max_bytes:
        raise FetchError(f"the answer is over {max_bytes} bytes")
    while piece := answer.read(_PIECE_BYTES):
        size += len(piece)
        if size > max_bytes:
            raise FetchError(f"the answer is over {max_bytes} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- time -------------------------------------------------------------------------------------------------------------


@attrs.frozen
class _Deadline:
    """A point of the monotonic clock."""

    _at: float

    def seconds_left(self) -> float:
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        return left


class _TimedSocket:
    """
    As much of a socket as an HTTP connection uses, each wait on it bounded by one deadline.

    The time-out of a socket bounds each single read: an answer that trickles would never meet it.
    """

    def __init__(self, wrapped: socket.socket, deadline: _Deadline) -> None:
        self._wrapped = wrapped
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._wrapped.settimeout(self._deadline.seconds_left())
        self._wrapped.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._wrapped, self._deadline))

    def close(self) -> None:
        """Leave it open: HTTP closes its connection before the answer is read, and whoever connected closes it."""


class _TimedReader(io.RawIOBase):
    """What arrives at a socket until the deadline."""

    def __init__(self, wrapped: socket.socket, deadline: _Deadline) -> None:
        super().__init__()
        self._wrapped = wrapped
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._wrapped.settimeout(self._deadline.seconds_left())
        return self._wrapped.recv_into(buffer)


def _connect(url: HttpUrl, deadline: _Deadline) -> socket.socket:
    connected = socket.create_connection((url.host, url.port), timeout=deadline.seconds_left())
    if not url.is_encrypted:
        return connected
    try:
        connected.settimeout(deadline.seconds_left())
        return ssl.create_default_context().wrap_socket(connected, server_hostname=url.host)
    except BaseException:
        connected.close()
        raise
