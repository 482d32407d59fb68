"""`userservice consume` as a process: it answers probes, and no kill doubles or loses what it was asked for."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from tests.e2e.processes import Process, eventually, free_port, settings_for
from tests.integration.postgres.building import new_user, register
from tests.received_events import erasure_request
from userservice_core.infrastructure.messaging.own_consumer import own_group
from userservice_core.infrastructure.postgres.bus import PostgresEventGroup, PostgresEventPublisher
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STEPS: Final = ("uow.before-commit", "uow.committed", "consumer.applied")


@pytest.fixture
def pool(database: str) -> Iterator[Database]:
    """The service's connections to the database of the test."""
    with contextlib.closing(Database(database)) as opened:
        yield opened


def _get(port: int, path: str) -> tuple[int, str]:
    """Return status and body; 0 while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def test_no_kill_doubles_or_loses_a_receipt(database: str, pool: Database, tmp_path: Path) -> None:
    """Killed between effect and commit, and after it, at each step; then a process ends what is left, and stops."""
    environment = settings_for(database, tmp_path)
    PostgresEventGroup(pool, group=own_group("userservice.")).register()
    users = [
        PostgresUnitOfWork(pool).run(lambda transaction: register(transaction, new_user())) for _ in range(len(_STEPS))
    ]
    requests = [erasure_request(user.id) for user in users]
    for request, step in zip(requests, _STEPS, strict=True):
        PostgresEventPublisher(pool).publish([request])
        dying = {**environment, "USERSERVICE_FAILPOINT": f"{step}:1"}
        with Process("consume", "--member-id", "crashing", environment=dying) as process:
            assert process.wait() == -signal.SIGKILL, process.lines

    port = free_port()
    consume = Process("consume", "--member-id", "crashing", "--probe-port", str(port), environment=environment)
    with consume as process, psycopg.connect(database, autocommit=True) as connection:
        eventually(lambda: _get(port, "/health/live")[0] == 200, what="the consumer")
        waiting = "SELECT count(*) FROM bus_delivery"
        eventually(lambda: connection.execute(waiting).fetchone() == (0,), what="the end of the work")
        metrics = _get(port, "/metrics")
        exit_code = process.stop()
        query = "SELECT payload::text FROM outbox WHERE type = 'userservice.privacy.erasure_answered.v1'"
        receipts = [json.loads(payload) for (payload,) in connection.execute(query)]
        left = connection.execute("SELECT count(*) FROM users").fetchone()

    assert exit_code == 0
    assert sorted(receipt["requestId"] for receipt in receipts) == sorted(str(request.id) for request in requests)
    assert {receipt["outcome"] for receipt in receipts} == {"erased"}
    assert left == (0,)
    assert metrics[0] == 200
    assert "consumer" in metrics[1]
