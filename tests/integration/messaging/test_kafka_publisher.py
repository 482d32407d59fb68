"""Publishing to a real broker: what arrives, and what is told of what does not."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from tests import murmur2
from tests.e2e.processes import ROOT
from tests.integration.messaging.outboxes import wait_until
from tests.outbox_records import OCCURRED_AT, outbox_record
from tests.servers.process import free_port
from userservice_core.infrastructure.messaging.cloudevents import headers_of
from userservice_core.infrastructure.messaging.confluent_publisher import ConfluentEventPublisher
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher
from userservice_core.infrastructure.messaging.kafka_topics import DEFAULT_PARTITIONS, TopicSpec
from userservice_core.ports.publishing import Reach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.messaging.topics import Topics
    from tests.servers.kafka import KafkaBroker
    from userservice_core.ports.publishing import EventPublisher

# Of 24, for these keys: murmur2 & 0x7fffffff, modulo the number of partitions.
_PARTITIONS: Final = {
    "00000000-0000-7000-8000-000000000001": 8,
    "00000000-0000-7000-8000-000000000002": 16,
    "00000000-0000-7000-8000-000000000003": 12,
}


@pytest.fixture(params=[KafkaEventPublisher, ConfluentEventPublisher], ids=["kafka-python", "confluent-kafka"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Either client."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def publisher(kafka_broker: KafkaBroker, kind: Kind) -> Iterator[EventPublisher]:
    """A publisher that creates no topics, and gives up soon."""
    with contextlib.closing(
        kind([kafka_broker.bootstrap_servers], client_id="test", patience_seconds=10, connect_patience_seconds=1)
    ) as opened:
        yield opened


Kind = type[KafkaEventPublisher | ConfluentEventPublisher]


def _threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def test_an_event_arrives_whole_and_where_every_client_would_put_it(
    kafka_broker: KafkaBroker, topics: Topics, kind: Kind
) -> None:
    """Key, headers, value, time, and the partition; the topic is created with its 24 partitions."""
    records = [outbox_record(key, 1, topic=topics.name(), traceparent="00-1-2-01") for key in _PARTITIONS]
    publisher = kind([kafka_broker.bootstrap_servers], client_id="test", topics=[TopicSpec(name=topics.name())])

    with contextlib.closing(publisher):
        deliveries = publisher.publish(records)

    arrived = {arrival.key: arrival for arrival in topics.arrivals()}
    assert [delivery.error for delivery in deliveries] == [None] * len(records)
    assert {key: arrival.partition for key, arrival in arrived.items()} == _PARTITIONS
    for record in records:
        arrival = arrived[record.key]
        assert arrival.value == record.payload
        assert arrival.headers == {name: value.decode() for name, value in headers_of(record)}
        assert arrival.timestamp_ms == int(OCCURRED_AT.timestamp() * 1000)
    assert DEFAULT_PARTITIONS == 24


def test_a_thousand_keys_go_where_java_puts_them(publisher: EventPublisher, topics: Topics) -> None:
    """So either client can take over from the other, and every consumer finds a key where it was."""
    name = topics.create(partitions=murmur2.PARTITIONS)
    keys = murmur2.golden()

    deliveries = publisher.publish([outbox_record(key, 1, topic=name) for key in keys])

    assert all(delivery.error is None for delivery in deliveries)
    assert {arrival.key: arrival.partition for arrival in topics.arrivals()} == keys


def test_a_topic_may_have_another_name(kafka_broker: KafkaBroker, topics: Topics, kind: Kind) -> None:
    """Its records go there, and say what they said."""
    topics.create("users.v2")
    renamed = {topics.name(): topics.name("users.v2")}
    with contextlib.closing(kind([kafka_broker.bootstrap_servers], client_id="test", topic_names=renamed)) as publisher:
        (delivery,) = publisher.publish([outbox_record("a", 1, topic=topics.name())])

    assert (delivery.error, delivery.record.topic) == (None, topics.name())
    assert [arrival.key for arrival in topics.arrivals("users.v2")] == ["a"]
    assert not topics.exists()


def test_a_wave_arrives_in_order(publisher: EventPublisher, topics: Topics) -> None:
    """Of each key, however many share the partitions."""
    name = topics.create()
    records = [outbox_record(f"k{key}", number, topic=name) for number in range(1, 101) for key in range(20)]

    deliveries = publisher.publish(records)

    assert all(delivery.error is None for delivery in deliveries)
    arrivals = topics.arrivals()
    for key in {record.key for record in records}:
        assert [arrival.sequence for arrival in arrivals if arrival.key == key] == list(range(1, 101))


def test_a_topic_that_is_missing_fails_alone(publisher: EventPublisher, topics: Topics) -> None:
    """Once a wave, not once a record; the other topics of the wave arrive."""
    name = topics.create()
    missing = [outbox_record(key, 1, topic=topics.name("missing")) for key in "abc"]
    began = time.monotonic()

    deliveries = publisher.publish([*missing, outbox_record("a", 1, topic=name)])

    assert time.monotonic() - began < 3
    assert [(delivery.error is None, delivery.retriable, delivery.reach) for delivery in deliveries] == [
        *[(False, True, Reach.TOPIC)] * 3,
        (True, True, Reach.BUS),
    ]
    assert [arrival.key for arrival in topics.arrivals()] == ["a"]


def test_a_record_that_the_broker_finds_too_large_is_refused_for_good(
    publisher: EventPublisher, topics: Topics
) -> None:
    """Later ones of its key are told to wait behind it; other keys arrive."""
    name = topics.create(max_message_bytes="2000")
    large = outbox_record("a", 1, topic=name, payload=b'"' + b"x" * 4000 + b'"')

    (delivery,) = publisher.publish([large])
    others = publisher.publish([large, outbox_record("a", 2, topic=name), outbox_record("b", 1, topic=name)])

    assert (delivery.error, delivery.retriable) == ("the event is larger than the broker takes", False)
    assert [(other.error is None, other.retriable) for other in others] == [(False, False), (False, True), (True, True)]


def test_a_record_that_no_request_can_hold_is_refused_for_good(publisher: EventPublisher, topics: Topics) -> None:
    """The client finds that out by itself, and sends the rest."""
    name = topics.create()
    huge = outbox_record("a", 1, topic=name, payload=b"x" * 2_000_000)

    deliveries = publisher.publish([huge, outbox_record("a", 2, topic=name), outbox_record("b", 1, topic=name)])

    assert [(delivery.error is None, delivery.retriable) for delivery in deliveries] == [
        (False, False),
        (False, True),
        (True, True),
    ]
    assert [arrival.key for arrival in topics.arrivals()] == ["b"]


def test_what_was_sent_before_a_refused_record_has_arrived(publisher: EventPublisher, topics: Topics) -> None:
    """It is acknowledged, and so not sent again."""
    name = topics.create()
    huge = outbox_record("a", 2, topic=name, payload=b"x" * 2_000_000)

    first, refused = publisher.publish([outbox_record("a", 1, topic=name), huge])

    assert (first.error, refused.retriable) == (None, False)
    assert [arrival.key for arrival in topics.arrivals()] == ["a"]


_FORK: Final = """
import os, sys
from tests.outbox_records import outbox_record
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher

