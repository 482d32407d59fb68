"""The way of a request through the pipeline itself: who is let in, where it runs, what is told and what is logged."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs
import msgspec
import pytest
import structlog.testing

from tests.hosts.installation import Installation, sample_route
from userservice_core.domain.rate_limits import Limit, RatePolicy
from userservice_core.errors import ProgrammingError
from userservice_core.http import wire
from userservice_core.http.call import Call, empty_response
from userservice_core.http.messages import Request, Response
from userservice_core.http.routes import Bulkhead, Caller, Holder, RateClass
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.ports.context import CallContext, current_call, require_patience
from userservice_core.ports.failpoints import install_failpoints
from userservice_core.ports.health import HealthReport, HealthStatus
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_WAIT = Request(method="GET", path="/wait")


def _done(_call: Call) -> Response:
    return empty_response(204)


def _answer_of(begun: Response | Future[Response]) -> Response:
    return begun if isinstance(begun, Response) else begun.result(timeout=10)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What handlers wait for; opened at the end, so that no thread is left behind."""
    gate = threading.Event()
    yield gate
    gate.set()


# --- who is let in ---------------------------------------------------------------------------------------------------


@pytest.mark.asvs("7.2.1")
def test_a_route_for_users_wants_a_token_that_stands(installation: Installation) -> None:
    """None and another scheme are asked for one; one that is not ours is told so."""
    pipeline = installation.with_routes(sample_route(_done, who=Caller.USER)).pipeline
    client = PipelineClient(pipeline)

    assert client.request("GET", "/wait").header("www-authenticate") == 'Bearer realm="userservice"'
    assert client.request("GET", "/wait", headers=[("authorization", "Basic eDp5")]).status == 401
    refused = send_json(client, "GET", "/wait", token="x.y.z")
    assert refused.header("www-authenticate") == 'Bearer realm="userservice", error="invalid_token"'
    assert send_json(client, "GET", "/wait", token=installation.access_token("user@example.com")).status == 204


def test_a_route_for_holders_wants_their_permission(installation: Installation) -> None:
    """A user who lacks it is told which one; an administrator holds every one."""
    pipeline = installation.with_routes(sample_route(_done, who=Holder("user:list"))).pipeline
    client = PipelineClient(pipeline)
    refused = send_json(client, "GET", "/wait", token=installation.access_token("user@example.com"))

    assert (refused.status, json_of(refused)["params"]) == (403, {"permission": "user:list"})
    token = installation.administrator_token("admin@example.com")
    assert send_json(client, "GET", "/wait", token=token).status == 204
    assert client.request("GET", "/wait").status == 401


def test_a_fresh_route_wants_a_recent_sign_in(installation: Installation) -> None:
    """Five minutes after the sign-in the caller has to show again who they are (RFC 9470)."""
    client = PipelineClient(installation.with_routes(sample_route(_done, who=Caller.USER, fresh=True)).pipeline)
    token = installation.access_token("user@example.com")
    installation.clock.advance(timedelta(minutes=5))
    assert send_json(client, "GET", "/wait", token=token).status == 204
    installation.clock.advance(timedelta(seconds=1))
    refused = send_json(client, "GET", "/wait", token=token)

    assert refused.status == 401
    assert refused.header("www-authenticate") == (
        'Bearer realm="userservice", error="insufficient_user_authentication", max_age="300"'
    )


# --- where it runs ---------------------------------------------------------------------------------------------------


def test_past_the_bound_requests_are_refused_before_a_thread_is_taken(
    installation: Installation, gate: threading.Event
) -> None:
    """One at work and one waiting: the third has its answer at once, and the other pool is not touched by it."""

    def wait(_call: Call) -> Response:
        gate.wait(timeout=10)
        return empty_response(204)

    hashing = sample_route(_done, path="/hash", bulkhead=Bulkhead.HASHING)
    pipeline = installation.with_routes(sample_route(wait), hashing, database_threads=1, database_queue=1).pipeline
    taken = [pipeline.begin(_WAIT), pipeline.begin(_WAIT)]
    refused = pipeline.begin(_WAIT)

    assert isinstance(refused, Response)
    assert (refused.status, refused.header("retry-after")) == (503, "1")
    assert pipeline.handle(_WAIT).status == 503
    assert _answer_of(pipeline.begin(Request(method="GET", path="/hash"))).status == 204
    gate.set()
    assert [_answer_of(begun).status for begun in taken] == [204, 204]


def test_only_what_needs_no_more_than_memory_is_answered_locally(installation: Installation) -> None:
    """Pure routes, and requests that no route takes; the rest is for a thread."""
    pipeline = installation.service.pipeline

    def local(method: str, path: str) -> int | None:
        begun = pipeline.begin(Request(method=method, path=path))
        return begun.status if isinstance(begun, Response) else None

    assert (local("GET", "/health/live"), local("GET", "/nowhere"), local("PUT", "/health/live")) == (200, 404, 405)
    assert local("OPTIONS", "/users/me") == 204
    assert local("GET", "/.well-known/openid-configuration") == 200
    token = ("authorization", f"Bearer {installation.access_token('user@example.com')}")
    begun = pipeline.begin(Request(method="GET", path="/users/me", headers=(token,)))
    assert not isinstance(begun, Response)
    assert _answer_of(begun).status == 200


def test_a_check_is_answered_locally_once_all_of_it_is_known(installation: Installation) -> None:
    """What has to be read first takes a thread, which answers the same; so does a body that is long to decode."""
    token = installation.administrator_token("admin@example.com")
    installation.access_token("user@example.com")
    _, user_id = installation.stored().users
    check = {"userId": str(user_id), "permissions": ["user:read"]}

    def asked(**more: Any) -> Request:  # noqa: ANN401 - any member
        body = msgspec.json.encode({**check, **more})
        headers = (
            ("authorization", f"Bearer {token}"),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
        )
        return Request(method="POST", path="/auth/check-permissions", headers=headers, body=body)

    pipeline = installation.service.pipeline
    cold = pipeline.begin(asked())
    assert not isinstance(cold, Response)
    assert json_of(_answer_of(cold))["userId"] == str(user_id)
    warm = pipeline.begin(asked())
    assert isinstance(warm, Response)
    assert (warm.status, warm.body) == (200, _answer_of(cold).body)
    long = pipeline.begin(asked(permissions=[f"user:read_{'x' * 40}{number}" for number in range(90)]))
    assert not isinstance(long, Response)
    assert _answer_of(long).status == 200


def test_what_is_begun_twice_is_counted_once() -> None:
    """In the metrics, in the log and by the rate limit, though a thread begins it anew."""
    installation = Installation.begin(FakeClock(), rates=RatePolicy(limits={"read.caller": Limit(2, 60)}))
    ways: list[bool] = []

    def look(_call: Call) -> Response:
        ways.append(current_call().may_wait)
        require_patience()
        return empty_response(204)

    checks = sample_route(look, who=Caller.USER, bulkhead=Bulkhead.CHECKS, rate_class=RateClass.READ)
    service = installation.with_routes(checks)
    request = attrs.evolve(_WAIT, headers=(("authorization", f"Bearer {installation.access_token('a@example.com')}"),))
    with structlog.testing.capture_logs() as logs:
        statuses = [_answer_of(service.pipeline.begin(request)).status for _ in range(3)]

    assert statuses == [204, 204, 429]
    assert ways == [True, False, True]
    assert [entry["status"] for entry in logs if entry["event"] == "request"] == statuses


def test_what_has_no_time_left_is_not_begun(installation: Installation) -> None:
    """The time in the queue is part of the time a request may take, and work that would be cut off is refused."""
    begun: list[Call] = []

    def wait(call: Call) -> Response:
        begun.append(call)
        return empty_response(204)

    pipeline = installation.with_routes(sample_route(wait)).pipeline
    late = attrs.evolve(_WAIT, time_left_seconds=0.0)

    for response in (pipeline.handle(late), _answer_of(pipeline.begin(late))):
        assert response.status == 503
        assert json_of(response)["type"] == "urn:userservice:problem:deadline-exceeded"
    assert begun == []


