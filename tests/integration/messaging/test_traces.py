"""One trace from the request to the handler of another service, over a real broker."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from tests.consumer_suite import running, until
from tests.e2e.processes import settings_for
from tests.spans import kept_spans
from userservice_core.bootstrap import bootstrap, bootstrap_relay
from userservice_core.config import Settings
from userservice_core.http.messages import Request
from userservice_core.infrastructure.messaging.consumer import EventConsumer
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
from userservice_core.infrastructure.postgres.inbox import PostgresInbox
from userservice_core.ports.context import current_call

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from tests.integration.messaging.topics import Topics
    from userservice_core.ports.consuming import ConsumedEvent

_TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
_SPAN: Final = "00f067aa0ba902b7"


def _registration(email: str, trace: str | None) -> Request:
    body = json.dumps({"email": email, "password": "correct horse battery staple"}).encode()
    traced = () if trace is None else (("traceparent", f"00-{trace}-{_SPAN}-01"),)
    headers = (("content-type", "application/json"), *traced)
    return Request(method="POST", path="/auth/register", headers=headers, body=body)


def _settings(database: str, topics: Topics, folder: Path) -> Settings:
    environment = settings_for(
        database,
        folder,
        KAFKA_BOOTSTRAP_SERVERS=topics.broker.bootstrap_servers,
        TOPIC_PREFIX=topics.prefix,
        ARGON2_MEMORY_KIB="64",
        ARGON2_TIME_COST="1",
    )
    return Settings.from_environment({name: text for name, text in environment.items() if "USERSERVICE_" in name})


@contextlib.contextmanager
def _relaying(settings: Settings) -> Iterator[None]:
    """Have a relay at work within the block."""
    stop = threading.Event()
    with bootstrap_relay(settings, relay_id="r") as relay:
        relaying = threading.Thread(target=relay.run, args=(stop,))
        relaying.start()
        try:
            yield
        finally:
            stop.set()
            relaying.join()


def test_a_trace_goes_from_the_request_to_the_handler(database: str, topics: Topics, tmp_path: Path) -> None:
    """Through outbox, relay, and headers; the handler's own calls are in it, and a request without one has none."""
    name = topics.create("users")
    settings = _settings(database, topics, tmp_path)
    inbox = PostgresInbox(lambda: psycopg.connect(database))
    source = KafkaEventSource([topics.broker.bootstrap_servers], group=f"g{uuid.uuid4().hex}", topics=[name])
    consumer = EventConsumer(source, inbox=inbox)
    heard: dict[str, tuple[str | None, str | None]] = {}

    @consumer.on("userservice.user.registered.v1")
    def hear(event: ConsumedEvent, _: psycopg.Connection) -> None:
        heard[event.data["email"]] = (event.traceparent, current_call().traceparent)

    with bootstrap(settings, background=False) as service, _relaying(settings):
        for email, trace in (("ada@example.com", _TRACE), ("bob@example.com", None)):
            assert service.pipeline.handle(_registration(email, trace)).status == 201
        with running(consumer):
            until(lambda: len(heard) == 2, seconds=60)

    in_event, in_handler = heard["ada@example.com"]
    assert in_event is not None
    assert in_event.split("-")[1] == _TRACE
    assert in_handler == in_event
    assert heard["bob@example.com"] == (None, None)
    headers = {json.loads(arrival.value)["email"]: arrival.headers for arrival in topics.arrivals("users")}
    assert headers["ada@example.com"]["ce_traceparent"] == in_event
    assert "ce_traceparent" not in headers["bob@example.com"]


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Have the spans of this process kept."""
    with kept_spans() as kept:
        yield kept


def _tree(spans: Sequence[ReadableSpan], parent: int) -> list[tuple[str, list[Any]]]:
    """Return the spans below *parent* in the order of their beginning, each with those below it."""
    below = [span for span in spans if span.parent is not None and span.parent.span_id == parent]
    return [(span.name, _tree(spans, span.context.span_id)) for span in sorted(below, key=_began)]


def _began(span: ReadableSpan) -> int:
    assert span.start_time is not None
    return span.start_time


def test_a_registration_is_one_tree(
    database: str, topics: Topics, tmp_path: Path, exporter: InMemorySpanExporter
) -> None:
    """The request, what it asked the database, the event sent to Kafka, and its handling with its own transaction."""
    users = topics.create("users")
    settings = _settings(database, topics, tmp_path)
    inbox = PostgresInbox(lambda: psycopg.connect(database))
    source = KafkaEventSource([topics.broker.bootstrap_servers], group=f"g{uuid.uuid4().hex}", topics=[users])
    consumer = EventConsumer(source, inbox=inbox)
    handled = threading.Event()

    @consumer.on("userservice.user.registered.v1")
    def hear(_: ConsumedEvent, __: psycopg.Connection) -> None:
        handled.set()

    with bootstrap(settings, background=False) as service, _relaying(settings):
        assert service.pipeline.handle(_registration("ada@example.com", _TRACE)).status == 201
        with running(consumer):
            until(handled.is_set, seconds=60)
    spans = exporter.get_finished_spans()
    (request,) = _tree(spans, int(_SPAN, 16))
    name, children = request
    asked = [child for child in children if not child[0].startswith("send ")]
    sent = [child for child in children if child[0].startswith("send ")]

    assert name == "POST /auth/register"
    assert {f"{span.context.trace_id:032x}" for span in spans} == {_TRACE}
    assert all(below == [] for _, below in asked)
    assert any("INSERT" in verbs and verbs.endswith("COMMIT") for verbs, _ in asked), asked
    assert (f"send {users}", [(f"process {users}", [])]) in sent
    told = str([(span.name, dict(span.attributes or {})) for span in spans])
    assert "ada@example.com" not in told
    assert "correct horse" not in told
