"""The service's own consumer on real buses: what others tell takes effect once, and each request has one receipt."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import psycopg
import pytest

from tests.consumer_suite import running, until
from tests.e2e.processes import settings_for
from tests.integration.postgres.building import new_user, register
from tests.received_events import bounce, erasure_request
from userservice_core.bootstrap import bootstrap_consumer
from userservice_core.config import Settings
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher
from userservice_core.infrastructure.messaging.own_consumer import own_group
from userservice_core.infrastructure.postgres.bus import PostgresEventGroup, PostgresEventPublisher
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.testing.samples import sample_user_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.integration.messaging.topics import Topics
    from tests.servers.kafka import KafkaBroker
    from userservice_core.bootstrap import ConsumerService
    from userservice_core.domain.users import User
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.publishing import OutboxRecord

_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class _Bus(Protocol):
    """A bus, and the settings of an installation that reads there."""

    settings: Settings

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Have the service get *records*, in their order within a key."""
        ...

    def dead_letters(self) -> int:
        """Return how many were put aside."""
        ...


class _PostgresBus:
    def __init__(self, database: str, pool: Database, data_dir: Path) -> None:
        self.settings = Settings.from_environment(settings_for(database, data_dir))
        self._database = database
        self._publisher = PostgresEventPublisher(pool)
        PostgresEventGroup(pool, group=own_group("userservice.")).register()

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        assert all(delivery.error is None for delivery in self._publisher.publish(records))

    def dead_letters(self) -> int:
        return _count(self._database, "SELECT count(*) FROM bus_dead_letter")


class _KafkaBus:
    def __init__(self, database: str, topics: Topics, broker: KafkaBroker, data_dir: Path, *, client: str) -> None:
        servers = broker.bootstrap_servers
        own = {"KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_CLIENT": client, "TOPIC_PREFIX": topics.prefix}
        self.settings = Settings.from_environment(settings_for(database, data_dir, **own))
        self._topics = topics
        for topic in ("bounces", "erasure-requests"):
            topics.create(topic)
        self._publisher = KafkaEventPublisher([servers], client_id="privacy-office")

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        renamed = [
            attrs.evolve(each, topic=self._topics.name(each.topic.removeprefix("userservice."))) for each in records
        ]
        assert all(delivery.error is None for delivery in self._publisher.publish(renamed))

    def dead_letters(self) -> int:
        names = ("bounces.dlq", "erasure-requests.dlq")
        return sum(len(self._topics.arrivals(name)) for name in names if self._topics.exists(name))

    def close(self) -> None:
        self._publisher.close()


@pytest.fixture(params=["postgres", "kafka-python", "confluent-kafka"])
def bus(request: pytest.FixtureRequest, database: str, pool: Database, tmp_path: Path) -> Iterator[_Bus]:
    """Each of the buses, by each client, with an installation of its own."""
    if request.param == "postgres":
        yield _PostgresBus(database, pool, tmp_path)
        return
    broker, topics = request.getfixturevalue("kafka_broker"), request.getfixturevalue("topics")
    with contextlib.closing(_KafkaBus(database, topics, broker, tmp_path, client=request.param)) as kafka:
        yield kafka


@pytest.fixture
def service(bus: _Bus) -> Iterator[ConsumerService]:
    """The consumer as an installation has it."""
    with bootstrap_consumer(bus.settings, member_id="m") as wired:
        yield wired


def _count(database: str, query: str) -> int:
    with psycopg.connect(database) as connection:
        (count,) = connection.execute(query).fetchone() or (0,)
        return int(count)


def _receipts(database: str) -> list[dict[str, Any]]:
    """Return the receipts that wait in the outbox, each with the trace that caused it."""
    query = "SELECT payload::text, traceparent FROM outbox WHERE type = 'userservice.privacy.erasure_answered.v1'"
    with psycopg.connect(database) as connection:
        return [{**json.loads(payload), "trace": trace} for payload, trace in connection.execute(query)]


def _add_users(pool: Database, count: int) -> list[User]:
    uow = PostgresUnitOfWork(pool)
    return [uow.run(lambda transaction: register(transaction, new_user())) for _ in range(count)]


def test_each_request_has_one_effect_and_one_receipt(
    bus: _Bus, service: ConsumerService, database: str, pool: Database
) -> None:
    """Among repeats, records that nobody can read, and requests for nobody; the trace goes on in the receipt."""
    users = _add_users(pool, 12)
    erased, marked = users[:8], users[8:10]
    requests = [attrs.evolve(erasure_request(user.id), traceparent=_TRACE) for user in erased]
    requests.append(erasure_request(sample_user_id()))
    poison = [
        attrs.evolve(erasure_request("17")),
        attrs.evolve(bounce("nobody")),
        attrs.evolve(bounce(), payload=b"[]"),
    ]
    bounces = [bounce(user.email.address) for user in marked]

    with running(service.consumer):
        for _ in range(3):
            bus.publish([*requests[:4], *poison[:1], *bounces, *requests])
        bus.publish(poison[1:])
        until(lambda: len(_receipts(database)) >= len(requests), seconds=60)
        until(lambda: bus.dead_letters() >= 5, seconds=60)
        until(lambda: _count(database, _MARKED) == len(marked))

    receipts = _receipts(database)
    assert sorted(receipt["requestId"] for receipt in receipts) == sorted(str(request.id) for request in requests)
    assert sorted(receipt["outcome"] for receipt in receipts) == [*["erased"] * len(erased), "nothing-held"]
    assert {receipt["trace"] for receipt in receipts if receipt["outcome"] == "erased"} == {_TRACE}
    assert _count(database, "SELECT count(*) FROM users") == len(users) - len(erased)
    assert _count(database, "SELECT count(*) FROM outbox WHERE type = 'userservice.user.deleted.v1'") == len(erased)
    assert _count(database, "SELECT count(*) FROM outbox WHERE type = 'userservice.user.updated.v1'") == len(marked)


_MARKED = "SELECT count(*) FROM users WHERE email_undeliverable_since IS NOT NULL"
