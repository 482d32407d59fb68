"""What the killed processes do: answer requests, relay, consume."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import attrs

from tests.integration.messaging.effects import PostgresEffects
from userservice_core.bootstrap import bootstrap, bootstrap_relay, configure_logging
from userservice_core.config import Settings
from userservice_core.domain.event_schemas import wire_name
from userservice_core.domain.events import EVENT_TYPES
from userservice_core.http.messages import Request
from userservice_core.infrastructure.messaging.consumer import EventConsumer, Retries
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
from userservice_core.ports.failpoints import install_failpoints

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection


def answer(environment: Mapping[str, str], connection: Connection) -> None:
    """Answer requests that come over *connection*, through the whole pipeline, until it is closed."""
    settings = Settings.from_environment(environment)
    configure_logging(settings)
    service = bootstrap(settings, background=False)
    connection.send("ready")
    while True:
        try:
            method, path, headers, body = connection.recv()
        except EOFError:
            return
        response = service.pipeline.handle(Request(method=method, path=path, headers=headers, body=body))
        connection.send((response.status, response.body))


def relay(environment: Mapping[str, str], relay_id: str, mails: str) -> None:
    """Relay until it is told to end; each mail is a line of the file *mails*."""
    descriptor = os.open(mails, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write_mail(line: str) -> None:
        os.write(descriptor, f"{line}\n".encode())

    settings = Settings.from_environment(environment)
    configure_logging(settings)
    with bootstrap_relay(settings, relay_id=relay_id, write_mail=write_mail) as service:
        service.run(_told_to_end())


@attrs.frozen
class Membership:
    """A member of a group of consumers; under a name of its own it keeps its partitions over a restart."""

    servers: tuple[str, ...]
    group: str
    topics: tuple[str, ...]
    member_id: str | None = None


def consume(dsn: str, membership: Membership, failpoint: str | None) -> None:
    """Consume every type of event, with an effect in the database, until it is told to end."""
    install_failpoints(None if failpoint is None else _killer(failpoint))
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


def _killer(failpoint: str) -> Any:  # noqa: ANN401 - a hook
    step, _, number = failpoint.rpartition(":")
    left = int(number)

    def hook(name: str) -> None:
        nonlocal left
        if name == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook
