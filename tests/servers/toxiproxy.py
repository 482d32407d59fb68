"""
Lines that are slow, narrow, or broken: proxies of toxiproxy, each between clients and one server.

Toxiproxy 2.12, https://github.com/Shopify/toxiproxy: a toxic is something that is done to what a line carries.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import uuid
from typing import TYPE_CHECKING, Any, Final

import attrs

from tests.servers import installed
from tests.servers.process import LoopbackServer, accepts_connections

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMEOUT_SECONDS: Final = 10.0


class Toxiproxy(LoopbackServer):
    """The server with all lines of a run; it knows none after a start."""

    name = "toxiproxy"

    def command(self) -> list[str]:
        return [installed.toxiproxy(), "-host", "127.0.0.1", "-port", str(self.port)]

    def answers(self) -> bool:
        return accepts_connections(self.port)

    @contextlib.contextmanager
    def line(self, upstream: str, *, port: int = 0) -> Iterator[Line]:
        """
        Give a line to *upstream* (`host:port`) for the block.

        Args:
            upstream: Where it goes.
            port: Of 127.0.0.1, where clients connect; any that is free if not given.
        """
        name = uuid.uuid4().hex
        made = self.call("POST", "/proxies", {"name": name, "listen": f"127.0.0.1:{port}", "upstream": upstream})
        try:
            yield Line(self, name, str(made["listen"]))
        finally:
            self.call("DELETE", f"/proxies/{name}")

    def call(self, method: str, path: str, content: object = None) -> Any:  # noqa: ANN401 - JSON of any shape
        """
        Call the server's HTTP API.

        Raises:
            RuntimeError: If it refuses.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_SECONDS)
        try:
            body = None if content is None else json.dumps(content)
            # Without a name of a program, it takes the caller for a browser, and refuses.
            connection.request(method, path, body, {"content-type": "application/json", "user-agent": "tests"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: {response.status} {answer.decode(errors='replace')}")
        return json.loads(answer) if answer else None


@attrs.frozen
class Line:
    """
    Between clients and a server.

    Attributes:
        address: Where clients connect, as `host:port`.
    """

    _proxies: Toxiproxy
    _name: str
    address: str

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self.address.rpartition(":")[2])

    @contextlib.contextmanager
    def toxic(self, kind: str, *, upstream: bool = False, share: float = 1.0, **attributes: int) -> Iterator[None]:
        """
        Have the line do something for the block.

        Args:
            kind: `latency` (latency, jitter: ms), `bandwidth` (rate: kB/s), `timeout` (timeout: ms until the line
                closes, 0 for never; nothing passes), `reset_peer` (timeout: ms), `limit_data` (bytes, after which it
                closes), `slicer`, `slow_close`.
            upstream: Whether with what clients send; with what the server sends if not.
            share: Of the connections.
            attributes: Of the kind.
        """
        name = uuid.uuid4().hex
        stream = "upstream" if upstream else "downstream"
        toxic = {"name": name, "type": kind, "stream": stream, "toxicity": share, "attributes": attributes}
        self._proxies.call("POST", f"/proxies/{self._name}/toxics", toxic)
        try:
            yield
        finally:
            self._proxies.call("DELETE", f"/proxies/{self._name}/toxics/{name}")

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """End all connections, and refuse new ones, for the block."""
        self._switch(is_on=False)
        try:
            yield
        finally:
            self._switch(is_on=True)

    def _switch(self, *, is_on: bool) -> None:
        self._proxies.call("POST", f"/proxies/{self._name}", {"enabled": is_on})
