"""The service in memory, as all hosts of this suite serve it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from adapters.flask_app.app import create_app as create_flask_app
from adapters.lambda_handler.app import create_handler
from adapters.starlette_app.app import create_app as create_starlette_app
from tests.hosts.clients import AsgiClient, KeyedClient, LambdaClient, WsgiClient
from tests.hosts.described import DescribedClient
from tests.lambda_events import http_api_event, load_balancer_event, rest_api_event, several_values_event
from userservice_core.bootstrap import InMemoryUserService, UserService, bootstrap_in_memory
from userservice_core.domain.ids import SessionId
from userservice_core.domain.rate_limits import RatePolicy
from userservice_core.http.cookie_routes import with_refresh_cookie
from userservice_core.http.pipeline import HttpOptions, Pipeline
from userservice_core.http.routes import ROUTES, Caller, RateClass, Route
from userservice_core.infrastructure.memory import InMemoryBreachedPasswords, InMemoryUnitOfWork
from userservice_core.infrastructure.system.clock import Uuid7Generator
from userservice_core.ports.security import AccessClaims
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import PipelineClient
from userservice_core.testing.samples import sample_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from userservice_core.domain.ids import UserId
    from userservice_core.http.routes import Handler
    from userservice_core.infrastructure.memory.store import Rows
    from userservice_core.ports.health import Health
    from userservice_core.ports.mail import Mail
    from userservice_core.testing.host import HostClient

ISSUER: Final = "https://accounts.example.com"

_HOSTS: Final[dict[str, Callable[[UserService], HostClient]]] = {
    "pipeline": lambda service: PipelineClient(service.pipeline),
    "pipeline-keyed": lambda service: KeyedClient(PipelineClient(service.pipeline)),
    "starlette": lambda service: AsgiClient(create_starlette_app(service)),
    "flask": lambda service: WsgiClient(create_flask_app(service)),
    "lambda": lambda service: LambdaClient(create_handler(service), make_event=http_api_event),
    "lambda-rest": lambda service: LambdaClient(create_handler(service), make_event=rest_api_event),
    "lambda-balancer": lambda service: LambdaClient(create_handler(service), make_event=load_balancer_event),
    "lambda-balancer-several": lambda service: LambdaClient(create_handler(service), make_event=several_values_event),
}


def _described(
    make: Callable[[UserService], HostClient], routes: Sequence[Route] = ROUTES
) -> Callable[[UserService], HostClient]:
    return lambda service: DescribedClient(make(service), routes)


COOKIE_ROUTES: Final = with_refresh_cookie(ROUTES)
COOKIE_HOSTS: Final = {name: _described(make, COOKIE_ROUTES) for name, make in _HOSTS.items()}
"""The same for services whose refresh tokens travel in a cookie."""

HOSTS: Final = {name: _described(make) for name, make in _HOSTS.items()}
"""
Every host, each with a client that speaks to it as its server would; Lambda with each shape of event.

