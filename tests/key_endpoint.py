"""An endpoint of keys on loopback that answers as a test tells it to, and tokens to go with it."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import UUID

import attrs

from userservice_core.domain.ids import SessionId, UserId
from userservice_core.infrastructure.security.access_tokens import TOKEN_TYPE, JwtAccessTokenIssuer
from userservice_core.infrastructure.security.encoding import encode_base64url
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.ports.security import AccessClaims

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

ISSUER: Final = "https://accounts.example.com"
PATH: Final = "/.well-known/jwks.json"


def new_issuer() -> JwtAccessTokenIssuer:
    """Return an issuer with keys of its own."""
    return JwtAccessTokenIssuer(
        KeyRing.generate(datetime.now(UTC), SystemEntropy()), issuer=ISSUER, audience="userservice"
    )


def issued(issuer: JwtAccessTokenIssuer, *, seconds: int = 60, permissions: Iterable[str] | None = ()) -> str:
    """Return a token of *issuer* that ends in some seconds."""
    now = datetime.now(UTC)
    claims = AccessClaims(
        user_id=UserId(UUID(int=1)),
        session_id=SessionId(UUID(int=2)),
        client_id="userservice",
        token_id="t",
        issued_at=now - timedelta(minutes=5),
        expires_at=now + timedelta(seconds=seconds),
        auth_time=now,
        amr=("pwd",),
        permissions=None if permissions is None else tuple(permissions),
    )
    return issuer.issue(claims)


def issued_to_client(issuer: JwtAccessTokenIssuer, *, scope: Iterable[str]) -> str:
    """Return a token of a service client."""
    now = datetime.now(UTC)
    claims = AccessClaims(
        client_id=str(UUID(int=3)),
        token_id=str(UUID(int=4)),
        issued_at=now,
        expires_at=now + timedelta(minutes=1),
        scope=tuple(scope),
    )
    return issuer.issue(claims)


def token_naming(key_id: str) -> str:
    """Return what looks like a token of ours up to its signature, naming any key."""
    header = json.dumps({"alg": "EdDSA", "typ": TOKEN_TYPE, "kid": key_id}).encode()
    return ".".join(encode_base64url(part) for part in (header, b"{}", b"s" * 64))


@attrs.frozen(kw_only=True)
class Answering:
    """
    What the endpoint answers.

    Attributes:
        body: Sent in one piece.
        trickle_seconds: Where it is given, the body is sent byte by byte with these pauses.
        endless: Whether more follows without end.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    trickle_seconds: float | None = None
    endless: bool = False

    @classmethod
    def keys(cls, document: Mapping[str, Any], **headers: str) -> Answering:
        """Answer with a key set."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(body=json.dumps(document).encode(), headers=named)


class KeyEndpoint:
    """A real HTTP server for the length of a block."""

    def __init__(self, answering: Answering, *, certificate: Path | None = None) -> None:
        """
        Answer as told.

        Args:
            answering: What is answered until a test says otherwise.
            certificate: A file with a certificate and its key, to serve https.
        """
        self.answering = answering
        self._certificate = certificate
        self.requests: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.bytes_sent = 0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where the keys are."""
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_port}{PATH}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                endpoint.paths.append(self.path)
                endpoint.requests.append({name.lower(): value for name, value in self.headers.items()})
                with contextlib.suppress(OSError):
                    endpoint.answer(self, endpoint.answering)

            def do_POST(self) -> None:
                endpoint.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.do_GET()

            def log_message(self, *_arguments: object) -> None:
                """Keep quiet."""

        return Handler

    def answer(self, handler: BaseHTTPRequestHandler, answering: Answering) -> None:
        """Send *answering*, or 304 where the client has it."""
        etag = answering.headers.get("ETag")
        known = etag is not None and handler.headers.get("If-None-Match") == etag
        handler.send_response(304 if known else answering.status)
        for name, value in answering.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if known:
            return
        if answering.trickle_seconds is None:
            self._send(handler, answering.body)
        else:
            for position in range(len(answering.body)):
                self._send(handler, answering.body[position : position + 1])
                if self._over.wait(answering.trickle_seconds):
                    return
        while answering.endless and not self._over.is_set():
            self._send(handler, b"x" * 65_536)

    def _send(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        handler.wfile.write(data)
        self.bytes_sent += len(data)
