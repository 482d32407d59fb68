"""
Spans of one trace: what a call did, one within another, for whoever has a tracer installed.

The parent of a span is the trace of the present call, :attr:`.CallContext.traceparent`, and within a span the call's
trace is that span; so whatever carries a call to another thread, the outbox or the bus carries the tree along.
A span costs one comparison with None while no tracer is installed.
"""

from __future__ import annotations

import enum
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import attrs

from userservice_core.ports.context import call_context, current_call

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Attributes = dict[str, str | int]
"""What is known of a span, by the names of OpenTelemetry's semantic conventions; never a value of a user's."""


class SpanKind(enum.Enum):
    """Which side of what a span is."""

    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span(Protocol):
    """Something that goes on, until it is ended."""

    @property
    def traceparent(self) -> str | None:
        """What makes other spans its children (W3C Trace Context §3.2); None where nothing is recorded."""
        ...

    def end(self, attributes: Mapping[str, str | int] | None = None, *, error: str | None = None) -> None:
        """
        End it, once.

        Args:
            attributes: What has become known of it.
            error: What kind of thing went wrong, None where nothing did.
        """
        ...


class Tracer(Protocol):
    """Where spans go. Safe for many threads; neither fails nor blocks."""

    def begin(self, kind: SpanKind, name: str, *, parent: str | None, attributes: Attributes) -> Span:
        """Begin a span below *parent*, a `traceparent`; None for a new trace."""
        ...


_tracer: Tracer | None = None


def install_tracer(tracer: Tracer | None) -> None:
    """Give spans that begin from now on to *tracer*; None ends that."""
    global _tracer  # noqa: PLW0603 - one switch for the whole process is what makes a span nobody wants free
    _tracer = tracer


def installed_tracer() -> Tracer | None:
    """Return where spans go, None where nobody wants any."""
    return _tracer


@contextmanager
def spanned(tracer: Tracer, kind: SpanKind, name: str, attributes: Attributes) -> Iterator[None]:
    """Have the block be a span of the present call; it fails if the block raises."""
    call = current_call()
    span = tracer.begin(kind, name, parent=call.traceparent, attributes=attributes)
    try:
        with call_context(attrs.evolve(call, traceparent=span.traceparent or call.traceparent)):
            yield
    except BaseException as error:
        span.end(error=type(error).__name__)
        raise
    span.end()
