"""What the killed processes do: answer requests, relay, consume."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from http.client import OK
from typing import TYPE_CHECKING, Final

import attrs

from tests.integration.messaging.effects import PostgresEffects
from userservice_core.bootstrap import bootstrap, bootstrap_relay, configure_logging
from userservice_core.config import Settings
from userservice_core.domain.event_schemas import wire_name
from userservice_core.domain.events import EVENT_TYPES
from userservice_core.http.messages import Request
from userservice_core.infrastructure.messaging.consumer import EventConsumer, Retries
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
from userservice_core.infrastructure.system.metrics import serve_metrics
from userservice_core.ports.failpoints import install_failpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection


def answer(environment: Mapping[str, str], connection: Connection, *, background: bool = False) -> None:
    """Answer requests that come over *connection*, through the whole pipeline, until it is closed."""
    settings = Settings.from_environment(environment)
    configure_logging(settings)
    service = bootstrap(settings, background=background)
    service.start()
    while service.pipeline.handle(Request(method="GET", path="/health/ready")).status != OK:
        time.sleep(_POLL_SECONDS)
    connection.send("ready")
    while True:
        try:
            method, target, headers, body = connection.recv()
        except EOFError:
            service.close()
            return
        path, _, query = target.partition("?")
        request = Request(method=method, path=path, query=query, headers=headers, body=body)
        response = service.pipeline.handle(request)
        connection.send((response.status, response.body))


def relay(
    environment: Mapping[str, str],
    relay_id: str,
    mails: str,
    *,
    freezes_at: str | None = None,
    metrics_port: int | None = None,
) -> None:
    """
    Relay until it is told to end; each mail is a line of the file *mails*.

    With *freezes_at*, a step and a number, it stops itself there, as a virtual machine that is moved does. With
    *metrics_port* it shows there what it measures.
    """
    descriptor = os.open(mails, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write_mail(line: str) -> None:
        os.write(descriptor, f"{line}\n".encode())

    settings = Settings.from_environment(environment)
    configure_logging(settings)
    with contextlib.ExitStack() as opened:
        if metrics_port is not None:
            folder = settings.data_dir / f"metrics-{metrics_port}"
            opened.enter_context(serve_metrics(folder, host="127.0.0.1", port=metrics_port))
        service = opened.enter_context(bootstrap_relay(settings, relay_id=relay_id, write_mail=write_mail))
        if freezes_at is not None:
            install_failpoints(_signaller(freezes_at, signal.SIGSTOP))
        service.run(_told_to_end())


_POLL_SECONDS: Final = 0.01


@attrs.frozen
class Membership:
    """A member of a group of consumers; under a name of its own it keeps its partitions over a restart."""

    servers: tuple[str, ...]
    group: str
    topics: tuple[str, ...]
    member_id: str | None = None


def consume(dsn: str, membership: Membership, failpoint: str | None) -> None:
    """Consume every type of event, with an effect in the database, until it is told to end."""
    install_failpoints(None if failpoint is None else _signaller(failpoint, signal.SIGKILL))
    effects = PostgresEffects(dsn, create=False)
    source = KafkaEventSource(
        membership.servers,
        group=membership.group,
        topics=membership.topics,
        member_id=membership.member_id,
        session_seconds=6.0,
    )
    consumer = EventConsumer(source, inbox=effects.inbox(), retries=Retries(first_seconds=0.05))
    consumer.on(*dict.fromkeys(map(wire_name, EVENT_TYPES)))(effects.write)
    consumer.run(_told_to_end())


def _told_to_end() -> threading.Event:
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    return told


def _signaller(failpoint: str, number_of_signal: signal.Signals) -> Callable[[str], None]:
    """Return a hook that sends a signal to this process when a step is passed for the given time."""
    step, _, number = failpoint.rpartition(":")
    left = int(number)

    def hook(name: str) -> None:
        nonlocal left
        if name == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number_of_signal)

    return hook
