"""The handlers of a consumer under AWS Lambda's event source of Kafka."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.consumer_suite import QUICK, TYPE
from tests.fast.messaging.test_consumer import InMemoryBus
from tests.outbox_records import outbox_record
from userservice_core.errors import EventRejectedError, ProgrammingError, UnavailableError
from userservice_core.infrastructure.messaging.cloudevents import headers_of
from userservice_core.infrastructure.messaging.consumer import EventConsumer
from userservice_core.infrastructure.messaging.lambda_events import lambda_kafka_handler
from userservice_core.ports.context import current_call

if TYPE_CHECKING:
    from userservice_core.ports.consuming import ConsumedEvent


class Context:
    """An invocation with some time left."""

    def __init__(self, seconds: float = 5.0) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left, always the same."""
        return int(self._seconds * 1000)


def _record(key: str, sequence: int, *, partition: int = 0, offset: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a record as the platform sends it."""
    event = outbox_record(key, sequence, topic="things")
    headers = [(name, TYPE.encode() if name == "ce_type" else value) for name, value in headers_of(event)]
    return {
        "topic": "things",
        "partition": partition,
        "offset": offset,
        "timestamp": 1_700_000_000_000,
        "timestampType": "CREATE_TIME",
        "key": base64.b64encode(key.encode()).decode(),
        "value": base64.b64encode(b'{"n": 1}').decode(),
        # Numbers of one byte, signed.
        "headers": [{name: [byte - 256 if byte > 127 else byte for byte in value]} for name, value in headers],
        **changes,
    }


def _batch(*records: dict[str, Any]) -> dict[str, Any]:
    by_partition: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_partition.setdefault(f"things-{record['partition']}", []).append(record)
    return {"eventSource": "aws:kafka", "bootstrapServers": "broker:9092", "records": by_partition}


@pytest.fixture
def bus() -> InMemoryBus:
    """For the inbox, the effects and the dead letters."""
    return InMemoryBus()


@pytest.fixture
def consumer(bus: InMemoryBus) -> EventConsumer:
    """One without handlers."""
    return EventConsumer(bus.source("g"), inbox=bus.inbox(), retries=QUICK)


def test_a_batch_is_handled(bus: InMemoryBus, consumer: EventConsumer) -> None:
    """In order, and when it is sent again, without effect."""
    consumer.on(TYPE)(bus.write)
    handler = lambda_kafka_handler(consumer)
    batch = _batch(_record("a", 1, offset=7), _record("b", 1, partition=1, offset=3), _record("a", 2, offset=8))

    answers = [handler(batch, Context()), handler(batch, Context())]

    assert answers == [{"batchItemFailures": []}] * 2
    assert bus.effects() == [("a", 1), ("a", 2), ("b", 1)]


def test_exactly_what_failed_comes_again(bus: InMemoryBus, consumer: EventConsumer) -> None:
    """With the later events of its key, which must not pass it; nothing of other keys."""
    is_away = True

    @consumer.on(TYPE)
    def handle(event: ConsumedEvent, transaction: Any) -> None:  # noqa: ANN401 - the inbox's own
        if is_away and (event.key, event.sequence) == ("k4", 1):
            raise UnavailableError
        bus.write(event, transaction)

    handler = lambda_kafka_handler(consumer)
    records = [_record(f"k{number}", 1, offset=number) for number in range(9)]
    batch = _batch(*records, _record("k4", 2, offset=9))

    answer = handler(batch, Context(2.2))
    is_away = False
    again = handler(_batch(records[4], _record("k4", 2, offset=9)), Context())

    assert answer == {
        "batchItemFailures": [
            {"itemIdentifier": {"partition": "things-0", "offset": 4}},
            {"itemIdentifier": {"partition": "things-0", "offset": 9}},
        ]
    }
    assert again == {"batchItemFailures": []}
    assert bus.effects()[8:] == [("k4", 1), ("k4", 2)]


def test_what_is_hopeless_goes_to_the_dead_letters(bus: InMemoryBus, consumer: EventConsumer) -> None:
    """As with a consumer that polls: after its attempts, or at once where it can never be read."""
    tries = []

    @consumer.on(TYPE)
    def handle(event: ConsumedEvent) -> None:
        tries.append(event)
        if event.key == "rejected":
            raise EventRejectedError
        raise ValueError("never")

    batch = _batch(
        _record("a", 1, offset=1),
        _record("rejected", 1, offset=2),
        _record("c", 1, offset=3, value=base64.b64encode(b"\xff").decode()),
        _record("d", 1, offset=4, headers=[{"ce_source": [-1]}]),
        _record("e", 1, offset=5, value=None),
        {**_record("f", 1, offset=6, headers=None), "key": None},
    )

    answer = lambda_kafka_handler(consumer)(batch, Context())

    assert answer == {"batchItemFailures": []}
    assert sorted(key for key, _, _ in bus.dead_letters()) == ["", "a", "c", "d", "rejected"]
    assert len(tries) == QUICK.attempts + 1


def test_an_invocation_without_time_does_nothing(bus: InMemoryBus, consumer: EventConsumer) -> None:
    """Rather than half of something."""
    consumer.on(TYPE)(bus.write)

    answer = lambda_kafka_handler(consumer)(_batch(_record("a", 1, offset=1)), Context(1.0))

    assert answer == {"batchItemFailures": [{"itemIdentifier": {"partition": "things-0", "offset": 1}}]}
    assert bus.effects() == []


def test_a_handler_knows_when_the_invocation_is_over(consumer: EventConsumer) -> None:
    """So that what it waits for does not use up the time in which the others are told to be done."""
    left: list[float | None] = []

    @consumer.on(TYPE)
    def handle(_event: ConsumedEvent) -> None:
        left.append(current_call().left_seconds())

    lambda_kafka_handler(consumer)(_batch(_record("a", 1, offset=1)), Context(5.0))

    (seconds,) = left
    assert seconds is not None
    assert seconds <= 3.0


def test_another_event_is_refused(consumer: EventConsumer) -> None:
    """The function was connected to something else."""
    with pytest.raises(ProgrammingError):
        lambda_kafka_handler(consumer)({"Records": []}, Context())
