"""`kill -9` between any two steps: a registration leaves nothing, or the user and their event, once."""

from __future__ import annotations

import collections
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from kafka import KafkaConsumer

from tests.e2e.processes import ROOT, Process, eventually, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.servers.kafka import KafkaBroker

_BEFORE_COMMIT: Final = (
    "http.received",
    "register.validated",
    "register.hashed",
    "uow.begun",
    "uow.flushing",
    "uow.before-commit",
)
_AFTER_COMMIT: Final = ("uow.committed", "register.stored", "http.answering")
_OF_THE_RELAY: Final = ("relay.read", "relay.published", "relay.deleted", "mail.unsealed", "mail.sent")
_ROUNDS: Final = 8


class Crashes:
    """Runs jobs in processes that die."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._log_path = log
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.crashing"],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def run(self, **job: str) -> int:
        """Run one job, and return how its process ended: the exit code, or minus the signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        ended: int = json.loads(self._process.stdout.readline())["exit"]
        return ended

    def require_killed(self, **job: str) -> None:
        """Run one job, and fail if its process ended in any other way than by its failpoint."""
        ended = self.run(**job)
        assert ended == -signal.SIGKILL, f"{job} ended with {ended}: {self._log_path.read_text()[-2000:]}"

    def lines(self) -> list[str]:
        """Return what the processes that died have printed."""
        return self._log_path.read_text().splitlines()

    def close(self) -> None:
        """End the process that forks."""
        self._process.communicate(timeout=20)
        self._log.close()


@pytest.fixture
def environment(database: str, kafka_broker: KafkaBroker, tmp_path: Path) -> dict[str, str]:
    """An installation with a broker; its topics are its own."""
    prefix = f"kills-{database.rpartition('/')[2].partition('?')[0]}."
    kafka_broker.create_topics([f"{prefix}{topic}" for topic in ("users", "auth", "access")])
    return settings_for(
        database,
        tmp_path,
        KAFKA_BOOTSTRAP_SERVERS=kafka_broker.bootstrap_servers,
        TOPIC_PREFIX=prefix,
        ARGON2_MEMORY_KIB="8",
        ARGON2_TIME_COST="1",
    )


@pytest.fixture
def crashes(environment: dict[str, str], tmp_path: Path) -> Iterator[Crashes]:
    """Two forking processes' worth of crashes, one after the other."""
    running = Crashes(environment, tmp_path / "crashes.log")
    yield running
    running.close()


@pytest.mark.asvs("2.3.3")
def test_no_kill_tears_a_registration_from_its_event(
    crashes: Crashes, environment: dict[str, str], database: str, kafka_broker: KafkaBroker
) -> None:
    """
    Before COMMIT no user and no event remain, after it both; whatever kills the relay, each event is there in the end.

    Seventy-two registrations are killed, then relays at each of their steps; consumers see each event under one id.
    """
    survivors: set[str] = set()
    casualties: set[str] = set()
    for point in (*_BEFORE_COMMIT, *_AFTER_COMMIT):
        for number in range(_ROUNDS):
            email = f"{point}-{number}@example.com".replace("_", "-")
            assert crashes.run(task="register", email=email, failpoint=f"{point}:1") == -signal.SIGKILL, point
            (survivors if point in _AFTER_COMMIT else casualties).add(email)
    for point in _OF_THE_RELAY:
        # Something to relay for each of them, whatever the one before it still did.
        email = f"{point}@example.com"
        assert crashes.run(task="register", email=email, failpoint="none:1") == 201
        survivors.add(email)
        crashes.require_killed(task="relay", failpoint=f"{point}:1")

    with Process("relay", "--relay-id", "crashing", environment=environment) as relay:
        eventually(lambda: _waiting(database) == 0, what="the outbox to be empty")
        printed = [*crashes.lines(), *relay.lines]
        assert relay.stop() == 0

    assert len(survivors) + len(casualties) >= 60
    assert _stored(database) == sorted(survivors)
    events = _published(kafka_broker, f"{environment['USERSERVICE_TOPIC_PREFIX']}users")
    ids_by_email = collections.defaultdict(set)
    for event_id, data in events:
        ids_by_email[data["email"]].add(event_id)
    assert {email: len(ids) for email, ids in ids_by_email.items()} == dict.fromkeys(survivors, 1)
    # A relay that is killed once a mail was handed over has it handed over again: at least once, and to no one else.
    assert {json.loads(line)["to"] for line in printed if '"verify_email"' in line} == survivors


def _stored(database: str) -> list[str]:
    with psycopg.connect(database) as connection:
        return sorted(email for (email,) in connection.execute("SELECT email FROM users"))


def _waiting(database: str) -> int:
    with psycopg.connect(database) as connection:
        [count] = connection.execute("SELECT count(*) FROM outbox").fetchone() or (0,)
        return int(count)


def _published(broker: KafkaBroker, topic: str) -> Sequence[tuple[str, dict[str, Any]]]:
    """Return id and data of every record of *topic*."""
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=broker.bootstrap_servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=3_000,
    )
    try:
        return [(dict(record.headers)["ce_id"].decode(), json.loads(record.value)) for record in consumer]
    finally:
        consumer.close()
