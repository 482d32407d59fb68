"""Making clients of kafka-python without what it leaves behind where no broker answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from kafka.errors import KafkaConnectionError, KafkaError, SaslAuthenticationFailedError
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from userservice_core.errors import BusUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kafka import KafkaConsumer

    from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity

_C = TypeVar("_C")

_TIMES_TO_ASK = 3
_DISCONNECTED = "socket disconnected"


def require_broker(bootstrap_servers: Sequence[str], security: KafkaSecurity, *, patience_seconds: float) -> None:
    """
    Look whether any broker takes us, since the library leaves open what it has begun where none does.

    It also goes on by itself for as long as it may, and does not say what was wrong; here each broker is tried once.

    Raises:
        KafkaError: If none lets us in; it says why the last one did not.
        BusUnavailableError: If none can be spoken to at all.
    """
    failure: KafkaError | BusUnavailableError = BusUnavailableError()
    for server in bootstrap_servers:
        try:
            security.shake_hands(server, patience_seconds=patience_seconds)
            if security.mechanism is not None or security.is_encrypted:
                _sign_in(server, security, patience_seconds=patience_seconds)
        except (KafkaError, BusUnavailableError) as error:
            failure = error
        else:
            return
    raise failure


def reason_of(error: KafkaError) -> str:
    """Return what was wrong in one line: the kind of the error, and its words where it has any."""
    kind = type(error).__name__
    words = [word for word in map(str, error.args) if word]
    # Some come with their own name in front, or twice.
    text = " ".join(" ".join(words).split()).replace(f"{kind}: ", "")
    return f"{kind}: {text}" if text and text != kind else kind


def _sign_in(server: str, security: KafkaSecurity, *, patience_seconds: float) -> None:
    """Open one connection as every client does, and close it again."""
    settings = security.for_kafka_python()
    selector = NetworkSelector()
    manager = KafkaConnectionManager(selector, bootstrap_servers=[server], **settings)
    try:
        (broker,) = manager.cluster.bootstrap_brokers()
        connection = manager.get_connection(
            broker.node_id, timeout_ms=patience_seconds * 1000, pop_on_close=False, refresh_metadata_on_err=False
        )

        async def opened() -> None:
            await connection

        selector.run(opened)
    except KafkaConnectionError as error:
        if security.mechanism is not None and _DISCONNECTED in error.args:
            # The library drops an answer that comes together with the end of the connection, which is how brokers
            # refuse whom they do not know.
            raise SaslAuthenticationFailedError(
                f"the broker ended the connection while we signed in by {security.mechanism}; mostly because it does"
                " not take the credentials"
            ) from error
        raise
    finally:
        manager.close()
        selector.close()


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
