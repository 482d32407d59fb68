"""A consumer in a process of its own, which tests kill."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

from tests.consumer_suite import TYPE
from tests.integration.messaging.effects import PostgresEffects
from userservice_core.infrastructure.messaging.consumer import EventConsumer, Retries
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

# A fork of a process that has loaded everything and opened nothing is a new process for a tenth of the price.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def consumer_process(dsn: str, servers: str, *, group: str, topic: str, member_id: str) -> ForkServerProcess:
    """Start a member of *group* that writes effects until it is told to stop, or killed."""
    process = _context.Process(target=_consume, args=(dsn, servers, group, topic, member_id), daemon=True)
    process.start()
    return process


def _consume(dsn: str, servers: str, group: str, topic: str, member_id: str) -> None:
    effects = PostgresEffects(dsn, create=False)
    source = KafkaEventSource([servers], group=group, topics=[topic], member_id=member_id, session_seconds=6.0)
    consumer = EventConsumer(source, inbox=effects.inbox(), retries=Retries(first_seconds=0.05))
    consumer.on(TYPE)(effects.write)
    consumer.run()
