"""Spans: one within another, nothing of a user in them, and nothing at all where nobody wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import ProxyTracerProvider, StatusCode

from tests.spans import kept_spans
from userservice_core.bootstrap import bootstrap_in_memory
from userservice_core.http.messages import Request
from userservice_core.infrastructure.system.tracing import OpenTelemetryTracer, trace_with_opentelemetry
from userservice_core.ports.context import CallContext, call_context, current_call
from userservice_core.ports.tracing import SpanKind, installed_tracer, spanned
from userservice_core.testing.contracts.tracing import TracerContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

_PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Have the spans of this process kept."""
    with kept_spans() as kept:
        yield kept


class TestOpenTelemetryTracer(TracerContract):
    """By the SDK."""

    @pytest.fixture
    def tracer(self) -> OpenTelemetryTracer:
        """One whose spans are recorded and go nowhere."""
        return OpenTelemetryTracer(TracerProvider(shutdown_on_exit=False))


def test_what_nobody_has_set_up_is_not_used() -> None:
    """The library alone, without an SDK, costs nothing."""
    assert not trace_with_opentelemetry(ProxyTracerProvider())
    assert installed_tracer() is None


def test_a_span_is_the_parent_of_what_is_done_within(exporter: InMemorySpanExporter) -> None:
    """By the trace of the call, which is put back afterwards; what fails says so, and the failure passes through."""
    tracer = installed_tracer()
    assert tracer is not None

    def work() -> None:
        with spanned(tracer, SpanKind.CONSUMER, "outer", {}):
            with spanned(tracer, SpanKind.CLIENT, "inner", {"a": 1}):
                pass
            raise LookupError

    with call_context(CallContext(traceparent=_PARENT)):
        with pytest.raises(LookupError):
            work()
        assert current_call().traceparent == _PARENT
    inner, outer = exporter.get_finished_spans()

    assert outer.parent is not None
    assert inner.parent is not None
    assert f"{outer.parent.trace_id:032x}-{outer.parent.span_id:016x}" == _PARENT[3:-3]
    assert inner.parent.span_id == outer.context.span_id
    assert (inner.status.status_code, outer.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    assert dict(outer.attributes or {}) == {"error.type": "LookupError"}


def test_a_request_is_a_span_of_its_caller(exporter: InMemorySpanExporter) -> None:
    """With the pattern of its path and its status, and neither path nor query; what machines ask all day is none."""
    pipeline = bootstrap_in_memory().service.pipeline
    for path in ("/health/live", "/admin/users/0198a000-0000-7000-8000-000000000000", "/nowhere/secret"):
        pipeline.handle(Request(method="GET", path=path, headers=(("traceparent", _PARENT),)))
    pipeline.close()
    spans = exporter.get_finished_spans()

    assert [(span.name, dict(span.attributes or {})) for span in spans] == [
        (
            "GET /admin/users/{id}",
            {"http.request.method": "GET", "http.route": "/admin/users/{id}", "http.response.status_code": 401},
        ),
        ("HTTP", {"http.request.method": "_OTHER", "http.response.status_code": 404}),
    ]
    assert {span.parent.span_id for span in spans if span.parent is not None} == {0x00F067AA0BA902B7}
