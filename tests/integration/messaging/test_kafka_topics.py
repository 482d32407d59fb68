"""Topics that are made and looked at as the settings say, through either client."""

from __future__ import annotations

import contextlib
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs
import pytest
from click.testing import CliRunner
from kafka import KafkaAdminClient

from tests.integration.messaging.topics import Topics
from tests.outbox_records import outbox_record
from userservice_core.cli import main
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.kafka import KafkaBroker

_TOPICS = ("users", "auth", "access", "privacy", "bounces", "erasure-requests")


@pytest.fixture
def prefix() -> str:
    """Of topics that no other test uses."""
    return f"p{uuid.uuid4().hex}."


@pytest.fixture(params=["kafka-python", "confluent-kafka"])
def environment(request: pytest.FixtureRequest, kafka_broker: KafkaBroker, prefix: str) -> dict[str, str]:
    """Settings with few partitions."""
    return {
        "USERSERVICE_PROFILE": "test",
        "USERSERVICE_ISSUER": "https://accounts.example.com",
        "USERSERVICE_DATABASE_URL": "postgresql://nobody@127.0.0.1/none",
        "USERSERVICE_KAFKA_BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers,
        "USERSERVICE_KAFKA_CLIENT": request.param,
        "USERSERVICE_KAFKA_TOPIC_PARTITIONS": "2",
        "USERSERVICE_KAFKA_TOPIC_REPLICAS": "1",
        "USERSERVICE_KAFKA_TOPIC_MIN_INSYNC_REPLICAS": "1",
        "USERSERVICE_KAFKA_TOPIC_MAX_MESSAGE_BYTES": "262144",
        "USERSERVICE_EVENT_RETENTION_DAYS": "3",
        "USERSERVICE_TOPIC_PREFIX": prefix,
    }


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., tuple[int, list[str]]]:
    """Run the command, and return its exit code and lines."""

    def run(*arguments: str, **changes: str) -> tuple[int, list[str]]:
        changed = {f"USERSERVICE_{name.upper()}": value for name, value in changes.items()}
        result = CliRunner().invoke(main, ["topics", *arguments], env={**environment, **changed})
        return result.exit_code, result.output.splitlines()

    return run


@pytest.fixture
def admin(kafka_broker: KafkaBroker) -> Iterator[KafkaAdminClient]:
    """Beside the service."""
    client = KafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers)
    yield client
    client.close()


def test_what_is_missing_is_told_and_made(run: Callable[..., tuple[int, list[str]]], prefix: str) -> None:
    """Then everything is as the settings say, and to create it again changes nothing."""
    before, created, again, after = run("check"), run("create"), run("create"), run("check")

    names = [f"{prefix}{topic}" for topic in _TOPICS]
    assert before == (1, [f"{name} is missing" for name in names])
    assert created == (0, [f"{name} is created" for name in names])
    assert again == after == (0, [f"{name} is as the settings say" for name in names])


def test_topics_of_dead_letters_are_wanted_where_that_is_said(
    run: Callable[..., tuple[int, list[str]]], prefix: str
) -> None:
    """Otherwise consumers make them when they need them; those that exist are looked at in any case."""
    run("create")
    wanted = run("check", "--dead-letters")
    run("create", "--dead-letters")

    letters = [f"{prefix}{topic}.dlq" for topic in _TOPICS]
    assert (wanted[0], wanted[1][len(_TOPICS) :]) == (1, [f"{name} is missing" for name in letters])
    assert run("check")[1][len(_TOPICS) :] == [f"{name} is as the settings say" for name in letters]
    assert run("check", event_retention_days="2")[0] == 1


def test_what_differs_is_told_and_left_alone(run: Callable[..., tuple[int, list[str]]], prefix: str) -> None:
    """Above all the number of partitions: there is a way to more of them, and it is named."""
    run("create")
    other = {
        "kafka_topic_partitions": "4",
        "kafka_topic_replicas": "3",
        "kafka_topic_max_message_bytes": "524288",
        "event_retention_days": "1",
    }

    code, lines = run("create", **other)

    name = f"{prefix}users"
    assert code == 1
    assert lines[:4] == [
        f"{name} has 2 partitions: expected 4, by a new topic and never in place; see docs/how-to/raise-partitions.md",
        f"{name} has 1 replicas: expected 3",
        f"{name} has retention.ms=259200000: expected 86400000",
        f"{name} has max.message.bytes=262144: expected 524288",
    ]
    assert run("check")[0] == 0


def test_an_event_that_waited_longer_than_the_retention_is_kept(
    run: Callable[..., tuple[int, list[str]]], prefix: str, kafka_broker: KafkaBroker
) -> None:
    """Its time in the topic is that of its arrival: by its own the broker would delete it before anyone reads it."""
    run("create", event_retention_days="1")
    publisher = KafkaEventPublisher([kafka_broker.bootstrap_servers], client_id="late")
    late = attrs.evolve(outbox_record("a", 1, topic=f"{prefix}users"), occurred_at=datetime(2026, 1, 1, tzinfo=UTC))
    before = time.time() - 60
    with contextlib.closing(publisher):
        (delivery,) = publisher.publish([late])

    (arrival,) = Topics(kafka_broker, prefix).arrivals()

    assert delivery.error is None
    assert arrival.timestamp_ms / 1000 > before
    assert arrival.headers["ce_time"].startswith("2026-01-01")


def test_a_topic_that_would_keep_the_last_of_each_user_for_ever_is_told(
    run: Callable[..., tuple[int, list[str]]], prefix: str, admin: KafkaAdminClient
) -> None:
    """Compaction keeps personal data past every retention."""
    new = {"num_partitions": 2, "replication_factor": 1, "configs": {"cleanup.policy": "compact"}}
    admin.create_topics({f"{prefix}users": new}, wait_for_metadata=True)
    run("create")

    assert f"{prefix}users has cleanup.policy=compact: expected delete" in run("check")[1]


def test_a_topic_that_was_replaced_is_looked_at_by_its_name(
    run: Callable[..., tuple[int, list[str]]], prefix: str
) -> None:
    """The old one is nobody's any more."""
    renaming = f"{prefix}users={prefix}users.v2"

    lines = run("create", kafka_topic_names=renaming)[1]

    assert lines == [f"{prefix}{topic} is created" for topic in ("users.v2", *_TOPICS[1:])]


def test_a_broker_that_is_away_is_told(run: Callable[..., tuple[int, list[str]]]) -> None:
    """In one line."""
    code, lines = run("check", kafka_bootstrap_servers="127.0.0.1:1")

    assert (code, lines) == (
        1,
        ["userservice: bus-unavailable: 127.0.0.1:1 takes no connections: Connection refused."],
    )


def test_without_kafka_there_is_nothing_to_look_at(run: Callable[..., tuple[int, list[str]]]) -> None:
    """As with any setting that is missing."""
    code, lines = run("check", kafka_bootstrap_servers="")

    assert (code, lines) == (78, ["userservice: USERSERVICE_KAFKA_BOOTSTRAP_SERVERS is missing: there is no Kafka"])
