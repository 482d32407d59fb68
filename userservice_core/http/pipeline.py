"""
The way of a request: limits, route, place at work, body, caller, permission, handler, answer.

Hosts call one of two methods and decide nothing themselves. Whatever happens on the way becomes an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

import attrs
import structlog

from userservice_core.application.access import ClientPrincipal, Principal
from userservice_core.domain.audit import AuditAction
from userservice_core.errors import (
    AuthenticationError,
    InvalidAccessTokenError,
    InvalidClientError,
    InvalidRefreshTokenError,
    OverloadedError,
    UserServiceError,
    UserTokenRequiredError,
)
from userservice_core.http.auditing import is_audited, subject_of
from userservice_core.http.body_format import BodyFormat
from userservice_core.http.bulkheads import BoundedWorkers
from userservice_core.http.call import Call, Services
from userservice_core.http.conditional import answer_if_changed, wanted_versions
from userservice_core.http.consistency import token_headers, token_of
from userservice_core.http.cookie_routes import with_refresh_cookie
from userservice_core.http.cors import CrossOriginRules
from userservice_core.http.decoding import decode_body, decode_form, decode_query
from userservice_core.http.errors import FreshSignInRequiredError, PreconditionRequiredError
from userservice_core.http.idempotency import REPLAYED, decode_answer, encode_answer, keyed_call
from userservice_core.http.messages import Request, Response, with_one_vary
from userservice_core.http.negotiation import representation_for, require_acceptable
from userservice_core.http.oauth_errors import oauth_error_response
from userservice_core.http.problems import INTERNAL_STATUS, problem_response, status_of
from userservice_core.http.reception import (
    Limits,
    access_token_of,
    client_credentials_of,
    origin_of,
    request_id_of,
    require_readable,
    require_within,
    traceparent_of,
)
from userservice_core.http.refresh_cookie import RefreshCookie
from userservice_core.http.router import Match, Router
from userservice_core.http.routes import METRICS_ROUTE, ROUTES, Bulkhead, Caller, CookieUse, Holder, Route
from userservice_core.ports.consistency import Reading, reading_as
from userservice_core.ports.context import BeyondMemoryError, CallContext, call_context, call_within
from userservice_core.ports.failpoints import failpoint
from userservice_core.ports.tracing import Span, SpanKind, installed_tracer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    import msgspec

    from userservice_core.application.consistency import Consistency
    from userservice_core.application.use_cases import UseCases
    from userservice_core.http.messages import Headers
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.health import Health
    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.tracing import Attributes

MAX_SIGN_IN_AGE: Final = timedelta(minutes=5)
"""How old the sign-in of a caller may be on routes that are marked fresh."""

_UNMATCHED: Final = "unmatched"
_STATUSES_WITHOUT_BODY: Final = frozenset({204, 304})
_UNAVAILABLE_STATUS: Final = 503
_CHECKING_THREADS: Final = 4
_MOST_BYTES_ON_A_LOOP: Final = 4_096

_PROTECTION: Final[Headers] = (
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
)
_TRANSPORT_SECURITY: Final[Headers] = (("strict-transport-security", "max-age=31536000"),)

_log = structlog.get_logger("userservice.http")


@attrs.frozen(kw_only=True)
class HttpOptions:
    """
    What an installation may choose about HTTP.

    Attributes:
        issuer: The service's own address; over https, browsers are told to use nothing else.
        trusted_proxy_hops: How many proxies in front append to `X-Forwarded-For`; 0 trusts none.
        max_body_bytes: Of a request.
        max_header_bytes: Of all headers of a request together.
        request_timeout_seconds: After which a request is given up.
        database_threads: Requests at work at once that use the database; not more than its connections.
        database_queue: Requests that may wait for one of those places; the next one is refused.
        hashing_threads: Requests at work at once that hash a password.
        hashing_queue: Requests that may wait for one of those places; the next one is refused.
        database_wait_seconds: How long a request may wait for a place to use the database; those that would wait longer
            are refused. What the settings have is much less than here, where nobody else is to be served meanwhile.
        hashing_wait_seconds: The same of those that hash a password.
        expose_metrics: Whether `/metrics` is served beside the API.
        require_if_match: Whether a change of something that has a version must say which one it is meant for.
        cross_origin: Which pages of other origins may read answers.
        consistency_cookie: Whether consistency tokens are kept in a cookie as well, for browsers.
        refresh_token_cookie: Whether refresh tokens travel in a cookie, and not in bodies.
    """

    issuer: str
    trusted_proxy_hops: int = 0
    max_body_bytes: int = 65_536
    max_header_bytes: int = 16_384
    request_timeout_seconds: float = 5.0
    database_threads: int = 8
    database_queue: int = 256
    hashing_threads: int = 4
    hashing_queue: int = 64
    database_wait_seconds: float = 5.0
    hashing_wait_seconds: float = 5.0
    expose_metrics: bool = False
    require_if_match: bool = False
    cross_origin: CrossOriginRules = attrs.field(factory=CrossOriginRules)
    consistency_cookie: bool = False
    refresh_token_cookie: bool = False


@attrs.define(kw_only=True)
class _Exchange:
    """
    A request on its way.

    Attributes:
        seconds_allowed: From its reception to its deadline.
        finish: Ends the measurement, with the status.
        is_routine: Whether it is one of those that machines ask all day.
        is_turned_away: Whether there was no place for it.
        is_compressible: Whether the answer may be compressed.
        is_counted: Whether its rate limit has counted it, which is done once, also where it is begun twice.
        parameters: The ids in its path.
        cookie_token: The refresh token in the cookie; None where none is there, or looked for.
        caller: Who is calling, once that is known.
        speaks_oauth: Whether errors are told as OAuth clients read them.
        error_code: What went wrong, for the log.
        reading: Which copies of the data it may read, None where there is one.
        span: Its part in a trace, None where nobody wants traces.
    """

    request: Request
    context: CallContext
    seconds_allowed: float
    finish: Callable[[int], None]
    operation: str
    is_routine: bool = False
    is_turned_away: bool = False
    is_compressible: bool = False
    is_counted: bool = False
    speaks_oauth: bool = False
    parameters: Mapping[str, UUID] = attrs.field(factory=dict)
    access_token: str | None = attrs.field(default=None, repr=False)
    cookie_token: str | None = attrs.field(default=None, repr=False)
    caller: Principal | ClientPrincipal | None = None
    error_code: str | None = None
    reading: Reading | None = None
    span: Span | None = None


class Pipeline:
    """Serves requests; safe for many threads."""

    def __init__(
        self,
        use_cases: UseCases,
        *,
        health: Health,
        metrics: Metrics,
        ids: IdGenerator,
        clock: Clock,
        options: HttpOptions,
        routes: Iterable[Route] = ROUTES,
        consistency: Consistency | None = None,
        before_work: Callable[[], None] | None = None,
    ) -> None:
        """
        Serve *routes*; only tests give others than the service's own.

        Args:
            consistency: Which copies of the data a request may read; None where there is one.
            before_work: Called before a request is worked on, where nothing keeps the service up to date meanwhile.
        """
        served = (*routes, METRICS_ROUTE) if options.expose_metrics else tuple(routes)
        self._cookie = None
        if options.refresh_token_cookie:
            served = with_refresh_cookie(served)
            self._cookie = RefreshCookie.of(options.issuer, options.cross_origin)
        self._services = Services(
            use_cases=use_cases,
            health=health,
            metrics=metrics,
            issuer=options.issuer,
            openapi=cache(partial(_document, served, options.issuer)),
            refresh_cookie=self._cookie,
        )
        self._router = Router(served)
        self._metrics = metrics
        self._ids = ids
        self._clock = clock
        self._options = options
        self._consistency = consistency
        self._before_work = before_work
        self._limits = Limits(body_bytes=options.max_body_bytes, header_bytes=options.max_header_bytes)
        self._fixed_headers = _PROTECTION + (_TRANSPORT_SECURITY if options.issuer.startswith("https://") else ())
        self._workers = {
            Bulkhead.DATABASE: self._places_for(
                "database", options.database_threads, options.database_queue, options.database_wait_seconds
            ),
            Bulkhead.HASHING: self._places_for(
                "hashing",
                options.hashing_threads,
                options.hashing_queue,
                options.hashing_wait_seconds,
                timed_as="hash_queue_wait",
            ),
            # Nearly all are answered from memory, and must not stand behind those who wait for the database.
            Bulkhead.CHECKS: self._places_for(
                "checks", _CHECKING_THREADS, options.database_queue, options.database_wait_seconds
            ),
        }

    @property
    def use_cases(self) -> UseCases:
        """What requests that begin now are served by."""
        return self._services.use_cases

    def serve_by(self, use_cases: UseCases, *, require_if_match: bool) -> None:
        """Serve requests that begin from now on by these; those at work end by what they began with."""
        self._options = attrs.evolve(self._options, require_if_match=require_if_match)
        self._services = attrs.evolve(self._services, use_cases=use_cases)

    @property
    def max_body_bytes(self) -> int:
        """How much of a body a host has to read at most, less one byte."""
        return self._options.max_body_bytes

    def handle(self, request: Request) -> Response:
        """Serve *request* in this thread."""
        received = self._receive(request)
        if isinstance(received, Response):
            return received
        exchange, route = received
        work = partial(self._serve, exchange, route)
        if route.pure:
            return work()
        turn_away = partial(self._turn_away, exchange)
        return self._workers[route.bulkhead].run(work, otherwise=turn_away, context=exchange.context)

    def begin(self, request: Request) -> Response | Future[Response]:
        """
        Serve *request* at once if that takes the process's memory only, else have a thread serve it; never blocks.

        A request that there is no room for is answered at once, too.
        """
        received = self._receive(request)
        if isinstance(received, Response):
            return received
        exchange, route = received
        work = partial(self._serve, exchange, route)
        if route.pure:
            return work()
        response = self._served_from_memory(exchange, route)
        if response is not None:
            return response
        return self._workers[route.bulkhead].submit(work, otherwise=partial(self._turn_away, exchange))

    def close(self) -> None:
        """Finish what has begun and stop the threads."""
        for workers in self._workers.values():
            workers.close()

    def _places_for(
        self, name: str, threads: int, queue: int, longest_wait_seconds: float, *, timed_as: str | None = None
    ) -> BoundedWorkers[Response]:
        return BoundedWorkers(
            name,
            threads=threads,
            queue=queue,
            longest_wait_seconds=longest_wait_seconds,
            metrics=self._metrics,
            timed_as=timed_as,
        )

    # --- in ---------------------------------------------------------------------------------------------------------

    def _receive(self, request: Request) -> tuple[_Exchange, Route] | Response:
        """Return what is to be served, or the answer if there is nothing to serve."""
        failpoint("http.received")
        found = self._find(request)
        operation = found.route.operation_id if isinstance(found, Match) else _UNMATCHED
        context = self._context_of(request)
        span = self._span_of(context, found)
        if span is not None:
            context = attrs.evolve(context, traceparent=span.traceparent or context.traceparent)
        exchange = _Exchange(
            request=request,
            context=context,
            seconds_allowed=context.left_seconds() or 0.0,
            operation=operation,
            speaks_oauth=isinstance(found, Match) and found.route.who is Caller.CLIENT,
            finish=self._metrics.request_began(operation),
            span=span,
        )
        try:
            require_within(self._limits, request)
            if request.method == "OPTIONS":
                return self._answer(exchange, self._options_of(request))
            if not isinstance(found, Match):
                return self._refuse(exchange, found)
            exchange.parameters = found.parameters
            self._admit(exchange, found.route)
        except UserServiceError as error:
            return self._refuse(exchange, error)
        return exchange, found.route

    def _options_of(self, request: Request) -> Response:
        """Tell what a path takes, and a browser what pages of other origins may send there."""
        methods = self._router.allowed(request.path)
        preflight = self._options.cross_origin.preflight_headers(request, methods)
        return Response(status=204, headers=(("allow", ", ".join(methods)), *preflight))

    def _find(self, request: Request) -> Match | UserServiceError:
        try:
            return self._router.match(request.method, request.path)
        except UserServiceError as error:
            return error

    def _admit(self, exchange: _Exchange, route: Route) -> None:
        exchange.is_routine = route.pure
        exchange.is_compressible = route.is_compressible
        exchange.access_token = access_token_of(exchange.request)
        if self._cookie is not None and route.cookie is not None:
            self._cookie.require_known_page(exchange.request)
            if route.cookie is not CookieUse.GIVEN:
                exchange.cookie_token = self._cookie.token_of(exchange.request)
        if route.wants_user and exchange.access_token is None:
            raise AuthenticationError
        require_acceptable(route, exchange.request)
        require_readable(route, exchange.request)
        if self._options.require_if_match and route.conditional and exchange.request.header("if-match") is None:
            raise PreconditionRequiredError

    def _context_of(self, request: Request) -> CallContext:
        seconds = self._options.request_timeout_seconds
        if request.time_left_seconds is not None:
            seconds = min(seconds, request.time_left_seconds)
        return call_within(
            seconds,
            request_id=request_id_of(request) or str(self._ids.new()),
            traceparent=traceparent_of(request),
            origin=origin_of(request, trusted_proxy_hops=self._options.trusted_proxy_hops),
        )

    @staticmethod
    def _span_of(context: CallContext, found: Match | UserServiceError) -> Span | None:
        """Begin the span of a request; as in the log, neither path nor query are in it, but the pattern of the path."""
        tracer = installed_tracer()
        if tracer is None or (isinstance(found, Match) and found.route.pure):
            return None
        attributes: Attributes = {"http.request.method": "_OTHER"}
        name = "HTTP"
        if isinstance(found, Match):
            attributes = {"http.request.method": found.route.method, "http.route": found.route.path}
            name = f"{found.route.method} {found.route.path}"
        return tracer.begin(SpanKind.SERVER, name, parent=context.traceparent, attributes=attributes)

    # --- at work ----------------------------------------------------------------------------------------------------

    def _serve(self, exchange: _Exchange, route: Route) -> Response:
        if self._before_work is not None:
            self._before_work()
        if self._consistency is None:
            return self._served(exchange, route)
        token = token_of(exchange.request, takes_cookie=self._options.consistency_cookie)
        exchange.reading = self._consistency.begin(token=token, replica_ok=route.replica_ok)
        with reading_as(exchange.reading):
            return self._served(exchange, route)

    def _served_from_memory(self, exchange: _Exchange, route: Route) -> Response | None:
        """
        Serve a request by what this process holds; None where that does not suffice, and a thread begins anew.

        Decoding a large body would take the event loop too long, and what is done before work may wait.
        """
        is_small = len(exchange.request.body) <= _MOST_BYTES_ON_A_LOOP
        if route.bulkhead is not Bulkhead.CHECKS or not is_small or self._before_work is not None:
            return None
        patient = exchange.context
        exchange.context = attrs.evolve(patient, may_wait=False)
        try:
            return self._serve(exchange, route)
        except BeyondMemoryError:
            return None
        finally:
            exchange.context = patient

    def _served(self, exchange: _Exchange, route: Route) -> Response:
        with call_context(exchange.context):
            try:
                exchange.context.remaining_seconds()
                response = self._answered(exchange, route)
            except UserServiceError as error:
                self._audit_refusal(exchange, route, error)
                return self._refuse(exchange, self._counted(exchange, error))
            except MemoryError as error:
                return self._refuse(exchange, OverloadedError(), cause=error)
            except BeyondMemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer and the log the cause
                return self._refuse(exchange, UserServiceError(), cause=error)
            return self._answer(exchange, response)

    def _answered(self, exchange: _Exchange, route: Route) -> Response:
        """Have the handler answer, or repeat what it answered to the same call before."""
        call = self._call(exchange, route)
        owner_id = None if call.caller is None else call.caller.id
        keyed = None
        if route.takes_key:
            keyed = keyed_call(exchange.request, owner_id=owner_id, cookie_token=call.cookie_token)
        if keyed is None:
            return route.handler(call)
        outcome = self._services.use_cases.idempotent_calls.once(
            keyed, attempt=partial(_attempt, route, call), encode=encode_answer, decode=decode_answer
        )
        if isinstance(outcome, UserServiceError):
            raise outcome
        if self._consistency is not None and exchange.reading is not None and REPLAYED in outcome.headers:
            self._consistency.note_earlier_write(exchange.reading)
        return outcome

    def _call(self, exchange: _Exchange, route: Route) -> Call:
        request = exchange.request
        caller = self._authorized(exchange, route) if route.wants_user else None
        if self._consistency is not None and exchange.reading is not None and caller is not None:
            known_for = self._clock.now() - caller.claims.issued_at
            self._consistency.recall(
                exchange.reading,
                writer=_writer(caller),
                is_own=route.is_own,
                known_for_seconds=known_for.total_seconds(),
            )
        if route.is_counted and not exchange.is_counted:
            self._services.use_cases.rate_limits.admit_call(
                route.rate_class.value,
                origin=exchange.context.origin,
                caller=None if caller is None else str(caller.id),
            )
            exchange.is_counted = True
        return Call(
            services=self._services,
            origin=exchange.context.origin,
            decoded_body=_decoded_body(route, request),
            decoded_query=None if route.query is None else decode_query(request.query, route.query),
            access_token=exchange.access_token,
            cookie_token=exchange.cookie_token,
            credentials=client_credentials_of(request) if route.who is Caller.CLIENT else None,
            caller=caller,
            parameters=exchange.parameters,
            versions=wanted_versions(request.header("if-match")),
        )

    def _authorized(self, exchange: _Exchange, route: Route) -> Principal | ClientPrincipal:
        """Tell who is calling, and that they may."""
        access = self._services.use_cases.access
        if exchange.access_token is None:
            raise InvalidAccessTokenError
        caller = access.authenticate(token=exchange.access_token, sensitive=route.sensitive)
        exchange.caller = caller
        if isinstance(caller, ClientPrincipal) and not route.takes_clients:
            raise UserTokenRequiredError
        if isinstance(route.who, Holder):
            access.require(principal=caller, permission=route.who.permission, sensitive=route.sensitive)
        if route.fresh and self._clock.now() - caller.claims.auth_time > MAX_SIGN_IN_AGE:
            raise FreshSignInRequiredError(max_age_seconds=int(MAX_SIGN_IN_AGE.total_seconds()))
        return caller

    def _counted(self, exchange: _Exchange, error: UserServiceError) -> UserServiceError:
        """Count a wrong secret of a client, and return what it is answered with."""
        if not isinstance(error, InvalidClientError):
            return error
        try:
            self._services.use_cases.rate_limits.count_client_failure(exchange.context.origin)
        except UserServiceError as failure:
            return failure
        return error

    def _audit_refusal(self, exchange: _Exchange, route: Route, error: UserServiceError) -> None:
        """Have the audit log say that a caller may not do what they tried; they are refused in any case."""
        if exchange.caller is None or not is_audited(route, error):
            return
        try:
            self._services.use_cases.refusals.record(
                actor=exchange.caller.as_actor(),
                operation=route.operation_id,
                action=route.audit or AuditAction.ACCESS_DENIED,
                subject=subject_of(route, exchange.parameters),
                reason=error.code,
            )
        except UserServiceError as failure:
            _log.error(
                "refusal not audited",
                operation=exchange.operation,
                request_id=exchange.context.request_id,
                error=failure.code,
                exc_info=failure,
            )

    # --- out --------------------------------------------------------------------------------------------------------

    def _turn_away(self, exchange: _Exchange, error: UserServiceError) -> Response:
        """Refuse what nothing was done for, nor is now: to write a line for each would cost more than all the rest."""
        exchange.is_routine = exchange.is_turned_away = True
        return self._refuse(exchange, error)

    def _refuse(self, exchange: _Exchange, error: UserServiceError, *, cause: Exception | None = None) -> Response:
        exchange.error_code = error.code
        if cause is None and status_of(error) == INTERNAL_STATUS:
            cause = error
        if cause is not None:
            _log.error(
                "request failed",
                operation=exchange.operation,
                request_id=exchange.context.request_id,
                error=error.code,
                exc_info=cause,
            )
        if exchange.speaks_oauth:
            return self._answer(exchange, oauth_error_response(error))
        problem = problem_response(error, request_id=exchange.context.request_id)
        has_ended = isinstance(error, InvalidRefreshTokenError) and not error.has_successor
        if has_ended and exchange.cookie_token is not None:
            problem = attrs.evolve(problem, headers=(*problem.headers, *self._services.cookie_removal))
        return self._answer(exchange, problem)

    def _answer(self, exchange: _Exchange, response: Response) -> Response:
        response = self._represented(exchange, response)
        names = {name for name, _ in response.headers}
        # An answer that is a page says itself what browsers may do with it.
        fixed = (header for header in self._fixed_headers if header[0] not in names)
        headers = [*response.headers, *fixed, ("x-request-id", exchange.context.request_id)]
        if "cache-control" not in names:
            headers.append(("cache-control", "no-store"))
        if response.status not in _STATUSES_WITHOUT_BODY:
            headers.append(("content-length", str(len(response.body))))
        headers += self._consistency_headers(exchange)
        headers += self._options.cross_origin.headers_for(exchange.request)
        if self._services.health.is_draining:
            # RFC 9112 section 9.6: the client opens its next connection, and does so to an instance that stays.
            headers.append(("connection", "close"))
        body = b"" if exchange.request.method == "HEAD" else response.body
        exchange.finish(response.status)
        if exchange.span is not None:
            error = exchange.error_code if response.status >= INTERNAL_STATUS else None
            exchange.span.end({"http.response.status_code": response.status}, error=error)
        self._log_access(exchange, response.status)
        failpoint("http.answering")
        return Response(status=response.status, headers=with_one_vary(headers), body=body)

    def _consistency_headers(self, exchange: _Exchange) -> Headers:
        """Tell the client where the request was written, also where it was refused: a failed try is counted."""
        if self._consistency is None or exchange.reading is None:
            return ()
        writer = None if exchange.caller is None else _writer(exchange.caller)
        token = self._consistency.token_after(exchange.reading, writer=writer)
        if token is None:
            return ()
        is_secure = self._options.issuer.startswith("https://")
        return token_headers(token, sends_cookie=self._options.consistency_cookie, is_secure=is_secure)

    @staticmethod
    def _represented(exchange: _Exchange, response: Response) -> Response:
        """Return the answer in the coding that the client wants, or tell that it holds it already."""
        if not exchange.is_compressible:
            return answer_if_changed(exchange.request, response)
        representation = representation_for(exchange.request, response)
        return representation.coded(answer_if_changed(exchange.request, representation.response))

    def _log_access(self, exchange: _Exchange, status: int) -> None:
        """Write one line: neither path nor query, since links carry tokens, and nothing of the user."""
        if status >= _UNAVAILABLE_STATUS and not exchange.is_turned_away:
            write = _log.warning
        elif exchange.is_routine:
            write = _log.debug
        else:
            write = _log.info
        write(
            "request",
            method=exchange.request.method,
            operation=exchange.operation,
            status=status,
            error=exchange.error_code,
            milliseconds=self._milliseconds_of(exchange),
            request_id=exchange.context.request_id,
            traceparent=exchange.context.traceparent,
        )

    @staticmethod
    def _milliseconds_of(exchange: _Exchange) -> float | None:
        left = exchange.context.left_seconds()
        return None if left is None else round((exchange.seconds_allowed - left) * 1_000, 1)


def _attempt(route: Route, call: Call) -> Response | UserServiceError:
    """Return what the handler answers or how it refuses; what is our own fault is raised, and undoes what was done."""
    try:
        return route.handler(call)
    except UserServiceError as error:
        if status_of(error) >= INTERNAL_STATUS:
            raise
        return error


def _writer(caller: Principal | ClientPrincipal) -> str:
    """Return under what the writes of *caller* are remembered."""
    return str(caller.session_id if isinstance(caller, Principal) else caller.client_id)


def _decoded_body(route: Route, request: Request) -> msgspec.Struct | None:
    if route.body is None:
        return None
    if route.body_format is BodyFormat.FORM:
        return decode_form(request.body, route.body)
    body = request.body if request.body or route.body_required else b"{}"
    return decode_body(body, route.body)


def _document(routes: tuple[Route, ...], issuer: str) -> bytes:
    """Return the OpenAPI document; to load what makes it, and to make it, takes a tenth of a second of a processor."""
    from userservice_core.http.openapi import openapi_document

    return openapi_document(routes, issuer=issuer)
