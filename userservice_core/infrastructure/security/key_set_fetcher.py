"""
Fetching a JWK Set over HTTP with nothing but the standard library, so that the base install can do it.

Whoever answers is believed nothing beyond the keys: the connection is encrypted or stays on this machine, redirects are
not followed, and size and time are bounded, whatever the answer says of itself.
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
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs

from userservice_core.errors import ConfigurationError
from userservice_core.infrastructure.security.encoding import parse_json_object

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_BODY_BYTES: Final = 1_048_576
FETCH_SECONDS: Final = 5.0
"""For everything from the connection to the last byte, except the look-up of the name, which the system bounds."""

_PIECE_BYTES: Final = 65_536
_OK: Final = 200
_NOT_MODIFIED: Final = 304
_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_NOT_TO_BE_KEPT: Final = re.compile(r"(?:^|[,\s])no-(?:store|cache)(?:$|[,\s=])", re.IGNORECASE)


class FetchError(Exception):
    """The document was not had; the message says why and holds nothing of the answer's content."""


@attrs.frozen(kw_only=True)
class FetchedKeySet:
    """
    What an endpoint answered.

    Attributes:
        document: The JWK Set, or None if it is the one that the caller has.
        etag: To ask with next time, None where there is none.
        max_age_seconds: How long it may be kept without asking, None where the answer does not say.
    """

    document: Mapping[str, Any] | None
    etag: str | None
    max_age_seconds: int | None


@attrs.frozen
class KeySetUrl:
    """An address that keys may be fetched from: over https, or of this machine."""

    text: str
    host: str
    port: int
    target: str
    is_encrypted: bool

    @classmethod
    def parse(cls, text: str) -> KeySetUrl:
        """
        Read an address.

        Raises:
            ConfigurationError: If keys fetched from it could be anybody's, or it is none.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError((f"The URL of the key set cannot be read: {error}.",)) from error
        host = parts.hostname
        if parts.scheme not in {"https", "http"} or not host or not text.isascii() or re.search(r"[\s\x00-\x1f]", text):
            raise ConfigurationError(("The URL of the key set is no http or https URL in ASCII.",))
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError(("The URL of the key set must not hold credentials.",))
        is_encrypted = parts.scheme == "https"
        if not is_encrypted and not _is_loopback(host):
            raise ConfigurationError(("The key set must be fetched over https; http is for this machine only.",))
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return cls(text, host, port or (443 if is_encrypted else 80), target, is_encrypted)


def fetch_key_set(url: KeySetUrl, *, etag: str | None, timeout_seconds: float) -> FetchedKeySet:
    """
    Ask for the document at *url*.

    Args:
        etag: Of the document that the caller has.
        timeout_seconds: For everything from the connection to the last byte.

    Raises:
        FetchError: If it was not had in time, is too large, or is no JSON object.
    """
    try:
        return _fetch(url, etag=etag, deadline=_Deadline(time.monotonic() + timeout_seconds))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"{type(error).__name__}: {error}"[:200]) from error


def _fetch(url: KeySetUrl, *, etag: str | None, deadline: _Deadline) -> FetchedKeySet:
    connection = http.client.HTTPConnection(url.host, url.port)
    if url.is_encrypted:
        connection.default_port = http.client.HTTPS_PORT
    with _connect(url, deadline) as connected:
        # A connection that has a socket opens none, and this one is wrapped so that every wait ends at the deadline.
        connection.sock = _TimedSocket(connected, deadline)
        connection.request("GET", url.target, headers=_request_headers(etag))
        with connection.getresponse() as answer:
            return _read_answer(answer, etag)


def _request_headers(etag: str | None) -> dict[str, str]:
    headers = {
        "Accept": "application/jwk-set+json, application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": "userservice-verifier",
    }
    return headers if etag is None else {**headers, "If-None-Match": etag}


def _read_answer(answer: http.client.HTTPResponse, known_etag: str | None) -> FetchedKeySet:
    max_age = _max_age_seconds(answer.getheader("Cache-Control"))
    if answer.status == _NOT_MODIFIED and known_etag is not None:
        return FetchedKeySet(document=None, etag=known_etag, max_age_seconds=max_age)
    if answer.status != _OK:
        raise FetchError(f"the endpoint answered {answer.status}")
    if answer.getheader("Content-Encoding", "identity").lower() != "identity":
        raise FetchError("the answer is compressed, which was not asked for")
    document = parse_json_object(_read_body(answer))
    return FetchedKeySet(document=document, etag=answer.getheader("ETag"), max_age_seconds=max_age)


def _read_body(answer: http.client.HTTPResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0
    if answer.length is not None and answer.length > MAX_BODY_BYTES:
        raise FetchError(f"the answer is over {MAX_BODY_BYTES} bytes")
    while piece := answer.read(_PIECE_BYTES):
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise FetchError(f"the answer is over {MAX_BODY_BYTES} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _max_age_seconds(cache_control: str | None) -> int | None:
    if cache_control is None:
        return None
    if _NOT_TO_BE_KEPT.search(cache_control):
        return 0
    found = _MAX_AGE.search(cache_control)
    return int(found[1]) if found else None


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


def _connect(url: KeySetUrl, deadline: _Deadline) -> socket.socket:
    connected = socket.create_connection((url.host, url.port), timeout=deadline.seconds_left())
    if not url.is_encrypted:
        return connected
    try:
        connected.settimeout(deadline.seconds_left())
        return ssl.create_default_context().wrap_socket(connected, server_hostname=url.host)
    except BaseException:
        connected.close()
        raise
