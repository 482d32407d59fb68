"""Clients that are slow on purpose, send what no client sends, or open more connections than there can be."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from tests.e2e.processes import OURS, Server, eventually, settings_for
from tests.endurance.hostile_clients import (
    CLOSED,
    ODD_REQUESTS,
    answer_to,
    connect,
    flooded,
    held,
    seconds_until_closed,
)
from tests.endurance.overload import request_bytes

if TYPE_CHECKING:
    from pathlib import Path

_SLOW: Final = 200
_SERVER_GIVES_UP_SECONDS: Final = 10.0
_LATER: Final = 5.0
_MEMORY_PER_CONNECTION: Final = 64 * 1024
_FLOOD_BYTES: Final = 100_000_000
_IN_BUFFERS: Final = 8 * 2**20
"""What the kernels of both sides take before anybody has read it, and then some."""

_SLOW_HEAD: Final = b"GET /users/me HTTP/1.1\r\nHost: a\r\nX-"
_SLOW_BODY: Final = (
    b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
)
_DOCUMENT: Final = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
_KEYS: Final = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: a\r\n\r\n"
_UNKNOWN: Final = request_bytes("POST", "/auth/login", body={"email": "a@example.com", "password": "whatever it is"})


def _resident(server: Server) -> int:
    parent = psutil.Process(server.pid)
    return sum(process.memory_info().rss for process in (parent, *parent.children(recursive=True)))


@pytest.mark.asvs("15.2.2")
def test_slow_clients_hold_neither_threads_nor_much_memory_nor_for_long(database: str, tmp_path: Path) -> None:
    """
    Some send a head, some a body, without an end, and some do not read their answers; others do not notice.

    The first two are sent away after ten seconds.
    """
    with Server("starlette", environment=settings_for(database, tmp_path)) as server:
        # What is made once for all, and the memory of the threads that hash, is nobody's.
        assert [answer_to(server.port, request) for request in (_KEYS, _UNKNOWN, _DOCUMENT) * 8] == [200, 401, 200] * 8
        before = _resident(server)
        began = time.monotonic()
        with (
            held(server.port, _SLOW, _SLOW_HEAD) as heads,
            held(server.port, _SLOW, _SLOW_BODY) as bodies,
            held(server.port, _SLOW, _DOCUMENT),
        ):
            answers = [answer_to(server.port, request) for request in (_KEYS, _UNKNOWN) * 5]
            memory = _resident(server) - before
            closed = seconds_until_closed([*heads, *bodies], began=began)
        after = answer_to(server.port, _KEYS)

    print({"seconds": round(closed, 2), "KiB a connection": round(memory / 3 / _SLOW / 1024, 1)})
    assert answers == [200, 401] * 5
    assert after == 200
    assert closed <= _SERVER_GIVES_UP_SECONDS + _LATER
    assert memory <= 3 * _SLOW * _MEMORY_PER_CONNECTION


@pytest.mark.parametrize("app", ["starlette", "flask"])
def test_what_no_client_sends_is_its_fault_and_costs_nothing(database: str, tmp_path: Path, app: str) -> None:
    """Never 5xx, on either host; of a body without an end no more is read than it takes to see that."""
    with Server(app, environment=settings_for(database, tmp_path)) as server:
        odd = {name: answer_to(server.port, request) for name, request in ODD_REQUESTS.items()}
        before = _resident(server)
        floods = [flooded(server.port, total_bytes=_FLOOD_BYTES, in_pieces=in_pieces) for in_pieces in (False, True)]
        memory = _resident(server) - before
        with contextlib.closing(connect(server.port)) as connection:
            # Shorter than it says, and gone.
            connection.sendall(_SLOW_BODY)
        after = answer_to(server.port, _KEYS)

    assert {name: status for name, status in odd.items() if status != CLOSED and not 400 <= status < 500} == {}
    assert odd["a header of 64 kB"] == odd["a thousand headers"] == 431
    assert odd["a body that is compressed"] == 415
    assert [status for status, _ in floods if status not in {413, CLOSED}] == []
    assert all(taken <= _IN_BUFFERS for _, taken in floods)
    assert memory <= _IN_BUFFERS
    assert after == 200


def test_more_connections_than_there_can_be_do_not_end_the_server(database: str, tmp_path: Path) -> None:
    """A worker that may have 256 files open is asked for 400 connections; once they are gone, it serves as before."""
    limited = ("prlimit", "--nofile=256:256", *OURS)
    with Server("starlette", environment=settings_for(database, tmp_path), program=limited) as server:
        with held(server.port, 400, _SLOW_HEAD), contextlib.closing(connect(server.port)) as late:
            late.sendall(_KEYS)
        began = time.monotonic()
        eventually(lambda: answer_to(server.port, _KEYS) == 200, what="an answer", seconds=2)
        recovered = time.monotonic() - began
        assert server.is_running

        assert answer_to(server.port, _UNKNOWN) == 401

    print({"seconds": round(recovered, 3)})
