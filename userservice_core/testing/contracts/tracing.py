"""What :mod:`userservice_core.ports.tracing` promises."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from userservice_core.ports.tracing import SpanKind

if TYPE_CHECKING:
    from userservice_core.ports.tracing import Tracer

_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


class TracerContract:
    """For :class:`~userservice_core.ports.tracing.Tracer` and the Span that it begins; with a tracer that records."""

    @pytest.fixture
    def tracer(self) -> Tracer:
        """One that records what it is given."""
        raise NotImplementedError("override this fixture")

    @pytest.mark.parametrize("kind", SpanKind)
    def test_a_span_is_in_the_trace_of_its_parent(self, tracer: Tracer, kind: SpanKind) -> None:
        """As a span of its own."""
        span = tracer.begin(kind, "name", parent=f"00-{_TRACE}-00f067aa0ba902b7-01", attributes={})
        found = _FORM.fullmatch(span.traceparent or "")
        span.end({"number": 1}, error="timeout")

        assert found is not None
        assert found[1] == _TRACE
        assert found[2] != "00f067aa0ba902b7"

    @pytest.mark.parametrize("parent", [None, "", "nonsense", f"00-{'0' * 32}-{'0' * 16}-00"])
    def test_without_a_parent_a_trace_begins(self, tracer: Tracer, parent: str | None) -> None:
        """Each its own; what is no parent is none."""
        first, second = (tracer.begin(SpanKind.SERVER, "name", parent=parent, attributes={}) for _ in range(2))
        traces = [_FORM.fullmatch(span.traceparent or "") for span in (first, second)]
        for span in (first, second):
            span.end()

        assert all(traces)
        assert len({found[1] for found in traces if found is not None}) == 2
