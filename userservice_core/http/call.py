"""What a handler is given: one request, checked, and what it may use to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import attrs
import msgspec

from userservice_core.application.access import ClientPrincipal, Principal
from userservice_core.application.client_tokens import ClientCredentials
from userservice_core.application.use_cases import UseCases
from userservice_core.domain.clients import ClientActor
from userservice_core.domain.sessions import Origin
from userservice_core.errors import AuthenticationError, ProgrammingError, UserTokenRequiredError
from userservice_core.http.messages import Headers, Response
from userservice_core.http.refresh_cookie import RefreshCookie
from userservice_core.ports.health import Health
from userservice_core.ports.metrics import Metrics

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId

S = TypeVar("S", bound=msgspec.Struct)

JSON: Final = "application/json"


@attrs.frozen(kw_only=True)
class Services:
    """
    What handlers use.

    Attributes:
        issuer: The service's own address, which its tokens name.
        openapi: Returns the OpenAPI document of the routes that are served, as JSON; made when it is first asked for.
        refresh_cookie: In which refresh tokens travel; None where they travel in bodies.
    """

    use_cases: UseCases
    health: Health
    metrics: Metrics
    issuer: str
    openapi: Callable[[], bytes] = attrs.field(repr=False)
    refresh_cookie: RefreshCookie | None = None

    @property
    def cookie_removal(self) -> Headers:
        """The headers of an answer to whoever has no session any more."""
        return () if self.refresh_cookie is None else self.refresh_cookie.removal()


@attrs.frozen(kw_only=True)
class Call:
    """
    One request that may be served.

    Attributes:
        access_token: As presented and not yet checked, for operations that check it themselves.
        cookie_token: The refresh token in the cookie, not yet checked either; None where none travels in one.
        credentials: Of a client, as the header presents them and not yet checked; only on routes for clients.
        caller: Who is calling; None on routes for anyone.
        parameters: The ids in the path, by the names that the route table gives them.
        versions: Those of the resource that the call is meant for, by the header `If-Match`; None for any.
    """

    services: Services
    origin: Origin
    decoded_body: msgspec.Struct | None = None
    decoded_query: msgspec.Struct | None = None
    access_token: str | None = attrs.field(default=None, repr=False)
    cookie_token: str | None = attrs.field(default=None, repr=False)
    credentials: ClientCredentials | None = None
    caller: Principal | ClientPrincipal | None = None
    parameters: Mapping[str, UUID] = attrs.field(factory=dict)
    versions: frozenset[int] | None = None

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

    def parameter(self, name: str) -> UUID:
        """
        Return the id in the path that the route table calls *name*.

        Raises:
            ProgrammingError: If the table has no such name in the path.
        """
        if name not in self.parameters:
            raise ProgrammingError(f"The route table names no {name} in this path.")
        return self.parameters[name]

    def require_caller(self) -> Principal:
        """
        Return which user is calling.

        Raises:
            AuthenticationError: If the route is for anyone and nobody was authenticated.
            UserTokenRequiredError: If it is a service client.
        """
        if self.caller is None:
            raise AuthenticationError
        if isinstance(self.caller, ClientPrincipal):
            raise UserTokenRequiredError
        return self.caller

    def require_actor(self) -> UserId | ClientActor:
        """
        Return who is calling, user or service client, as whoever judges what they may change wants it.

        Raises:
            AuthenticationError: If the route is for anyone and nobody was authenticated.
        """
        if isinstance(self.caller, ClientPrincipal):
            return ClientActor(client_id=self.caller.client_id, scope=self.caller.scope)
        return self.require_caller().user_id


def json_response(status: int, content: msgspec.Struct | Mapping[str, Any], headers: Headers = ()) -> Response:
    """Answer with *content* as JSON."""
    return Response(status=status, headers=(("content-type", JSON), *headers), body=msgspec.json.encode(content))


def empty_response(status: int, headers: Headers = ()) -> Response:
    """Answer without a body."""
    return Response(status=status, headers=headers)


def _as(value: msgspec.Struct | None, shape: type[S]) -> S:
    if not isinstance(value, shape):
        raise ProgrammingError(f"The route table names no {shape.__name__} here.")
    return value
