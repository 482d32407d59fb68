"""
The limits over HTTP: what any service of this kind cannot do without, behind bare Starlette.

``/users/ID`` is one SELECT by psycopg, in threads; ``/queries/NAME`` other statements likewise, with the rows as JSON;
``/answers/NAME`` reads a body and answers what is in a file. No tokens, no routing, no checks.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import attrs
import msgspec
import psycopg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

DSN_VARIABLE: Final = "BENCHMARK_DSN"
THREADS_VARIABLE: Final = "BENCHMARK_THREADS"
FOLDER_VARIABLE: Final = "BENCHMARK_FOLDER"
READY: Final = "/ready"

SELECT_USER: Final = (
    "SELECT user_id, email, email_verified, pending_email, status, attributes, created_at, updated_at, mfa_enabled,"
    " deleted_at, version FROM users WHERE user_id = %s"
)
_MEMBERS: Final = (
    *("id", "email", "emailVerified", "pendingEmail", "status", "attributes", "createdAt", "updatedAt"),
    *("mfaEnabled", "deletedAt", "version"),
)
_threads: Final = ThreadPoolExecutor(int(os.environ.get(THREADS_VARIABLE, "1")))
_of_thread: Final = threading.local()


@attrs.frozen
class Query:
    """Statements that are run one after the other, with their parameters, and in which database."""

    dsn: str
    statements: tuple[tuple[bytes, Mapping[str, Any]], ...]

    def write(self, file: Path) -> None:
        """Keep it for the process that answers."""
        file.write_bytes(pickle.dumps(self))


@cache
def _query(name: str) -> Query:
    found: Query = pickle.loads(_content(name))  # noqa: S301 - written by the run that reads it
    return found


@cache
def _content(name: str) -> bytes:
    return (Path(os.environ[FOLDER_VARIABLE]) / name).read_bytes()


def _connection(dsn: str) -> psycopg.Connection[tuple[Any, ...]]:
    connections: dict[str, psycopg.Connection[tuple[Any, ...]]] = _of_thread.__dict__.setdefault("connections", {})
    if dsn not in connections:
        connections[dsn] = psycopg.connect(dsn, autocommit=True, prepare_threshold=0)
    return connections[dsn]


def _user(user_id: str) -> bytes:
    row = _connection(os.environ[DSN_VARIABLE]).execute(SELECT_USER, (UUID(user_id),)).fetchone()
    return msgspec.json.encode(dict(zip(_MEMBERS, row or (), strict=True)))


def _rows(name: str) -> bytes:
    query = _query(name)
    connection = _connection(query.dsn)
    return msgspec.json.encode(
        [connection.execute(text, params, prepare=True).fetchall() for text, params in query.statements]
    )


class _Limits:
    """Answers by the first part of the path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind, _, name = scope["path"][1:].partition("/")
        if kind == "answers":
            await Request(scope, receive).body()
            body = _content(name)
        elif kind in _IN_THREADS:
            body = await asyncio.get_running_loop().run_in_executor(_threads, _IN_THREADS[kind], name)
        else:
            body = b"{}"
        await Response(body, media_type="application/json")(scope, receive, send)


_IN_THREADS: Final = {"users": _user, "queries": _rows}
app: Final = Starlette()
app.router.default = _Limits()
