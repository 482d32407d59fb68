"""
The limit of a read: one SELECT by psycopg, in threads, behind bare Starlette.

No tokens, no routing, no checks: what is left is what any service of this kind cannot do without.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
import psycopg
from starlette.applications import Starlette
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

DSN_VARIABLE: Final = "BENCHMARK_DSN"
THREADS_VARIABLE: Final = "BENCHMARK_THREADS"

_SELECT: Final = (
    "SELECT user_id, email, email_verified, pending_email, status, attributes, created_at, updated_at, mfa_enabled,"
    " deleted_at, version FROM users WHERE user_id = %s"
)
_MEMBERS: Final = (
    *("id", "email", "emailVerified", "pendingEmail", "status", "attributes", "createdAt", "updatedAt"),
    *("mfaEnabled", "deletedAt", "version"),
)
_threads: Final = ThreadPoolExecutor(int(os.environ.get(THREADS_VARIABLE, "1")))
_of_thread: Final = threading.local()


def _connection() -> psycopg.Connection[tuple[Any, ...]]:
    connection: psycopg.Connection[tuple[Any, ...]] | None = getattr(_of_thread, "connection", None)
    if connection is None:
        connection = psycopg.connect(os.environ[DSN_VARIABLE], autocommit=True, prepare_threshold=0)
        _of_thread.connection = connection
    return connection


def _read(user_id: UUID) -> bytes:
    row = _connection().execute(_SELECT, (user_id,)).fetchone()
    return msgspec.json.encode(dict(zip(_MEMBERS, row or (), strict=True)))


class _Reader:
    """Answers `/` and the id of a user with the user."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        user_id = UUID(scope["path"][1:])
        body = await asyncio.get_running_loop().run_in_executor(_threads, _read, user_id)
        await Response(body, media_type="application/json")(scope, receive, send)


app: Final = Starlette()
app.router.default = _Reader()
