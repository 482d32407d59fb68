"""Clients that hand each host what its server would: ASGI messages, a WSGI environment, an event of Lambda."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from tests.lambda_events import CLIENT_IP, response_of
from userservice_core.http.messages import Response
from userservice_core.testing.host import with_length

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from wsgiref.types import StartResponse, WSGIApplication

    from starlette.types import ASGIApp, Message

    from adapters.lambda_handler.app import LambdaContext
    from tests.lambda_events import EventMaker
    from userservice_core.http.messages import Headers
    from userservice_core.testing.host import HostClient


class KeyedClient:
    """Gives each POST a key of its own, if it has none, and hands it to another client."""

    def __init__(self, client: HostClient) -> None:
        self._client = client

    def request(
        self, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        """Send one request."""
        if method == "POST" and all(name.lower() != "idempotency-key" for name, _ in headers):
            headers = (*headers, ("idempotency-key", str(uuid.uuid4())))
        return self._client.request(method, target, headers=headers, body=body)


class AsgiClient:
    """Speaks ASGI 3 as granian does; a body arrives in two pieces."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def request(
        self, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        """Run the application for one request on a loop of its own."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in with_length(headers, body)
            ],
            "client": (CLIENT_IP, 50_000),
            "server": ("127.0.0.1", 8_000),
        }
        return asyncio.run(self._exchange(scope, body))

    async def _exchange(self, scope: dict[str, Any], body: bytes) -> Response:
        middle = len(body) // 2
        waiting: list[Message] = [
            {"type": "http.request", "body": body[:middle], "more_body": True},
            {"type": "http.request", "body": body[middle:], "more_body": False},
        ]
        sent: list[Message] = []

        async def receive() -> Message:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        start, *rest = sent
        return Response(
            status=start["status"],
            headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]),
            body=b"".join(message.get("body", b"") for message in rest),
        )


class WsgiClient:
    """Speaks WSGI (PEP 3333); repeated headers are joined, as granian and others do."""

    def __init__(self, app: WSGIApplication, *, says_raw_path: bool = True) -> None:
        """
        Talk to *app*.

        Args:
            app: The application.
            says_raw_path: Whether the environment has the path as sent, as that of gunicorn does and granian's not.
        """
        self._app = app
        self._says_raw_path = says_raw_path

    def request(
        self, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        """Run the application for one request."""
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
            "QUERY_STRING": query,
            "REMOTE_ADDR": CLIENT_IP,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            **dict(_wsgi_headers(with_length(headers, body))),
        }
        if self._says_raw_path:
            environ["RAW_URI"] = target
        return self._exchange(environ)

    def _exchange(self, environ: dict[str, Any]) -> Response:
        started: list[tuple[int, Headers]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], _exc_info: object = None
        ) -> Callable[[bytes], object]:
            started.append((int(status[:3]), tuple((name.lower(), value) for name, value in headers)))
            return bytes

        starting: StartResponse = start_response
        pieces = self._app(environ, starting)
        try:
            body = b"".join(pieces)
        finally:
            close: Callable[[], object] | None = getattr(pieces, "close", None)
            if close is not None:
                close()
        status, headers = started[-1]
        return Response(status=status, headers=headers, body=body)


class LambdaClient:
    """Invokes the handler with what one kind of front end sends, each event through JSON and back."""

    def __init__(
        self,
        handler: Callable[[Mapping[str, Any], LambdaContext], dict[str, Any]],
        *,
        make_event: EventMaker,
    ) -> None:
        self._handler = handler
        self._make_event = make_event

    def request(
        self, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        """Invoke the handler for one request."""
        event = self._make_event(method, target, with_length(headers, body), body)
        return response_of(json.loads(json.dumps(self._handler(json.loads(json.dumps(event)), _Invocation()))))


class _Invocation:
    """An invocation that has just begun."""

    def get_remaining_time_in_millis(self) -> int:
        """Return ten seconds."""
        return 10_000


def _wsgi_headers(headers: Headers) -> Iterator[tuple[str, str]]:
    for name in dict.fromkeys(name for name, _ in headers):
        key = name.upper().replace("-", "_")
        value = ",".join(value for other, value in headers if other == name)
        yield (key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"), value
