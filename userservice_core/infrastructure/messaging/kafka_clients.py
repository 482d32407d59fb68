"""Making clients of kafka-python without what it leaves behind where no broker answers."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, TypeVar

from kafka.errors import KafkaConnectionError
from kafka.net.compat import KafkaNetClient

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kafka import KafkaConsumer

_C = TypeVar("_C")

_TIMES_TO_ASK = 3


def require_broker(bootstrap_servers: Sequence[str], *, patience_seconds: float) -> None:
    """
    Look whether any broker takes connections, since the library leaves open what it has begun where none does.

    Raises:
        KafkaConnectionError: If none does.
    """
    for server in bootstrap_servers:
        host, _, port = server.rpartition(":")
        with contextlib.suppress(OSError):
            socket.create_connection((host.strip("[]"), int(port)), patience_seconds).close()
            return
    raise KafkaConnectionError


def built(build: Callable[..., _C], **settings: Any) -> _C:  # noqa: ANN401 - the library's own settings
    """Return what *build* makes; where it fails, end the client's thread and sockets, which it leaves behind itself."""
    begun: list[KafkaNetClient] = []

    def client(**its_settings: Any) -> KafkaNetClient:  # noqa: ANN401 - as above
        begun.append(KafkaNetClient(**its_settings))
        return begun[-1]

    try:
        return build(kafka_client=client, **settings)
    except BaseException:
        for unfinished in begun:
            unfinished.close()
        raise


def partitions_of(consumer: KafkaConsumer, topic: str) -> tuple[int, ...]:
    """
    Return the numbers of *topic*'s partitions, in order; none where there is no such topic.

    The library may take the answer to an older question, about other topics, for the answer to this one, and then knows
    of no partition; so what is said not to be there is asked for again.
    """
    for _ in range(_TIMES_TO_ASK):
        if known := consumer.partitions_for_topic(topic):
            return tuple(sorted(known))
    return ()
