"""A relay as a function of AWS Lambda, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.integration.messaging.outboxes import waiting, write
from tests.outbox_records import outbox_record

if TYPE_CHECKING:
    import psycopg

    from tests.integration.messaging.topics import Topics

_ROOT: Final = Path(__file__).parents[3]
_CALLS: Final = """
import json, threading
from adapters.lambda_handler.relay_entry import handler

class Context:
    def get_remaining_time_in_millis(self):
        return 60_000

for call in range(2):
    told = handler({"source": "aws.scheduler"}, Context())
    print(json.dumps([told, sorted(thread.name for thread in threading.enumerate())]))
"""


def test_a_call_publishes_what_waits_and_is_over(
    database: str, observer: psycopg.Connection, topics: Topics, tmp_path: Path
) -> None:
    """In order, with no thread of the relay left and the lanes given back; a further call finds nothing."""
    with observer.transaction():
        for number in range(1, 21):
            write(
                observer,
                outbox_record(f"k{number % 3}", number, topic=topics.create() if number == 1 else topics.name()),
            )
    environment = {
        **os.environ,
        "USERSERVICE_PROFILE": "test",
        "USERSERVICE_ISSUER": "https://accounts.example.com",
        "USERSERVICE_DATABASE_URL": database,
        "USERSERVICE_DATA_DIR": str(tmp_path),
        "USERSERVICE_KAFKA_BOOTSTRAP_SERVERS": topics.broker.bootstrap_servers,
        "USERSERVICE_KAFKA_CLIENT": "confluent-kafka",
        "USERSERVICE_TOPIC_PREFIX": topics.prefix,
        "USERSERVICE_KAFKA_TOPIC_PARTITIONS": "1",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2030/01/01/[$LATEST]0123",
    }

    finished = subprocess.run(
        [sys.executable, "-c", _CALLS], env=environment, cwd=_ROOT, check=True, capture_output=True, timeout=60
    )

    nothing = {"waiting": 0, "oldestAgeSeconds": 0.0, "setAside": 0}
    # What guards statements may be frozen with them.
    threads = ["MainThread", "userservice-db-watchdog"]
    assert [json.loads(line) for line in finished.stdout.splitlines()] == [[nothing, threads]] * 2
    assert waiting(observer) == 0
    arrivals = topics.arrivals()
    for rest in range(3):
        sequences = [arrival.sequence for arrival in arrivals if arrival.key == f"k{rest}"]
        assert sequences == [number for number in range(1, 21) if number % 3 == rest]
    (leased,) = observer.execute("SELECT count(*) FROM outbox_lane WHERE expires_at > now()").fetchone() or (None,)
    assert leased == 0
