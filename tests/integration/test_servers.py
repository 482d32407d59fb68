"""The harness itself: each server starts, does its work, is killed and comes back."""

from __future__ import annotations

import contextlib
import smtplib
import socket
from email.message import EmailMessage
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.servers.fixtures import started
from tests.servers.lambda_emulator import LambdaEmulator

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.kafka import KafkaBroker
    from tests.servers.pgbouncer import PgBouncer
    from tests.servers.postgres import PostgresServer
    from tests.servers.redis import RedisServer
    from tests.servers.smtp import SmtpSink
    from tests.servers.toxiproxy import Toxiproxy


def _scalar(dsn: str, query: str) -> object:
    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
        row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0]


@pytest.mark.exclusive
def test_postgres_keeps_what_was_committed_before_a_crash(postgres_server: PostgresServer, empty_database: str) -> None:
    """A row whose COMMIT was answered is there after kill -9, on the same DSN."""
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")

    postgres_server.kill9()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(empty_database)
    postgres_server.start()

    assert _scalar(empty_database, "SELECT answer FROM kept") == 42


def test_postgres_is_the_version_that_was_asked_for(postgres_server: PostgresServer) -> None:
    """``TEST_POSTGRES`` decides, so that a run for version 15 does not test 18 again."""
    version = int(str(_scalar(postgres_server.dsn(), "SHOW server_version_num")))

    assert version // 10_000 == postgres_server.major_version


def test_a_database_of_a_test_is_a_copy_of_its_template(postgres_server: PostgresServer) -> None:
    """A copy has the rows of the template, and changes to it stay in it."""
    template = postgres_server.create_database()
    with psycopg.connect(postgres_server.dsn(template)) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT 1 AS n")
    copy = postgres_server.create_database(template=template)
    with psycopg.connect(postgres_server.dsn(copy)) as connection:
        connection.execute("INSERT INTO numbers VALUES (2)")

    assert _scalar(postgres_server.dsn(copy), "SELECT count(*) FROM numbers") == 2
    assert _scalar(postgres_server.dsn(template), "SELECT count(*) FROM numbers") == 1
    postgres_server.drop_database(copy)
    postgres_server.drop_database(template)


def test_pgbouncer_lends_a_connection_for_one_transaction(pgbouncer: PgBouncer, empty_database: str) -> None:
    """Two transactions of different clients run on one server connection, since the pool lends it to either."""
    dsn = pgbouncer.dsn(empty_database.rsplit("/", 1)[1])
    with psycopg.connect(dsn) as first, psycopg.connect(dsn) as second:
        backend_of_first = first.execute("SELECT pg_backend_pid()").fetchone()
        first.commit()
        backend_of_second = second.execute("SELECT pg_backend_pid()").fetchone()

    assert backend_of_second == backend_of_first


def test_pgbouncer_comes_back_after_a_crash(pgbouncer: PgBouncer, empty_database: str) -> None:
    """It answers on the same DSN after kill -9 and a start."""
    dsn = pgbouncer.dsn(empty_database.rsplit("/", 1)[1])
    pgbouncer.kill9()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
    pgbouncer.start()

    assert _scalar(dsn, "SELECT 1") == 1


@pytest.mark.exclusive
def test_redis_is_empty_after_a_crash(redis_server: RedisServer, redis_url: str) -> None:
    """It keeps nothing on disk, so that a restart is a cold cache."""
    with redis.Redis.from_url(redis_url) as client:
        client.set("key", "value")
        redis_server.kill9()
        with pytest.raises(redis.ConnectionError):
            client.get("key")
        redis_server.start()

        assert client.get("key") is None


@pytest.mark.exclusive
def test_kafka_keeps_what_it_acknowledged_before_a_crash(kafka_broker: KafkaBroker) -> None:
    """A record that was acknowledged is there after kill -9, on the same address."""
    kafka_broker.create_topics(["harness.kept"], partitions=1)
    with KafkaProducer(bootstrap_servers=kafka_broker.bootstrap_servers) as producer:
        producer.send("harness.kept", b"before").get(timeout=30)

    kafka_broker.kill9()
    kafka_broker.start()

    with KafkaProducer(bootstrap_servers=kafka_broker.bootstrap_servers) as producer:
        producer.send("harness.kept", b"after").get(timeout=30)
    consumer = KafkaConsumer(bootstrap_servers=kafka_broker.bootstrap_servers, consumer_timeout_ms=20_000)
    partition = TopicPartition("harness.kept", 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    values = [next(consumer).value for _ in range(2)]
    consumer.close()

    assert values == [b"before", b"after"]


def test_smtp_sink_keeps_what_it_took_and_refuses_what_it_is_told_to(smtp_sink: SmtpSink) -> None:
    """A mail that was refused is not among those that arrived."""
    mail = EmailMessage()
    mail["To"] = "ada@example.org"
    mail["Subject"] = "Grüße"
    mail.set_content("link")
    with smtplib.SMTP("127.0.0.1", smtp_sink.port) as client:
        client.send_message(mail, from_addr="service@example.org")
        smtp_sink.recipient_reply = "550 No such user"
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.send_message(mail, from_addr="service@example.org")

    [received] = smtp_sink.wait_for_mails(1)
    assert (received.recipients, received.message["Subject"]) == (("ada@example.org",), "Grüße")


def test_lambda_emulator_runs_a_handler_and_starts_anew_after_a_crash(tmp_path: Path) -> None:
    """A handler is invoked in a runtime of its own, whose memory does not outlive it."""
    emulator = LambdaEmulator(tmp_path, handler="tests.integration.counting_handler.count")
    started(emulator.start)
    with emulator:
        counts = [emulator.invoke({"step": 2}), emulator.invoke({"step": 3})]
        emulator.kill9()
        emulator.start()
        counts.append(emulator.invoke({"step": 7}))

    assert counts == [2, 5, 7]


def test_toxiproxy_cuts_a_line_and_mends_it(toxiproxy: Toxiproxy) -> None:
    """What passes is what the toxics of the moment let through, and a line that is cut refuses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        with toxiproxy.line(f"{host}:{port}") as line:
            with line.toxic("limit_data", bytes=3, upstream=True):
                client = socket.create_connection(("127.0.0.1", line.port))
                with client, server.accept()[0] as accepted:
                    client.sendall(b"abcdef")
                    limited = accepted.recv(10), accepted.recv(10)
            with line.cut(), pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", line.port))
            client = socket.create_connection(("127.0.0.1", line.port))
            with client, server.accept()[0] as accepted:
                client.sendall(b"abcdef")
                whole = accepted.recv(10)

    assert limited == (b"abc", b"")
    assert whole == b"abcdef"
