"""One trace from the request to the handler of another service, over a real broker."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from typing import TYPE_CHECKING, Final

import psycopg

from tests.consumer_suite import running, until
from tests.e2e.processes import settings_for
from userservice_core.bootstrap import bootstrap, bootstrap_relay
from userservice_core.config import Settings
from userservice_core.http.messages import Request
from userservice_core.infrastructure.messaging.consumer import EventConsumer
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
from userservice_core.infrastructure.postgres.inbox import PostgresInbox
from userservice_core.ports.context import current_call

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.messaging.topics import Topics
    from userservice_core.ports.consuming import ConsumedEvent

_TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"


def _registration(email: str, trace: str | None) -> Request:
    body = json.dumps({"email": email, "password": "correct horse battery staple"}).encode()
    traced = () if trace is None else (("traceparent", f"00-{trace}-00f067aa0ba902b7-01"),)
    headers = (("content-type", "application/json"), *traced)
    return Request(method="POST", path="/auth/register", headers=headers, body=body)


def test_a_trace_goes_from_the_request_to_the_handler(database: str, topics: Topics, tmp_path: Path) -> None:
    """Through outbox, relay, and headers; the handler's own calls are in it, and a request without one has none."""
    name = topics.create("users")
    environment = settings_for(
        database,
        tmp_path,
        KAFKA_BOOTSTRAP_SERVERS=topics.broker.bootstrap_servers,
        TOPIC_PREFIX=topics.prefix,
        ARGON2_MEMORY_KIB="64",
        ARGON2_TIME_COST="1",
    )
    settings = Settings.from_environment({name: text for name, text in environment.items() if "USERSERVICE_" in name})
    inbox = PostgresInbox(lambda: psycopg.connect(database))
    source = KafkaEventSource([topics.broker.bootstrap_servers], group=f"g{uuid.uuid4().hex}", topics=[name])
    consumer = EventConsumer(source, inbox=inbox)
    heard: dict[str, tuple[str | None, str | None]] = {}

    @consumer.on("userservice.user.registered.v1")
    def hear(event: ConsumedEvent, _: psycopg.Connection) -> None:
        heard[event.data["email"]] = (event.traceparent, current_call().traceparent)

    with contextlib.ExitStack() as running_beside:
        service = running_beside.enter_context(bootstrap(settings, background=False))
        relay = running_beside.enter_context(bootstrap_relay(settings, relay_id="r"))
        stop = threading.Event()
        relaying = threading.Thread(target=relay.run, args=(stop,))
        relaying.start()
        try:
            for email, trace in (("ada@example.com", _TRACE), ("bob@example.com", None)):
                assert service.pipeline.handle(_registration(email, trace)).status == 201
            with running(consumer):
                until(lambda: len(heard) == 2, seconds=60)
        finally:
            stop.set()
            relaying.join()

    in_event, in_handler = heard["ada@example.com"]
    assert in_event is not None
    assert in_event.split("-")[1] == _TRACE
    assert in_handler == in_event
    assert heard["bob@example.com"] == (None, None)
    headers = {json.loads(arrival.value)["email"]: arrival.headers for arrival in topics.arrivals("users")}
    assert headers["ada@example.com"]["ce_traceparent"] == in_event
    assert "ce_traceparent" not in headers["bob@example.com"]