One client gives each POST a key of its own, so that every test of the suite also shows that the key changes nothing.
"""


LEAKED_PASSWORD: Final = "nobody but me and the leak"


@attrs.frozen(kw_only=True)
class Installation:
    """A wired service and what a test looks at from outside."""

    in_memory: InMemoryUserService
    clock: FakeClock
    breached: InMemoryBreachedPasswords = attrs.field(factory=InMemoryBreachedPasswords)
    ids: Uuid7Generator = attrs.field(factory=Uuid7Generator)

    @classmethod
    def begin(
        cls,
        clock: FakeClock,
        *,
        rates: RatePolicy | None = None,
        password_history: int = 0,
        **options: Any,  # noqa: ANN401 - each option has its own type
    ) -> Installation:
        """Wire one with nobody in it; without limits, unless a test is about them."""
        breached = InMemoryBreachedPasswords([LEAKED_PASSWORD])
        in_memory = bootstrap_in_memory(
            options=HttpOptions(issuer=ISSUER, **options),
            clock=clock,
            rates=rates or RatePolicy.without_limits(),
            breached=breached,
            password_history=password_history,
        )
        return cls(in_memory=in_memory, clock=clock, breached=breached)

    @property
    def service(self) -> UserService:
        """What hosts serve."""
        return self.in_memory.service

    def stored(self) -> Rows:
        """Return everything that is stored; equal to what it was unless something was changed."""
        return self.in_memory.store.rows

    def mails(self) -> list[Mail]:
        """Relay what waits, and return all mails sent until now."""
        while self.in_memory.relay.wave():
            pass
        return self.in_memory.mails.sent

    def mailed_token(self, email: str) -> str:
        """Return the token of the last mail to *email* that has one."""
        return [mail.token for mail in self.mails() if mail.to == email and mail.token is not None][-1]

    def with_routes(
        self,
        *routes: Route,
        issuer: str = ISSUER,
        health: Health | None = None,
        **options: Any,  # noqa: ANN401 - each option has its own type
    ) -> UserService:
        """Serve *routes* beside the service's own, from the same data."""
        service = self.service
        pipeline = Pipeline(
            service.use_cases,
            health=health or service.health,
            metrics=service.metrics,
            ids=self.ids,
            clock=self.clock,
            options=HttpOptions(issuer=issuer, **options),
            routes=(*ROUTES, *routes),
        )
        return UserService(
            pipeline=pipeline,
            health=service.health,
            metrics=service.metrics,
            start=service.start,
            drain=service.drain,
            close=pipeline.close,
        )

    def access_token(self, email: str) -> str:
        """Register a user, and return a token of a sign-in at this moment."""
        use_cases = self.service.use_cases
        use_cases.registration.register(email=email, password="correct horse battery staple")
        user = use_cases.email_verification.confirm(token=self.mailed_token(email))
        return self._token_of(user.id)

    def administrator_token(self, email: str) -> str:
        """Create the first administrator, and return a token of a sign-in at this moment."""
        assert self.service.use_cases.accounts.create_first_administrator(email=email) is not None
        return self.token_of(email)

    def token_of(self, email: str) -> str:
        """Return a token of a sign-in at this moment, of a user who is there."""
        (user_id,) = (user.id for user in self.stored().users.values() if user.email.address == email)
        return self._token_of(user_id)

    def token_of_session(self, email: str) -> str:
        """Return a token of a sign-in at this moment as :meth:`token_of` does, for what looks its session up, too."""
        (user,) = (user for user in self.stored().users.values() if user.email.address == email)
        session = sample_session(user, id=SessionId(self.ids.new()), now=self.clock.now())
        uow = InMemoryUnitOfWork(self.in_memory.store, clock=self.clock)
        uow.run(lambda transaction: transaction.sessions.add(session))
        return self._token_of(user.id, session_id=session.id)

    def _token_of(self, user_id: UserId, *, session_id: SessionId | None = None) -> str:
        now = self.clock.now()
        claims = AccessClaims(
            user_id=user_id,
            session_id=session_id or SessionId(self.ids.new()),
            client_id="userservice",
            token_id=str(self.ids.new()),
            issued_at=now,
            expires_at=now + timedelta(minutes=10),
            auth_time=now,
            amr=("pwd",),
        )
        return self.service.use_cases.token_issuer.issue(claims)


def sample_route(handler: Handler, **changes: Any) -> Route:  # noqa: ANN401 - the attributes of a route
    """Return a route of ``GET /wait`` that anyone may call, with the *changes* a test is about."""
    arguments: dict[str, Any] = {
        "method": "GET",
        "path": "/wait",
        "operation_id": handler.__name__,
        "summary": "A sample",
        "handler": handler,
        "who": Caller.ANYONE,
        "answers": {204: None},
        "rate_class": RateClass.READ,
    }
    return Route(**{**arguments, **changes})
