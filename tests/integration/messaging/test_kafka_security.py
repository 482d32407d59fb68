"""TLS and SASL against a real broker: who is let in, and what is told when nobody is."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs
import pytest
import structlog

from tests.integration.messaging.outboxes import wait_until, waiting, write
from tests.outbox_records import outbox_record
from tests.servers.certificates import Authority
from tests.servers.kafka import SECURE_PASSWORD, SECURE_USER
from userservice_core.errors import BusUnavailableError
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.messaging.confluent_events import ConfluentEventSource
from userservice_core.infrastructure.messaging.confluent_publisher import ConfluentEventPublisher
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher
from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
from userservice_core.infrastructure.messaging.lines import Line
from userservice_core.infrastructure.messaging.relay import Relay
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
from userservice_core.infrastructure.security.bearer_tokens import TokenFile
from userservice_core.ports.bearer_tokens import BearerToken
from userservice_core.ports.publishing import Reach

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import psycopg

    from tests.integration.messaging.topics import Topics
    from tests.servers.kafka import KafkaBroker
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.publishing import Delivery, OutboxRecord

_DAY: Final = timedelta(days=1)


def _token(*, expires_at: datetime) -> str:
    """Return a token that the broker takes without a signature, as long as it has not expired."""
    claims = {"sub": "relay", "iat": int((expires_at - _DAY).timestamp()), "exp": int(expires_at.timestamp())}
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "none"}, claims))
    return f"{b'.'.join(parts).decode()}."


def _security(broker: KafkaBroker, mechanism: str, tmp_path: Path) -> KafkaSecurity:
    security = KafkaSecurity(protocol="SASL_SSL", ca_file=broker.certificates / "ca.pem", mechanism=mechanism)
    if mechanism == "OAUTHBEARER":
        file = tmp_path / "token"
        file.write_text(_token(expires_at=datetime.now(UTC) + _DAY))
        return attrs.evolve(security, token=TokenFile(file, now=lambda: datetime.now(UTC)))
    return attrs.evolve(security, username=SECURE_USER, password=SECURE_PASSWORD)


@attrs.frozen
class _Client:
    """One client library or the other."""

    publisher: type[KafkaEventPublisher | ConfluentEventPublisher]
    source: type[KafkaEventSource | ConfluentEventSource]


_KAFKA_PYTHON: Final = _Client(KafkaEventPublisher, KafkaEventSource)
_CONFLUENT: Final = _Client(ConfluentEventPublisher, ConfluentEventSource)


def _published(
    client: _Client, server: str, security: KafkaSecurity, records: Sequence[OutboxRecord]
) -> tuple[Delivery, ...]:
    publisher = client.publisher(
        [server], client_id="test", patience_seconds=10, connect_patience_seconds=2, security=security
    )
    with contextlib.closing(publisher):
        return publisher.publish(records)


def _consumed(client: _Client, server: str, security: KafkaSecurity, topic: str, *, count: int) -> list[str | None]:
    source = client.source([server], group=f"{topic}.g", topics=[topic], security=security)
    with contextlib.closing(source):
        keys: list[str | None] = []
        deadline = time.monotonic() + 20
        while len(keys) < count and time.monotonic() < deadline:
            for arrival in source.poll(timeout_seconds=0.5):
                keys.append(arrival.key)
                source.done(arrival)
                source.put_aside(arrival, cause="to see whether it can be", attempts=1)
        return keys


@pytest.mark.parametrize(
    ("client", "mechanism"),
    [
        (_KAFKA_PYTHON, "PLAIN"),
        (_KAFKA_PYTHON, "SCRAM-SHA-256"),
        (_KAFKA_PYTHON, "SCRAM-SHA-512"),
        (_KAFKA_PYTHON, "OAUTHBEARER"),
        (_CONFLUENT, "PLAIN"),
        (_CONFLUENT, "SCRAM-SHA-512"),
        (_CONFLUENT, "OAUTHBEARER"),
    ],
)
def test_whoever_the_broker_knows_publishes_and_consumes(
    kafka_broker: KafkaBroker, topics: Topics, client: _Client, mechanism: str, tmp_path: Path
) -> None:
    """Over TLS, by each way to say who speaks; the topics of dead letters are made and written the same way."""
    security = _security(kafka_broker, mechanism, tmp_path)
    topic = topics.create()
    server = kafka_broker.secured()

    deliveries = _published(client, server, security, [outbox_record(key, 1, topic=topic) for key in "ab"])

    assert [delivery.error for delivery in deliveries] == [None, None]
    assert sorted(map(str, _consumed(client, server, security, topic, count=2))) == ["a", "b"]
    assert sorted(arrival.key for arrival in topics.arrivals("users.dlq")) == ["a", "b"]


@pytest.mark.parametrize("client", [_KAFKA_PYTHON, _CONFLUENT])
def test_a_broker_may_want_a_certificate(kafka_broker: KafkaBroker, topics: Topics, client: _Client) -> None:
    """Ours is in a file with its encrypted key; without it we are told, and nothing is lost."""
    folder, record = kafka_broker.certificates, outbox_record("a", 1, topic=topics.create())
    without = KafkaSecurity(protocol="SSL", ca_file=folder / "ca.pem")
    security = attrs.evolve(
        without,
        certificate_file=folder / "client.pem",
        key_file=folder / "client.pem",
        key_password=SECURE_PASSWORD,
    )
    security.check()

    (refused,) = _published(client, kafka_broker.secured("MUTUAL"), without, [record])
    (delivery,) = _published(client, kafka_broker.secured("MUTUAL"), security, [record])

    assert (refused.error is None, refused.retriable, refused.reach) == (False, True, Reach.BUS)
    assert delivery.error is None


def _wrong(broker: KafkaBroker, name: str, tmp_path: Path) -> tuple[str, KafkaSecurity]:
    """Return where to connect and how, so that one thing is wrong."""
    plain = _security(broker, "PLAIN", tmp_path)
    match name:
        case "no token":
            token = TokenFile(tmp_path / "gone", now=lambda: datetime.now(UTC))
            return broker.secured(), attrs.evolve(_security(broker, "OAUTHBEARER", tmp_path), token=token)
        case "expired token":
            token_text = _token(expires_at=datetime.now(UTC) - _DAY)
            expired = attrs.evolve(
                _security(broker, "OAUTHBEARER", tmp_path),
                token=lambda: BearerToken(token_text, datetime.now(UTC) + _DAY),
            )
            return broker.secured(), expired
        case "untrusted":
            Authority.create(tmp_path, name="other")
            return broker.secured(), attrs.evolve(plain, ca_file=tmp_path / "other.pem")
        case "MISNAMED" | "EXPIRED":
            return broker.secured(name), KafkaSecurity(protocol="SSL", ca_file=plain.ca_file)
        case _:
            return broker.secured(), attrs.evolve(_security(broker, name, tmp_path), password="wrong-secret")


_NOT_LET_IN: Final = "(SaslAuthenticationFailedError|_AUTHENTICATION): "


@pytest.mark.parametrize(
    ("client", "name", "expected"),
    [
        (_KAFKA_PYTHON, "PLAIN", _NOT_LET_IN),
        (_KAFKA_PYTHON, "SCRAM-SHA-256", _NOT_LET_IN),
        (_KAFKA_PYTHON, "SCRAM-SHA-512", _NOT_LET_IN),
        (_KAFKA_PYTHON, "expired token", _NOT_LET_IN),
        (_KAFKA_PYTHON, "no token", "cannot be read: No such file or directory"),
        (_KAFKA_PYTHON, "untrusted", "unable to get local issuer certificate"),
        (_KAFKA_PYTHON, "MISNAMED", "IP address mismatch"),
        (_KAFKA_PYTHON, "EXPIRED", "certificate has expired"),
        (_CONFLUENT, "PLAIN", _NOT_LET_IN),
        (_CONFLUENT, "SCRAM-SHA-512", _NOT_LET_IN),
        (_CONFLUENT, "expired token", _NOT_LET_IN),
        (_CONFLUENT, "MISNAMED", "IP address mismatch"),
    ],
)
@pytest.mark.asvs("12.3.1", "12.3.2", "12.3.3", "12.3.4")
def test_whatever_keeps_us_out_is_told_in_one_line(  # noqa: PLR0917 - fixtures and parameters
    kafka_broker: KafkaBroker, topics: Topics, client: _Client, name: str, expected: str, tmp_path: Path
) -> None:
    """At once, with one try, to whoever publishes and to whoever consumes; no secret is in the line."""
    server, security = _wrong(kafka_broker, name, tmp_path)
    topic = topics.create()
    began = time.monotonic()

    deliveries = _published(client, server, security, [outbox_record(key, 1, topic=topic) for key in "ab"])
    with pytest.raises(BusUnavailableError) as raised:
        _consumed(client, server, security, topic, count=1)

    assert time.monotonic() - began < 4
    for line in (*(str(delivery.error) for delivery in deliveries), raised.value.detail):
        assert re.search(expected, line)
        assert "\n" not in line
        assert "wrong-secret" not in line
    assert {(delivery.retriable, delivery.reach) for delivery in deliveries} == {(True, Reach.BUS)}
    assert topics.arrivals() == []


def test_a_relay_that_is_not_let_in_waits_and_goes_on_by_itself(
    pool: Database, observer: psycopg.Connection, kafka_broker: KafkaBroker, topics: Topics, tmp_path: Path
) -> None:
    """It tries about once a second, says why once, and keeps every event; with good credentials all of them arrive."""
    security = _security(kafka_broker, "OAUTHBEARER", tmp_path)
    good = (tmp_path / "token").read_text()
    (tmp_path / "token").write_text("no.good.token")
    metrics, topic = InMemoryMetrics(), topics.create()
    publisher = KafkaEventPublisher([kafka_broker.secured()], client_id="test", security=security)
    relay = Relay(
        PostgresOutboxStore(pool), [Line(name="bus", publisher=publisher)], None, relay_id="r", metrics=metrics
    )
    with observer.transaction():
        for number in (1, 2, 3):
            write(observer, outbox_record("a", number, topic=topic))
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    with structlog.testing.capture_logs() as logged:
        thread.start()
        try:
            began = time.monotonic()
            wait_until(lambda: metrics.counts["relay_bus", "failed"] >= 5)
            seconds = time.monotonic() - began
            still_waiting = waiting(observer)
            (tmp_path / "token").write_text(good)
            wait_until(lambda: waiting(observer) == 0)
        finally:
            stop.set()
            thread.join()

    # After 0.1, 0.2, 0.4 and 0.8 seconds, and then each second.
    assert seconds >= 1.4
    assert still_waiting == 3
    assert [arrival.sequence for arrival in topics.arrivals()] == [1, 2, 3]
    causes = [line["cause"] for line in logged if line["log_level"] == "warning"]
    # The broker's own words arrive or not, with the end of the connection; what was said last is not said again.
    assert [cause for cause, _ in itertools.groupby(causes)] == causes
    assert {cause.split(": ")[1] for cause in causes} == {"SaslAuthenticationFailedError"}
    assert all(cause.startswith("no broker can be reached: ") for cause in causes)
