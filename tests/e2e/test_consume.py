"""The command `userservice consume`, with a consumer of another service in a process of its own."""

from __future__ import annotations

import http.client
import json
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.e2e.processes import Process, eventually, free_port, settings_for
from userservice_core.bootstrap import bootstrap, bootstrap_relay
from userservice_core.config import Settings
from userservice_core.http.messages import Request
from userservice_core.infrastructure.postgres.inbox import PostgresInbox

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from userservice_core.bootstrap import RelayService

_BILLING = """
import os
import psycopg
from userservice_core import EventConsumer, PostgresEventSource, PostgresInbox, Retries, errors

dsn = os.environ["BILLING_DATABASE"]
inbox = PostgresInbox(lambda: psycopg.connect(dsn))
source = PostgresEventSource(dsn, group="billing", topics=["userservice.users"], member_id="billing")
consumer = EventConsumer(source, inbox=inbox, retries=Retries(attempts=2, first_seconds=0.01))


@consumer.on("userservice.user.registered.v1")
def open_account(event, connection):
    if event.data["email"].startswith(os.environ.get("BILLING_REFUSES", "nobody")):
        raise errors.EventRejectedError("no account for them")
    connection.execute("INSERT INTO account (email) VALUES (%s)", (event.data["email"],))
"""


@pytest.fixture
def environment(database: str, tmp_path: Path) -> dict[str, str]:
    """An installation without Kafka, and the module of another service beside it, in the same database."""
    (tmp_path / "billing.py").write_text(_BILLING)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE account (email text)")
    settings = settings_for(database, tmp_path)
    return {**settings, "PYTHONPATH": str(tmp_path), "BILLING_DATABASE": database}


def _register(environment: Mapping[str, str], *emails: str) -> None:
    """Register accounts as the service does, and publish what it says of that."""
    settings = Settings.from_environment({name: value for name, value in environment.items() if "USERSERVICE_" in name})
    with bootstrap(settings, background=False) as service:
        for email in emails:
            body = json.dumps({"email": email, "password": "correct horse battery staple"}).encode()
            headers = (("content-type", "application/json"),)
            request = Request(method="POST", path="/auth/register", headers=headers, body=body)
            assert service.pipeline.handle(request).status in {201, 202}
    with bootstrap_relay(settings, relay_id="r") as relay:
        _relay(relay, environment["BILLING_DATABASE"])


def _relay(relay: RelayService, database: str) -> None:
    """Relay until nothing of the bus waits in the outbox."""
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    with psycopg.connect(database, autocommit=True) as connection:

        def is_empty() -> bool:
            waiting = connection.execute("SELECT count(*) FROM outbox WHERE aggregatetype = 'userservice.users'")
            return waiting.fetchone() == (0,)

        eventually(is_empty, what="the relay")
    stop.set()
    thread.join()


def _accounts(database: str) -> list[str]:
    with psycopg.connect(database) as connection:
        return sorted(email for (email,) in connection.execute("SELECT email FROM account"))


def _status(port: int) -> int:
    """Return the status of the liveness probe; 0 while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_a_service_reacts_to_registrations(environment: dict[str, str], database: str) -> None:
    """From the request to the effect elsewhere; what was put aside is replayed once its cause is gone."""
    PostgresInbox(lambda: psycopg.connect(database)).create_tables()
    port = free_port()
    consume = ("consume", "billing:consumer")
    with Process(*consume, "--probe-port", str(port), environment={**environment, "BILLING_REFUSES": "bo"}) as process:
        eventually(lambda: _status(port) == 200, what="the consumer")
        _register(environment, "ann@example.com", "bo@example.com", "cy@example.com")
        eventually(lambda: len(_accounts(database)) == 2, what="the effects")
        with psycopg.connect(database, autocommit=True) as connection:
            letters = "SELECT count(*) FROM bus_dead_letter"
            eventually(lambda: connection.execute(letters).fetchone() == (1,), what="the dead letter")
        exit_code = process.stop()
    with Process(*consume, "--replay-dead-letters", environment=environment) as replay:
        replayed = replay.wait()

    assert (exit_code, replayed) == (0, 0)
    assert replay.documents() == [{"applied": 1}]
    assert _accounts(database) == ["ann@example.com", "bo@example.com", "cy@example.com"]


@pytest.mark.parametrize("app", ["nowhere:consumer", "billing:nothing", "billing:dsn", ":"])
def test_a_consumer_that_is_not_there_is_told(environment: dict[str, str], app: str) -> None:
    """In a line, with the exit code of a wrong configuration."""
    with Process("consume", app, environment=environment) as process:
        exit_code = process.wait()

    assert (exit_code, len(process.lines)) == (78, 1)
    assert process.lines[0].startswith(f"userservice: {app} ")
