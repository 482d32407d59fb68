"""The service as a Starlette application."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketClose

from userservice_core.http.messages import Response

from .translate import messages_of, request_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Lifespan, Receive, Scope, Send

    from userservice_core.bootstrap import UserService


def create_app(service: UserService) -> Starlette:
    """
    Return an application that serves *service* at every path, and starts and closes it with the server.

    The event loop is never blocked: what needs more than memory runs in the service's own threads.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        try:
            yield
        finally:
            await run_in_threadpool(service.close)

    return _Application(_Host(service), lifespan=lifespan)


class _Application(Starlette):
    """
    An application whose requests go to *host*, through nothing unless somebody put something there.

    The core answers whatever goes wrong, so what Starlette lays around each request for that would only cost.
    """

    def __init__(self, host: _Host, *, lifespan: Lifespan[Starlette]) -> None:
        super().__init__(lifespan=lifespan)
        self.router.default = host
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_plain = scope["type"] == "http" and not self.routes and not self.user_middleware
        await (self._host if is_plain else super().__call__)(scope, receive, send)


class _Host:
    """Hands each request to the pipeline; routing is the core's."""

    def __init__(self, service: UserService) -> None:
        self._pipeline = service.pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        request = await request_from(scope, receive, max_body_bytes=self._pipeline.max_body_bytes)
        begun = self._pipeline.begin(request)
        response = begun if isinstance(begun, Response) else await asyncio.wrap_future(begun)
        for message in messages_of(response):
            await send(message)
