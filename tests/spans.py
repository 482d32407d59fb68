"""Spans that this process makes, kept for a test to look at."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from userservice_core.infrastructure.system.tracing import trace_with_opentelemetry
from userservice_core.ports.tracing import install_tracer

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def kept_spans() -> Iterator[InMemorySpanExporter]:
    """Have the spans of this process kept within the block."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    assert trace_with_opentelemetry(provider)
    yield kept
    install_tracer(None)
    provider.shutdown()
