"""The service's own consumer as a function of AWS Lambda, which an event source mapping calls with batches."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from tests.e2e.processes import ROOT, settings_for
from tests.integration.postgres.building import new_user, register
from tests.received_events import bounce, erasure_request
from tests.servers.fixtures import started
from tests.servers.lambda_emulator import LambdaEmulator
from userservice_core.infrastructure.messaging.cloudevents import headers_of
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.messaging.topics import Topics
    from tests.servers.kafka import KafkaBroker
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.publishing import OutboxRecord

_SECONDS: Final = 7.0
"""That an invocation may take, two of which are kept back."""

_LOOP: Final = """
import json, sys
from adapters.lambda_handler.consumer import handler

class Context:
    def __init__(self, seconds):
        self._seconds = seconds

    def get_remaining_time_in_millis(self):
        return int(self._seconds * 1000)

for line in sys.stdin:
    event, seconds = json.loads(line)
    print(json.dumps(handler(event, Context(seconds))), flush=True)
"""


@pytest.fixture
def environment(database: str, kafka_broker: KafkaBroker, topics: Topics, tmp_path: Path) -> dict[str, str]:
    """An installation with the topics that are consumed, and those of its dead letters."""
    for topic in ("bounces", "bounces.dlq", "erasure-requests"):
        topics.create(topic)
    servers = kafka_broker.bootstrap_servers
    return settings_for(
        database, tmp_path, DATABASE_POOL_SIZE="1", KAFKA_BOOTSTRAP_SERVERS=servers, TOPIC_PREFIX=topics.prefix
    )


@pytest.fixture
def function(environment: dict[str, str], tmp_path: Path) -> Iterator[LambdaEmulator]:
    """The function, in the platform's own runtime."""
    emulator = LambdaEmulator(
        tmp_path / "lambda",
        handler="adapters.lambda_handler.consumer.handler",
        environment={name: value for name, value in environment.items() if name.startswith("USERSERVICE_")},
    )
    started(emulator.start)
    yield emulator
    emulator.stop()


@pytest.fixture
def invoke(environment: dict[str, str]) -> Iterator[Callable[[dict[str, Any], float], Any]]:
    """Calls the function, warm, in a process whose invocations have as much time as they are given."""
    with subprocess.Popen(
        [sys.executable, "-c", _LOOP],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        sent, answered = process.stdin, process.stdout

        def call(event: dict[str, Any], seconds: float) -> Any:  # noqa: ANN401 - JSON of any shape
            print(json.dumps([event, seconds]), file=sent, flush=True)
            return json.loads(answered.readline())

        yield call
        sent.close()


def _batch(source: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the mapping sends: records by partition."""
    by_partition: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_partition.setdefault(f"{record['topic']}-{record['partition']}", []).append(record)
    return {"eventSource": source, "bootstrapServers": "broker:9092", "records": by_partition}


def _record(event: OutboxRecord, topics: Topics, partition: int, offset: int) -> dict[str, Any]:
    return {
        "topic": topics.name(event.topic.removeprefix("userservice.")),
        "partition": partition,
        "offset": offset,
        "timestamp": 1_700_000_000_000,
        "timestampType": "CREATE_TIME",
        "key": base64.b64encode(event.key.encode()).decode(),
        "value": base64.b64encode(event.payload).decode(),
        # Numbers of one byte, signed.
        "headers": [
            {name: [byte - 256 if byte > 127 else byte for byte in value]} for name, value in headers_of(event)
        ],
    }


def _receipts(database: str) -> list[str]:
    """Return the requests that were answered, each as often as it was."""
    query = "SELECT payload->>'requestId' FROM outbox WHERE type = 'userservice.privacy.erasure_answered.v1'"
    with contextlib.closing(psycopg.connect(database)) as connection:
        return sorted(request for (request,) in connection.execute(query))


def test_exactly_what_could_not_be_done_is_told_and_comes_again(
    invoke: Callable[[dict[str, Any], float], Any], database: str, pool: Database, topics: Topics
) -> None:
    """
    A request whose user is locked until the invocation's time is nearly over, and the next one for that user.

    What is done before stays done, what nobody can read is among the dead letters, and what comes again, alone or with
    the whole batch, has one effect.
    """
    uow = PostgresUnitOfWork(pool)
    gone, last, locked = (uow.run(lambda transaction: register(transaction, new_user())) for _ in range(3))
    requests = [erasure_request(user.id) for user in (gone, last, locked, locked)]
    records = [
        {**_record(bounce(), topics, 0, 7), "value": base64.b64encode(b"\xff").decode()},
        _record(requests[0], topics, 1, 5),
        _record(requests[1], topics, 0, 10),
        _record(requests[2], topics, 0, 11),
        _record(requests[3], topics, 0, 12),
    ]
    with contextlib.closing(psycopg.connect(database)) as holder:
        holder.execute("SELECT FROM users WHERE user_id = %s FOR UPDATE", (locked.id,))
        answer = invoke(_batch("aws:kafka", records), _SECONDS)
        done_at_once = _receipts(database)
    again = invoke(_batch("aws:kafka", records[3:]), 60)
    whole = invoke(_batch("aws:kafka", records[1:]), 60)

    partition = topics.name("erasure-requests-0")
    assert answer == {
        "batchItemFailures": [
            {"itemIdentifier": {"partition": partition, "offset": 11}},
            {"itemIdentifier": {"partition": partition, "offset": 12}},
        ]
    }
    assert done_at_once == sorted(str(request.id) for request in requests[:2])
    assert again == whole == {"batchItemFailures": []}
    assert _receipts(database) == sorted(str(request.id) for request in requests)
    assert [arrival.value for arrival in topics.arrivals("bounces.dlq")] == [b"\xff"]


def test_the_runtime_takes_what_every_mapping_sends(
    function: LambdaEmulator, database: str, pool: Database, topics: Topics
) -> None:
    """One of Amazon MSK and one of a Kafka elsewhere; a batch of something else is an error, so that it is kept."""
    uow = PostgresUnitOfWork(pool)
    user = uow.run(lambda transaction: register(transaction, new_user()))
    request = erasure_request(user.id)

    answers = [
        function.invoke(_batch(source, [_record(request, topics, 0, 0)]))
        for source in ("aws:kafka", "SelfManagedKafka")
    ]
    refused = function.invoke({"Records": [{"eventSource": "aws:sqs"}]})

    assert answers == [{"batchItemFailures": []}] * 2
    assert _receipts(database) == [str(request.id)]
    assert refused["errorType"] == "ProgrammingError"
