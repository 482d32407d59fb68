"""Making clients of confluent-kafka, and saying what was wrong where no broker takes us."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException

from userservice_core.errors import BusUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity

_TRY_SECONDS: Final = 0.25
# Differs each time, so that the same would not be known for the same.
_TIMING: Final = re.compile(r" \(after \d+ms in state \w+\)")
_HOPELESS: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001 - its way to name its own
_OF_CONNECTIONS: Final = _HOPELESS | {
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
}


class Client(Protocol):
    """What every client can do."""

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:  # noqa: ANN401 - as the library has it
        """Ask a broker."""
        ...

    def poll(self, timeout: float = -1) -> Any:  # noqa: ANN401 - as the library has it
        """Have what was told meanwhile taken."""
        ...


class Failures:
    """
    The last thing that the library told of its connections, which it goes on to open for ever.

    Give :meth:`tell` to the client as `error_cb`.
    """

    def __init__(self) -> None:
        self.last: KafkaError | None = None

    def tell(self, error: KafkaError) -> None:
        """Take note."""
        # That none is left says less than what was wrong with the last one.
        if self.last is None or error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self.last = error

    def taken(self) -> KafkaError | None:
        """Return what was told of connections since the last call."""
        last, self.last = self.last, None
        return last if last is not None and last.code() in _OF_CONNECTIONS else None


def settings_of(
    bootstrap_servers: Sequence[str],
    security: KafkaSecurity,
    failures: Failures,
    **further: Any,  # noqa: ANN401 - the library's own
) -> dict[str, Any]:
    """Return the settings of a client; *further* ones with underscores for dots."""
    return {
        "bootstrap.servers": ",".join(bootstrap_servers),
        "reconnect.backoff.max.ms": 500,
        # What goes wrong is told by whoever uses it, and would be written to standard error past every format.
        "log_level": 0,
        "error_cb": failures.tell,
        **security.for_librdkafka(),
        **{name.replace("_", "."): value for name, value in further.items()},
    }


def require_connection(bootstrap_servers: Sequence[str], security: KafkaSecurity, *, patience_seconds: float) -> None:
    """
    Look whether any broker can be spoken to, since the library says of TLS only that it failed.

    Raises:
        BusUnavailableError: If none can; it says why the last one cannot.
    """
    failure = BusUnavailableError()
    for server in bootstrap_servers:
        try:
            security.shake_hands(server, patience_seconds=patience_seconds)
        except BusUnavailableError as error:
            failure = error
        else:
            return
    raise failure


def require_broker(client: Client, failures: Failures, *, patience_seconds: float) -> None:
    """
    Wait for a broker to answer, and no longer once it is plain that none takes us.

    Raises:
        KafkaException: If none does; it says why.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            client.list_topics("", timeout=min(_TRY_SECONDS, patience_seconds))
        except KafkaException as error:
            client.poll(0)
            told = failures.last
            if told is not None and (told.code() in _HOPELESS or time.monotonic() >= deadline):
                raise KafkaException(told) from error
            if time.monotonic() >= deadline:
                raise
        else:
            return


def reason_of(error: KafkaError | KafkaException) -> str:
    """Return what was wrong in one line: the library's name of it, and its words."""
    told = error.args[0] if isinstance(error, KafkaException) else error
    if not isinstance(told, KafkaError):
        return " ".join(str(told).split())
    return f"{told.name()}: {_TIMING.sub('', ' '.join(told.str().split()))}"
