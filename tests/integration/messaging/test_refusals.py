"""
What a broker refuses: a topic that is not there, an event that is too large, and us.

Each time the event is kept, others flow, tries become rare, and a metric says so; once the cause is gone, what was kept
goes out by itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs
import psycopg
import pytest
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ConfigResource,
    ConfigResourceType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from tests.integration.messaging.outboxes import wait_until, waiting, write
from tests.outbox_records import outbox_record
from tests.servers.kafka import SECURE_PASSWORD, SECURE_USER
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.messaging import relay as relay_module
from userservice_core.infrastructure.messaging.confluent_publisher import ConfluentEventPublisher
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher
from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
from userservice_core.infrastructure.messaging.lines import Line
from userservice_core.infrastructure.messaging.relay import Relay
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.integration.messaging.topics import Topics
    from tests.servers.kafka import KafkaBroker
    from userservice_core.infrastructure.postgres.database import Database

_Kind = type[KafkaEventPublisher | ConfluentEventPublisher]
_OTHERS: Final = 5
_PAUSES_OF_A_TOPIC: Final = (1.0, 2.0, 4.0, 8.0)
_PAUSES_OF_THE_BUS: Final = (0.1, 0.2, 0.4, 0.8)

pytestmark = [
    pytest.mark.usefixtures("refused_connections"),
    # The library leaves sockets that were refused to the garbage collector, which comes by at any time.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=[KafkaEventPublisher, ConfluentEventPublisher], ids=["kafka-python", "confluent-kafka"])
def kind(request: pytest.FixtureRequest) -> _Kind:
    """Either client."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def admin(kafka_broker: KafkaBroker) -> Iterator[KafkaAdminClient]:
    """Whoever runs the broker."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers)) as opened:
        yield opened


@attrs.define
class _Relaying:
    """A relay at work, and what its metrics say."""

    metrics: InMemoryMetrics
    observer: psycopg.Connection
    began: float = attrs.Factory(time.monotonic)

    @property
    def failed(self) -> int:
        """How often it tried in vain."""
        return self.metrics.counts["relay_bus", "failed"]

    def level(self, what: str) -> float:
        """Return a level as of the last time it was measured."""
        return self.metrics.gauges.get(what, 0.0)

    def require_rare(self, pauses: Sequence[float]) -> None:
        """Fail if it tried more often than with *pauses* in between, of which the last one is repeated."""
        failed, seconds = self.failed, time.monotonic() - self.began
        expected = [*pauses, *[pauses[-1]] * failed][: failed - 1]
        assert seconds >= sum(expected), f"{failed} tries in {seconds:.1f} s"

    def let_others_pass(self, topic: str) -> None:
        """Write events of another topic, each after the one before has gone out; what was there before stays."""
        kept = waiting(self.observer)
        for number in range(1, _OTHERS + 1):
            write(self.observer, outbox_record("other", number, topic=topic))
            wait_until(lambda: waiting(self.observer) == kept)


@pytest.fixture
def relaying(
    pool: Database, observer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> Callable[[KafkaEventPublisher | ConfluentEventPublisher], contextlib.AbstractContextManager[_Relaying]]:
    """Runs a relay for a block, which measures what waits each second."""
    monkeypatch.setattr(relay_module, "_MEASURE_SECONDS", 0.5)

    @contextlib.contextmanager
    def run(publisher: KafkaEventPublisher | ConfluentEventPublisher) -> Iterator[_Relaying]:
        metrics, stop = InMemoryMetrics(), threading.Event()
        lines = [Line(name="bus", publisher=publisher)]
        relay = Relay(PostgresOutboxStore(pool), lines, None, relay_id="r", metrics=metrics)
        thread = threading.Thread(target=relay.run, args=(stop,))
        thread.start()
        try:
            yield _Relaying(metrics, observer)
        finally:
            stop.set()
            thread.join()

    return run


Running = Callable[[KafkaEventPublisher | ConfluentEventPublisher], contextlib.AbstractContextManager[_Relaying]]


def test_a_topic_that_is_missing_is_waited_for(
    kafka_broker: KafkaBroker, topics: Topics, kind: _Kind, relaying: Running, observer: psycopg.Connection
) -> None:
    """It is tried after one second, two, four and so on; what waits for it goes out when somebody has made it."""
    write(observer, *(outbox_record("a", number, topic=topics.name("missing")) for number in (1, 2)))
    publisher = kind([kafka_broker.bootstrap_servers], client_id="test", connect_patience_seconds=0.5)
    with relaying(publisher) as relay:
        wait_until(lambda: relay.failed >= 1)
        relay.let_others_pass(topics.create("there"))
        wait_until(lambda: relay.failed >= 2)
        wait_until(lambda: relay.level("outbox_records") == 2)
        oldest = relay.level("outbox_oldest_age_seconds")
        wait_until(lambda: relay.level("outbox_oldest_age_seconds") > oldest)
        relay.require_rare(_PAUSES_OF_A_TOPIC)
        topics.create("missing")
        wait_until(lambda: waiting(observer) == 0)

    assert [arrival.sequence for arrival in topics.arrivals("missing")] == [1, 2]
    assert len(topics.arrivals("there")) == _OTHERS


def test_an_event_that_is_too_large_is_set_aside(
    kafka_broker: KafkaBroker, topics: Topics, kind: _Kind, relaying: Running, observer: psycopg.Connection
) -> None:
    """Once, and told; its key waits behind it, other keys of the topic do not."""
    name = topics.create(max_message_bytes="2000")
    large = b'"%s"' % (b"x" * 4_000)
    write(observer, outbox_record("a", 1, topic=name, payload=large), outbox_record("a", 2, topic=name))
    with relaying(kind([kafka_broker.bootstrap_servers], client_id="test")) as relay:
        wait_until(lambda: relay.metrics.counts["relay_bus", "parked"] == 1)
        relay.let_others_pass(name)
        wait_until(lambda: relay.level("outbox_parked") == 1)

    assert (relay.failed, relay.metrics.counts["relay_bus", "parked"]) == (0, 1)
    assert [arrival.key for arrival in topics.arrivals()] == ["other"] * _OTHERS
    assert waiting(observer) == 1


def test_a_topic_that_is_forbidden_holds_up_no_other(  # noqa: PLR0917 - fixtures
    kafka_broker: KafkaBroker,
    topics: Topics,
    kind: _Kind,
    relaying: Running,
    observer: psycopg.Connection,
    admin: KafkaAdminClient,
) -> None:
    """Where a right to write was taken away, what is written for it waits until it is given back."""
    name, other = topics.create(), topics.create("other")
    security = KafkaSecurity(
        protocol="SASL_SSL",
        ca_file=kafka_broker.certificates / "ca.pem",
        mechanism="PLAIN",
        username=SECURE_USER,
        password=SECURE_PASSWORD,
    )
    what = (f"User:{SECURE_USER}", "*", ACLOperation.WRITE, ACLPermissionType.DENY)
    pattern = ResourcePattern(ResourceType.TOPIC, name)
    write(observer, outbox_record("a", 1, topic=name))
    publisher = kind([kafka_broker.secured()], client_id="test", connect_patience_seconds=2, security=security)
    with relaying(publisher) as relay:
        wait_until(lambda: waiting(observer) == 0)
        admin.create_acls([ACL(*what, pattern)])
        try:
            number = _write_until_refused(relay, name)
            relay.began = time.monotonic()
            relay.let_others_pass(other)
            wait_until(lambda: relay.failed >= 2)
            relay.require_rare(_PAUSES_OF_A_TOPIC)
        finally:
            admin.delete_acls([ACLFilter(*what, pattern)])
        wait_until(lambda: waiting(observer) == 0)

    assert [arrival.sequence for arrival in topics.arrivals()] == list(range(1, number + 1))
    assert len(topics.arrivals("other")) == _OTHERS


def _write_until_refused(relay: _Relaying, topic: str) -> int:
    """Write events until the broker has heard of the prohibition; return the number of the last one."""
    number = 1
    while not relay.failed:
        number += 1
        write(relay.observer, outbox_record("a", number, topic=topic))
        wait_until(lambda: relay.failed > 0 or waiting(relay.observer) == 0)
    return number


def test_whoever_is_removed_from_the_brokers_users_keeps_what_waits(
    kafka_broker: KafkaBroker, topics: Topics, relaying: Running, observer: psycopg.Connection, admin: KafkaAdminClient
) -> None:
    """A relay that starts then tries about once a second, and goes on when it is let in again."""
    name, user = topics.create(), f"relay-{uuid.uuid4().hex}"
    mechanism = ScramMechanism.SCRAM_SHA_256
    known = UserScramCredentialUpsertion(user, mechanism, SECURE_PASSWORD)
    security = KafkaSecurity(
        protocol="SASL_SSL",
        ca_file=kafka_broker.certificates / "ca.pem",
        mechanism="SCRAM-SHA-256",
        username=user,
        password=SECURE_PASSWORD,
    )

    def publisher() -> KafkaEventPublisher:
        servers = [kafka_broker.secured()]
        return KafkaEventPublisher(servers, client_id="test", connect_patience_seconds=1, security=security)

    admin.alter_user_scram_credentials([known])
    write(observer, outbox_record("a", 1, topic=name))
    with relaying(publisher()):
        wait_until(lambda: waiting(observer) == 0)
    admin.alter_user_scram_credentials([UserScramCredentialDeletion(user, mechanism)])
    write(observer, outbox_record("a", 2, topic=name))
    with relaying(publisher()) as relay:
        wait_until(lambda: relay.failed >= 3)
        relay.require_rare(_PAUSES_OF_THE_BUS)
        wait_until(lambda: relay.level("outbox_records") == 1)
        admin.alter_user_scram_credentials([known])
        wait_until(lambda: waiting(observer) == 0)

    assert [arrival.sequence for arrival in topics.arrivals()] == [1, 2]


def test_a_certificate_that_ran_out_is_waited_for_until_it_is_renewed(
    kafka_broker: KafkaBroker, topics: Topics, relaying: Running, observer: psycopg.Connection, admin: KafkaAdminClient
) -> None:
    """The broker's own: nothing is sent to whoever shows it, and with the new one everything is."""
    name, folder = topics.create(), kafka_broker.certificates
    write(observer, outbox_record("a", 1, topic=name))
    publisher = KafkaEventPublisher(
        [kafka_broker.secured("EXPIRED")],
        client_id="test",
        connect_patience_seconds=1,
        security=KafkaSecurity(protocol="SSL", ca_file=folder / "ca.pem"),
    )
    with relaying(publisher) as relay, contextlib.ExitStack() as undone:
        wait_until(lambda: relay.failed >= 3)
        relay.require_rare(_PAUSES_OF_THE_BUS)
        wait_until(lambda: relay.level("outbox_records") == 1)
        shown = {"listener.name.expired.ssl.keystore.location": str(folder / "renewed.pem")}
        listener = ConfigResource(ConfigResourceType.BROKER, "1", shown)
        assert admin.alter_configs([listener], raise_on_unknown=False) == {"broker": {"1": "OK"}}
        undone.callback(admin.reset_configs, [listener], raise_on_unknown=False)
        wait_until(lambda: waiting(observer) == 0)

    assert [arrival.sequence for arrival in topics.arrivals()] == [1]
