"""For other services on Flask: access tokens and permissions are checked before a request is theirs."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flask import current_app, g, request

from userservice_core.errors import UserServiceError
from userservice_core.http.messages import Request
from userservice_core.http.protection import Protection

from .translate import flask_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.typing import ResponseReturnValue, RouteCallable

    from userservice_core import Authorizer


def protect(
    authorizer: Authorizer, permission: str | None = None
) -> Callable[[RouteCallable], Callable[..., ResponseReturnValue]]:
    """
    Return a decorator of views that lets in requests with a good access token only.

    What is let in has the token's claims in `flask.g.claims`; all else is answered here: 401, 403 with the permission
    that is missing, or 503 where nobody can tell. Routes are declared above it.

    Args:
        authorizer: Who decides.
        permission: That the user must hold.
    """
    protection = Protection(authorizer=authorizer, permission=permission, new_id=lambda: str(uuid4()))

    def decorate(view: RouteCallable) -> Callable[..., ResponseReturnValue]:
        @wraps(view)
        def protected(*args: Any, **kwargs: Any) -> ResponseReturnValue:  # noqa: ANN401 - what the view takes
            head = _head()
            try:
                g.claims = protection.admit(head)
            except UserServiceError as error:
                return flask_response(protection.refusal(head, error))
            answer: ResponseReturnValue = current_app.ensure_sync(view)(*args, **kwargs)
            return answer

        return protected

    return decorate


def _head() -> Request:
    """Return the request without its body, which is the view's."""
    return Request(
        method=request.method,
        path=request.path,
        headers=tuple((name.lower(), value) for name, value in request.headers),
    )
