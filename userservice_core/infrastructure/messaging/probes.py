"""Whether a consumer lives, and its metrics, over HTTP: for whatever watches its process."""

from __future__ import annotations

import contextlib
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from userservice_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.infrastructure.messaging.consumer import EventConsumer

_TIMEOUT_SECONDS: Final = 5


@contextlib.contextmanager
def serve_probes(consumer: EventConsumer, *, host: str, port: int) -> Iterator[int]:
    """
    Serve `/health/live`, 200 while *consumer* polls and else 503, and `/metrics` if it counts, within the block.

    Args:
        port: 0 for any free one.

    Yields:
        The port.

    Raises:
        ConfigurationError: If the port cannot be used.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_SECONDS

        def do_GET(self) -> None:
            if self.path == "/health/live":
                is_healthy = consumer.is_healthy()
                self._answer(HTTPStatus.OK if is_healthy else HTTPStatus.SERVICE_UNAVAILABLE, b"", "text/plain")
            elif self.path == "/metrics" and consumer.metrics is not None:
                self._answer(HTTPStatus.OK, *consumer.metrics.render())
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"", "text/plain")

        def log_message(self, *_: object) -> None:
            """Write nothing: probes are many."""

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise ConfigurationError((f"probes cannot be served on {host} port {port} ({error.strerror})",)) from error
    thread = threading.Thread(target=server.serve_forever, name="userservice-probes", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
