"""The handlers of a consumer as an AWS Lambda function that an event source of Kafka calls."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final, Protocol

from userservice_core.errors import ProgrammingError
from userservice_core.infrastructure.messaging.kafka_records import arrival_of, raw_record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from userservice_core.infrastructure.messaging.consumer import EventConsumer
    from userservice_core.ports.consuming import Arrival

_SOURCES: Final = frozenset({"aws:kafka", "SelfManagedKafka"})
_SECONDS_TO_ANSWER: Final = 2.0
"""Kept back from the invocation's time, so that what was done is told and not done again."""


# Bytes of headers are sent as numbers, signed ones as Java has them.
_BYTE: Final = 256


class LambdaContext(Protocol):
    """What the platform tells of an invocation, as far as it is used here."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the platform ends the invocation."""
        ...


def lambda_kafka_handler(
    consumer: EventConsumer, *, foreign_topics: Collection[str] = ()
) -> Callable[[Mapping[str, Any], LambdaContext], dict[str, Any]]:
    """
    Return a function for AWS Lambda that has the handlers of *consumer* handle what Amazon MSK or another Kafka sends.

    The event source mapping has `ReportBatchItemFailures` among its function response types: what did not succeed is
    told, and comes again. After its attempts an event goes to the dead letters, as with a consumer of one's own.

    Args:
        foreign_topics: Topics whose events do not count the events of a key; as for the source.
    """

    def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        """
        Handle a batch.

        Raises:
            ProgrammingError: If *event* carries none; the platform reports it as the function's error.
        """
        arrivals = [_arrival(record, foreign_topics) for record in _records(event)]
        seconds = context.get_remaining_time_in_millis() / 1_000 - _SECONDS_TO_ANSWER
        failed = consumer.handle(arrivals, seconds=seconds)
        return {
            "batchItemFailures": [
                {"itemIdentifier": {"partition": arrival.partition, "offset": arrival.position}} for arrival in failed
            ]
        }

    return handler


def _records(event: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if event.get("eventSource") not in _SOURCES:
        raise ProgrammingError("The event is no batch of a Kafka event source.")
    for records in (event.get("records") or {}).values():
        yield from records


def _arrival(record: Mapping[str, Any], foreign_topics: Collection[str]) -> Arrival:
    raw = raw_record(
        key=_bytes(record.get("key")),
        value=_bytes(record.get("value")),
        headers=[
            (name, bytes(byte % _BYTE for byte in value))
            for header in record.get("headers") or ()
            for name, value in header.items()
        ],
        timestamp_ms=record.get("timestamp") or 0,
    )
    topic = record["topic"]
    return arrival_of(
        topic=topic,
        partition=record["partition"],
        offset=record["offset"],
        raw=raw,
        is_sequenced=topic not in foreign_topics,
    )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
