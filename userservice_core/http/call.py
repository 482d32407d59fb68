"""What a handler is given: one request, checked, and what it may use to answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

import attrs
import msgspec

from userservice_core.application.access import Principal
from userservice_core.application.use_cases import UseCases
from userservice_core.domain.sessions import Origin
from userservice_core.errors import AuthenticationError, ProgrammingError
from userservice_core.http.messages import Headers, Response
from userservice_core.ports.health import Health
from userservice_core.ports.metrics import Metrics

S = TypeVar("S", bound=msgspec.Struct)

JSON: Final = "application/json"


@attrs.frozen(kw_only=True)
class Services:
    """
    What handlers use.

    Attributes:
        openapi: The OpenAPI document of the routes that are served, as JSON.
    """

    use_cases: UseCases
    health: Health
    metrics: Metrics
    openapi: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Call:
    """
    One request that may be served.

    Attributes:
        path: The parameters of the path, by name.
        access_token: As presented and not yet checked, for operations that check it themselves.
        caller: Who is calling; None on routes for anyone.
        if_match: The header `If-Match` as sent, None where there is none.
    """

    services: Services
    origin: Origin
    path: Mapping[str, UUID] = attrs.field(factory=dict)
    decoded_body: msgspec.Struct | None = None
    decoded_query: msgspec.Struct | None = None
    access_token: str | None = attrs.field(default=None, repr=False)
    caller: Principal | None = None
    if_match: str | None = None

    def body(self, shape: type[S]) -> S:
        """
        Return the body, which the route table says is a *shape*.

        Raises:
            ProgrammingError: If the table says otherwise.
        """
        return _as(self.decoded_body, shape)

    def query(self, shape: type[S]) -> S:
        """
        Return the query, which the route table says is a *shape*.

        Raises:
            ProgrammingError: If the table says otherwise.
        """
        return _as(self.decoded_query, shape)

    def require_caller(self) -> Principal:
        """
        Return who is calling.

        Raises:
            AuthenticationError: If the route is for anyone and nobody was authenticated.
        """
        if self.caller is None:
            raise AuthenticationError
        return self.caller


def json_response(status: int, content: msgspec.Struct | Mapping[str, Any], headers: Headers = ()) -> Response:
    """Answer with *content* as JSON."""
    return Response(status=status, headers=(("content-type", JSON), *headers), body=msgspec.json.encode(content))


def empty_response(status: int) -> Response:
    """Answer without a body."""
    return Response(status=status)


def _as(value: msgspec.Struct | None, shape: type[S]) -> S:
    if not isinstance(value, shape):
        raise ProgrammingError(f"The route table names no {shape.__name__} here.")
    return value