def test_the_call_travels_with_its_context(installation: Installation) -> None:
    """Deadline, id and trace are there for whatever the handler calls, and gone afterwards."""
    seen: list[CallContext] = []

    def look(_call: Call) -> Response:
        seen.append(current_call())
        return empty_response(204)

    pipeline = installation.with_routes(sample_route(look)).pipeline
    headers = (("x-request-id", "r-1"), ("traceparent", _TRACE))
    request = Request(method="GET", path="/wait", headers=headers, time_left_seconds=2.0)
    assert pipeline.handle(request).header("x-request-id") == "r-1"
    assert _answer_of(pipeline.begin(request)).status == 204

    assert [(context.request_id, context.traceparent) for context in seen] == [("r-1", _TRACE)] * 2
    assert all(0 < (context.left_seconds() or 0) <= 2 for context in seen)
    assert current_call() == CallContext()


def test_a_request_without_an_id_is_given_one(installation: Installation) -> None:
    """A UUIDv7, in the answer and in a problem alike."""
    response = PipelineClient(installation.service.pipeline).request("GET", "/nowhere")

    assert json_of(response)["requestId"] == response.header("x-request-id")
    assert UUID(response.header("x-request-id")).version == 7


def test_a_closed_pipeline_refuses(installation: Installation) -> None:
    """What arrives after the end may be repeated elsewhere."""
    pipeline = installation.with_routes(sample_route(_done)).pipeline
    pipeline.close()

    assert _answer_of(pipeline.begin(_WAIT)).status == 503


# --- what is told, and what is logged --------------------------------------------------------------------------------


@pytest.mark.asvs("16.3.4", "16.5.1", "16.5.4")
@pytest.mark.parametrize(
    ("error", "status"),
    [(ZeroDivisionError("secret"), 500), (ProgrammingError("secret"), 500), (MemoryError("secret"), 503)],
)
def test_what_goes_wrong_inside_is_for_the_log(installation: Installation, error: Exception, status: int) -> None:
    """The client gets an id; the log gets the cause under that id."""

    def fail(_call: Call) -> Response:
        raise error

    client = PipelineClient(installation.with_routes(sample_route(fail)).pipeline)
    with structlog.testing.capture_logs() as lines:
        response = client.request("GET", "/wait", headers=[("x-request-id", "r-1")])

    assert response.status == status
    assert b"secret" not in response.body
    assert [(line["event"], line["request_id"], line.get("exc_info")) for line in lines] == [
        ("request failed", "r-1", error),
        ("request", "r-1", None),
    ]


@pytest.mark.asvs("14.2.4", "16.2.5")
def test_a_line_is_logged_for_each_request_and_holds_nothing_of_the_user(installation: Installation) -> None:
    """Neither path nor query, since links carry tokens; neither headers nor bodies."""
    client = PipelineClient(installation.service.pipeline)
    with structlog.testing.capture_logs() as lines:
        client.request("GET", "/auth/verify-email?token=canary", headers=[("authorization", "Bearer canary")])
        send_json(client, "POST", "/auth/login", {"email": "canary@example.com", "password": "canary"})

    varying = {"milliseconds", "request_id"}
    assert [{name: value for name, value in line.items() if name not in varying} for line in lines] == [
        {
            "event": "request",
            "log_level": "info",
            "method": method,
            "operation": operation,
            "status": status,
            "error": error,
            "traceparent": None,
        }
        for method, operation, status, error in (
            ("GET", "inspect_email_verification", 200, None),
            ("POST", "login", 401, "invalid-credentials"),
        )
    ]
    assert all(line["milliseconds"] >= 0 for line in lines)
    assert "canary" not in repr(lines)