servers, topic = sys.argv[1:]
publisher = KafkaEventPublisher([servers], client_id="forks", patience_seconds=2)
told = lambda *keys: [d.error is None for d in publisher.publish([outbox_record(key, 1, topic=topic) for key in keys])]
before = told("before")
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, repr([told("child", "twin"), told("child", "twin")]).encode())
    os._exit(0)
child = os.read(read, 1000).decode()
os.wait()
print(before, child, told("after"))
os._exit(0)
"""


def test_a_process_that_forks_loses_nothing(kafka_broker: KafkaBroker, topics: Topics) -> None:
    """
    What a producer in a forked process holds is sent by nobody: it is told as not sent, and sent when it comes again.

    A process that ends right after it was told so has nothing left to send.
    """
    name = topics.create()
    script = [sys.executable, "-W", "ignore", "-c", _FORK, kafka_broker.bootstrap_servers, name]
    done = subprocess.run(script, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == "[True] [[False, False], [True, True]] [True]", done.stderr
    assert sorted(arrival.key for arrival in topics.arrivals()) == ["after", "before", "child", "twin"]


@pytest.mark.asvs("16.5.2")
def test_a_broker_that_is_away_is_told_and_leaves_nothing_behind(kind: Kind) -> None:
    """No thread goes on trying to send what somebody else may have sent by then."""
    publisher = kind(
        [f"127.0.0.1:{free_port()}"], client_id="test", topics=[TopicSpec(name="t")], connect_patience_seconds=0.5
    )
    before = _threads()

    deliveries = publisher.publish([outbox_record("a", 1), outbox_record("a", 2)])

    assert [(delivery.error is None, delivery.retriable, delivery.reach) for delivery in deliveries] == [
        (False, True, Reach.BUS)
    ] * 2
    assert _threads() <= before


@pytest.mark.exclusive
def test_what_a_frozen_broker_did_not_acknowledge_is_discarded(
    kafka_broker: KafkaBroker, topics: Topics, kind: Kind
) -> None:
    """The producer dies with its buffer: once the broker thaws, nothing of the old wave is sent any more."""
    name = topics.create(partitions=1)
    process = kafka_broker.process
    assert process is not None
    impatient = kind([kafka_broker.bootstrap_servers], client_id="test", patience_seconds=1)
    patient = kind([kafka_broker.bootstrap_servers], client_id="test", patience_seconds=30)
    with contextlib.closing(impatient), contextlib.closing(patient):
        impatient.publish([outbox_record("a", 1, topic=name)])
        before = psutil.Process().num_threads()
        process.suspend()
        try:
            # Far more than is on the wire at once, so that most of it is still in the buffer.
            wave = [outbox_record("a", number, topic=name, payload=b"x" * 100_000) for number in range(2, 42)]
            deliveries = impatient.publish(wave)
            wait_until(lambda: psutil.Process().num_threads() < before)
        finally:
            process.resume()
        again = patient.publish(wave)

    assert all(delivery.error is not None and delivery.retriable for delivery in deliveries)
    assert [delivery.error for delivery in again] == [None] * len(wave)
    sequences = [arrival.sequence for arrival in topics.arrivals()]
    assert list(dict.fromkeys(sequences)) == list(range(1, 42))
    assert len(sequences) - 41 < 20
