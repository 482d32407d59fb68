"""A line to the server that is slow, or breaks at a message of the test's choice."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType

_Chunk = tuple[float, bytes]


class Proxy:
    """
    Forwards connections to the server of a DSN.

    Attributes:
        delay_seconds: How long each byte is under way, in either direction.
        breaks_before: The line breaks when the client sends something with this text, which the server never gets.
        breaks_after: The same, but the server gets it, and only the answer is lost.
        lost_bytes: What was sent over connections that were forgotten.
    """

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._forgotten: set[socket.socket] = set()
        self.delay_seconds = 0.0
        self.breaks_before: bytes | None = None
        self.breaks_after: bytes | None = None
        self.lost_bytes = 0

    @property
    def dsn(self) -> str:
        """The DSN that leads through here."""
        credentials, _, _ = self._target.netloc.rpartition("@")
        return self._target._replace(netloc=f"{credentials}@127.0.0.1:{self._listener.getsockname()[1]}").geturl()

    def lead_to(self, dsn: str) -> None:
        """Have new connections lead to another server, as a name does that was given to it."""
        self._target = urlsplit(dsn)

    def forget(self) -> None:
        """Carry nothing any more over the connections that there are, and say so to neither end."""
        self._forgotten |= set(self._sockets)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for side in self._sockets:
            side.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection((self._target.hostname, self._target.port))
                except OSError:
                    client.close()
                    continue
                self._sockets += [client, server]
                for side in (client, server):
                    side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pump(client, server, is_of_client=True)
                self._pump(server, client, is_of_client=False)

    def _pump(self, source: socket.socket, target: socket.socket, *, is_of_client: bool) -> None:
        chunks: queue.SimpleQueue[_Chunk] = queue.SimpleQueue()
        threading.Thread(
            target=self._read, args=(source, target, chunks), kwargs={"is_of_client": is_of_client}, daemon=True
        ).start()
        threading.Thread(target=_write, args=(target, chunks), daemon=True).start()

    def _read(
        self, source: socket.socket, target: socket.socket, chunks: queue.SimpleQueue[_Chunk], *, is_of_client: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source in self._forgotten:
                    self.lost_bytes += len(data)
                    continue
                if is_of_client and self.breaks_before is not None and self.breaks_before in data:
                    break
                if is_of_client and self.breaks_after is not None and self.breaks_after in data:
                    # The client's side goes first, so that it cannot get the answer. The server's stays open: it
                    # does what it was told before it finds out.
                    source.shutdown(socket.SHUT_RDWR)
                    chunks.put((0.0, data))
                    # Where that was but the first part of it, it finds the end, and does not wait for the rest.
                    chunks.put((0.0, b""))
                    return
                chunks.put((time.monotonic() + self.delay_seconds, data))
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
        chunks.put((0.0, b""))


def _write(target: socket.socket, chunks: queue.SimpleQueue[_Chunk]) -> None:
    with contextlib.suppress(OSError):
        while True:
            due_at, data = chunks.get()
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            time.sleep(max(0.0, due_at - time.monotonic()))
            target.sendall(data)