@pytest.mark.asvs("3.4.1")
@pytest.mark.parametrize(
    ("issuer", "expected"), [("https://id.example", "max-age=31536000"), ("http://localhost", None)]
)
def test_browsers_are_kept_on_https_where_there_is_https(
    installation: Installation, issuer: str, expected: str | None
) -> None:
    """RFC 6797 §7.2: not over plain http."""
    client = PipelineClient(installation.with_routes(issuer=issuer).pipeline)

    assert client.request("GET", "/health/live").header("strict-transport-security") == expected


@pytest.mark.asvs("13.4.5")
def test_metrics_are_served_only_where_that_is_wanted(installation: Installation) -> None:
    """They are for operators; by default they have a port of their own."""
    hidden = PipelineClient(installation.service.pipeline).request("GET", "/metrics")
    shown = PipelineClient(installation.with_routes(expose_metrics=True).pipeline).request("GET", "/metrics")

    assert (hidden.status, shown.status) == (404, 200)
    assert str(shown.header("content-type")).startswith("text/plain")


class _FakeHealth:
    """Says what a test tells it to."""

    def __init__(self, status: HealthStatus) -> None:
        self._status = status

    @property
    def is_draining(self) -> bool:
        """As the status says."""
        return self._status is HealthStatus.DRAINING

    def report(self) -> HealthReport:
        """Return it."""
        return HealthReport(self._status, {"database": "does not answer"})


@pytest.mark.parametrize(
    ("health", "status"),
    [
        (HealthStatus.READY, 200),
        (HealthStatus.DEGRADED, 200),
        (HealthStatus.STARTING, 503),
        (HealthStatus.DRAINING, 503),
        (HealthStatus.BROKEN, 503),
    ],
)
def test_readiness_is_red_only_where_no_request_should_come(
    installation: Installation, health: HealthStatus, status: int
) -> None:
    """A lost database does not empty the load balancer; the body tells of it."""
    client = PipelineClient(installation.with_routes(health=_FakeHealth(health)).pipeline)
    response = client.request("GET", "/health/ready")

    assert (response.status, response.header("retry-after")) == (status, "1" if status == 503 else None)
    assert json_of(response) == {"status": health.value, "resources": {"database": "does not answer"}}


def test_each_request_is_measured_once(installation: Installation) -> None:
    """By operation and status; what no route takes counts under one name, so that nobody can invent more."""
    client = PipelineClient(installation.service.pipeline)
    for method, target in (
        ("GET", "/health/live"),
        ("GET", "/nowhere"),
        ("PUT", "/auth/login"),
        ("POST", "/auth/login"),
    ):
        client.request(method, target)

    metrics = installation.service.metrics
    assert isinstance(metrics, InMemoryMetrics)
    assert metrics.requests == {
        ("get_liveness", 200): 1,
        ("unmatched", 404): 1,
        ("unmatched", 405): 1,
        ("login", 415): 1,
    }


def test_each_request_passes_its_failpoints(installation: Installation) -> None:
    """A crash can be tried before anything happened, and after everything did."""
    passed: list[str] = []
    install_failpoints(passed.append)
    try:
        PipelineClient(installation.service.pipeline).request("GET", "/health/live")
    finally:
        install_failpoints(None)

    assert passed == ["http.received", "http.answering"]


def test_a_handler_gets_what_the_table_says(installation: Installation) -> None:
    """Asking for another shape, or for a caller where anyone may call, is a slip in the code."""

    def confused(call: Call) -> Response:
        call.body(wire.LoginBody)
        return empty_response(204)

    def presumptuous(call: Call) -> Response:
        call.require_caller()
        return empty_response(204)

    routes = (sample_route(confused), sample_route(presumptuous, path="/presume"))
    client = PipelineClient(installation.with_routes(*routes).pipeline)

    assert client.request("GET", "/wait").status == 500
    assert client.request("GET", "/presume").status == 401
