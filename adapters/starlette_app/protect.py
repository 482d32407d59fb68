"""For other services on Starlette: access tokens and permissions are checked before a request is theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketClose

from userservice_core.errors import UserServiceError
from userservice_core.http.messages import Request
from userservice_core.http.protection import Protection

from .translate import messages_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send

    from userservice_core import AccessClaims, Authorizer

_POLICY_VIOLATION = 1008


class Protect:
    """
    Middleware, of an application or of a single route, that lets in requests with a good access token only.

    What is let in has the token's claims in `request.state.claims`; all else is answered here: 401, 403 with the
    permission that is missing, or 503 where nobody can tell.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authorizer: Authorizer,
        permission: str | None = None,
        public: Collection[str] = (),
    ) -> None:
        """
        Stand in front of *app*.

        Args:
            app: What is protected.
            authorizer: Who decides.
            permission: That the user must hold.
            public: Paths that anyone may call, compared as a whole.
        """
        self._app = app
        self._protection = Protection(authorizer=authorizer, permission=permission, new_id=lambda: str(uuid4()))
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or answer it."""
        if scope["type"] not in {"http", "websocket"} or scope["path"] in self._public:
            await self._app(scope, receive, send)
            return
        request = _head_of(scope)
        try:
            claims = await self._admit(request)
        except UserServiceError as error:
            if scope["type"] == "websocket":
                await WebSocketClose(code=_POLICY_VIOLATION)(scope, receive, send)
                return
            for message in messages_of(self._protection.refusal(request, error)):
                await send(message)
            return
        # A mapping of this request alone: a server may share the one of its lifespan between requests.
        scope["state"] = {**scope.get("state", {}), "claims": claims}
        await self._app(scope, receive, send)

    async def _admit(self, request: Request) -> AccessClaims:
        claims = self._protection.try_admit(request)
        return await run_in_threadpool(self._protection.admit, request) if claims is None else claims


def _head_of(scope: Scope) -> Request:
    """Return the request without its body, which is the application's."""
    return Request(
        method=scope.get("method", "GET"),
        path=scope["path"],
        headers=tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]),
    )
