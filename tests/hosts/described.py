"""A client that refuses answers which the OpenAPI document does not list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.errors import UserServiceError
from userservice_core.http.possible_problems import possible_problems
from userservice_core.http.problems import CONTENT_TYPE, TYPE_PREFIX
from userservice_core.http.router import Router
from userservice_core.http.routes import ROUTES, Caller
from userservice_core.testing.host import json_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.http.messages import Response
    from userservice_core.http.routes import Route
    from userservice_core.testing.host import HostClient

_DESCRIBED_HEADERS: Final = frozenset({"content-disposition", "etag", "location", "link"})
_SET_COOKIE: Final = "set-cookie"
_NOT_MODIFIED: Final = 304


class DescribedClient:
    """Passes requests on, and checks that each answer of a route of the service is among those it is said to have."""

    def __init__(self, client: HostClient, routes: Sequence[Route] = ROUTES) -> None:
        self._client = client
        self._router = Router(routes)

    def request(
        self, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        """Send one request and return the answer."""
        response = self._client.request(method, target, headers=headers, body=body)
        try:
            route = self._router.match(method, target.partition("?")[0]).route
        except UserServiceError:
            return response
        if method != "OPTIONS":
            _require_described(route, response)
        return response


def _require_described(route: Route, response: Response) -> None:
    if response.header("content-type") == CONTENT_TYPE:
        told = {kind.code for kind in possible_problems(route).get(response.status, ())}
        code = json_of(response)["type"].removeprefix(TYPE_PREFIX) if response.body else None
        assert response.status in possible_problems(route), f"{route.operation_id} has no {response.status}"
        assert code is None or code in told, f"add the error {code} to the problems of {route.operation_id}"
    elif route.who is Caller.CLIENT and response.status not in route.answers:
        assert response.status in possible_problems(route), f"{route.operation_id} has no {response.status}"
    elif response.status == _NOT_MODIFIED:
        assert "etag" in route.sends, f"{route.operation_id} is said to send no etag"
    else:
        assert response.status in route.answers, f"{route.operation_id} has no {response.status}"
        sent, told = {name for name, _ in response.headers} & _DESCRIBED_HEADERS, {*route.sends} - {_SET_COOKIE}
        assert sent <= told, f"add {sent} to what {route.operation_id} sends"
        assert "link" in route.sends or sent == told, f"{route.operation_id} sends {sent} only"
        # There is not always something to keep or to forget.
        sets_cookie = response.header(_SET_COOKIE) is not None
        assert not sets_cookie or _SET_COOKIE in route.sends, f"{route.operation_id} sets a cookie"
