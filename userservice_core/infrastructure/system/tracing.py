"""Spans by OpenTelemetry, whose SDK and exporter are the operator's."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from userservice_core.ports.tracing import SpanKind, install_tracer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry import trace

    from userservice_core.ports.tracing import Attributes

_NAME: Final = "userservice"
_HEADER: Final = "traceparent"
_VARIABLE: Final = "OTEL_PYTHON_TRACER_PROVIDER"
"""By which the library is told to set itself up when it is loaded."""


def trace_with_opentelemetry(provider: trace.TracerProvider | None = None) -> bool:
    """
    Give the spans of this process to OpenTelemetry, if that is installed and somebody has set it up.

    Args:
        provider: Where spans go; the one of the process if not given.

    Returns:
        Whether it is so.
    """
    if provider is None and "opentelemetry.trace" not in sys.modules and _VARIABLE not in os.environ:
        return False  # nobody can have set up what nobody has loaded; to load it takes time at each start
    try:
        from opentelemetry import trace
    except ImportError:
        return False
    chosen = trace.get_tracer_provider() if provider is None else provider
    if isinstance(chosen, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return False
    install_tracer(OpenTelemetryTracer(chosen))
    return True


class OpenTelemetryTracer:
    """Implements :class:`~userservice_core.ports.tracing.Tracer`."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        from opentelemetry import trace
        from opentelemetry.context import Context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer(_NAME)
        self._propagator = TraceContextTextMapPropagator()
        self._nowhere = Context()
        self._kinds = {kind: trace.SpanKind[kind.name] for kind in SpanKind}

    def begin(self, kind: SpanKind, name: str, *, parent: str | None, attributes: Attributes) -> OpenTelemetrySpan:
        # From nothing, not from the library's own context: that is not handed on between our threads.
        context = self._nowhere
        if parent is not None:
            context = self._propagator.extract({_HEADER: parent}, context=context)
        return OpenTelemetrySpan(
            self._tracer.start_span(name, context=context, kind=self._kinds[kind], attributes=attributes)
        )


class OpenTelemetrySpan:
    """Implements :class:`~userservice_core.ports.tracing.Span`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        context = self._span.get_span_context()
        if not context.is_valid:
            return None
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, attributes: Mapping[str, str | int] | None = None, *, error: str | None = None) -> None:
        from opentelemetry.trace import StatusCode

        if attributes is not None:
            self._span.set_attributes(attributes)
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
