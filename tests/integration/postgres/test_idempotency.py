"""Calls with a key on PostgreSQL: broken connections, unknown outcomes, a pool of one, a plan for the purge."""

from __future__ import annotations

import contextlib
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from adapters.lambda_handler.app import create_handler
from tests.hosts.clients import LambdaClient
from tests.integration.postgres.proxy import Proxy
from tests.lambda_events import http_api_event
from userservice_core.bootstrap import UserService, bootstrap, new_key_ring
from userservice_core.config import Settings
from userservice_core.ports.failpoints import install_failpoints
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

_ADA: Final = {"email": "ada@example.com", "password": "correct horse battery staple"}


def _opened(dsn: str, **settings: str) -> UserService:
    """Return the service as a function has it: no threads, and one connection."""
    environment = {
        "USERSERVICE_PROFILE": "test",
        "USERSERVICE_DATABASE_URL": dsn,
        "USERSERVICE_DATABASE_POOL_SIZE": "1",
        "USERSERVICE_ISSUER": "https://accounts.example.com",
        "USERSERVICE_KEYRING": new_key_ring(),
        "USERSERVICE_ARGON2_MEMORY_KIB": "8",
        "USERSERVICE_ARGON2_TIME_COST": "1",
        "USERSERVICE_DATABASE_WAIT_SECONDS": "30",
        **{f"USERSERVICE_{name}": value for name, value in settings.items()},
    }
    return bootstrap(Settings.from_environment(environment), background=False)


@pytest.fixture
def client(database: str) -> Iterator[PipelineClient]:
    """The service with a single connection, so that whoever asks for a second one is found out."""
    with contextlib.closing(_opened(database)) as service:
        yield PipelineClient(service.pipeline)


def _post(client: HostClient, path: str, content: dict[str, Any], key: str, token: str | None = None) -> Response:
    return send_json(client, "POST", path, content, token=token, headers=[("idempotency-key", key)])


def _is_replay(response: Response) -> bool:
    return response.header("idempotency-replayed") == "true"


def _counts(observer: psycopg.Connection) -> tuple[int, int, int]:
    """Return how many users, events and answers there are."""
    row = observer.execute(
        "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM outbox), (SELECT count(*) FROM idempotency_keys)"
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


@contextlib.contextmanager
def _at(step: str, action: Callable[[], object]) -> Iterator[None]:
    """Do *action* the first time that *step* is passed."""
    passed: list[str] = []

    def hook(name: str) -> None:
        passed.append(name)
        if name == step and passed.count(step) == 1:
            action()

    install_failpoints(hook)
    try:
        yield
    finally:
        install_failpoints(None)


def _terminate(observer: psycopg.Connection) -> None:
    observer.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'userservice'"
    )


def test_one_connection_is_enough_for_a_call(client: PipelineClient, observer: psycopg.Connection) -> None:
    """Claim, change and answer are one transaction, and whatever is read meanwhile is read in it."""
    key = str(uuid.uuid4())

    first = _post(client, "/auth/register", _ADA, key)
    again = _post(client, "/auth/register", _ADA, key)

    assert (first.status, again.status, _is_replay(again)) == (201, 201, True)
    assert again.body == first.body
    assert _counts(observer) == (1, 2, 1)
    assert _post(client, "/auth/login", _ADA, str(uuid.uuid4())).status == 403


@pytest.mark.parametrize("step", ["uow.begun", "uow.flushing", "uow.before-commit"])
def test_a_connection_that_breaks_leaves_nothing_or_everything(
    client: PipelineClient, observer: psycopg.Connection, step: str
) -> None:
    """Whatever the first call is told, the same call again has the one true answer, and there is one effect."""
    key = str(uuid.uuid4())

    with _at(step, lambda: _terminate(observer)):
        first = _post(client, "/auth/register", _ADA, key)
    again = _post(client, "/auth/register", _ADA, key)

    assert first.status in {201, 503}
    assert again.status == 201
    assert _is_replay(again) == (first.status == 201)
    assert _counts(observer) == (1, 2, 1)


def test_an_unknown_outcome_is_settled_by_the_key(database: str, observer: psycopg.Connection) -> None:
    """COMMIT took effect and its answer was lost: 503, then the answer that was kept; nothing is done twice."""
    key, ring = str(uuid.uuid4()), new_key_ring()
    with Proxy(database) as proxy, contextlib.closing(_opened(proxy.dsn, KEYRING=ring)) as service:
        proxy.breaks_after = b"COMMIT"
        lost = _post(PipelineClient(service.pipeline), "/auth/register", _ADA, key)
        assert (lost.status, json_of(lost)["type"].rpartition(":")[2]) == (503, "outcome-unknown")
        assert lost.header("retry-after") is not None
        eventually(lambda: _counts(observer) == (1, 2, 1))

    with contextlib.closing(_opened(database, KEYRING=ring)) as service:
        settled = _post(PipelineClient(service.pipeline), "/auth/register", _ADA, key)
    assert (settled.status, _is_replay(settled)) == (201, True)
    assert observer.execute("SELECT count(*) FROM users").fetchone() == (1,)


def test_fifty_calls_at_once_have_one_effect(database: str, observer: psycopg.Connection) -> None:
    """The others wait on the row, or are told to come again; none is refused for what the first one did."""
    key = str(uuid.uuid4())
    with contextlib.closing(_opened(database, DATABASE_POOL_SIZE="4", REQUEST_TIMEOUT_SECONDS="30")) as service:
        client = PipelineClient(service.pipeline)
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: _post(client, "/auth/register", _ADA, key), range(50)))

    assert {answer.status for answer in answers} == {201}
    assert [_is_replay(answer) for answer in answers].count(False) == 1
    assert len({answer.body for answer in answers}) == 1
    assert _counts(observer) == (1, 2, 1)


def test_an_invocation_that_comes_twice_does_nothing_twice(database: str, observer: psycopg.Connection) -> None:
    """As AWS Lambda may invoke a function again with the event it had before; each time in another instance."""
    ring, key = new_key_ring(), str(uuid.uuid4())
    answers = []
    for _ in range(2):
        with contextlib.closing(_opened(database, KEYRING=ring)) as service:
            client = LambdaClient(create_handler(service), make_event=http_api_event)
            answers.append(_post(client, "/auth/register", _ADA, key))

    assert [(answer.status, _is_replay(answer)) for answer in answers] == [(201, False), (201, True)]
    assert answers[0].body == answers[1].body
    assert _counts(observer) == (1, 2, 1)


def test_what_is_stored_says_nothing(client: PipelineClient, observer: psycopg.Connection) -> None:
    """Neither the key, nor what was sent, nor what was answered can be read in the table."""
    key = str(uuid.uuid4())
    response = _post(client, "/auth/register", _ADA, key)
    row = observer.execute("SELECT row_to_json(idempotency_keys)::text FROM idempotency_keys").fetchone()

    assert row is not None
    for secret in (key, *_ADA.values(), json_of(response)["id"]):
        assert secret not in row[0]


def test_the_purge_reads_no_more_than_it_removes(observer: psycopg.Connection, database: str) -> None:
    """By the index over the time of expiry, past those who are being answered at the moment."""
    past = datetime.now(UTC) - timedelta(days=2)
    observer.execute(
        "INSERT INTO idempotency_keys SELECT gen_random_uuid(), sha256(int4send(number)), 'sealed',"
        " %s::timestamptz + number * interval '1 minute' FROM generate_series(1, 10000) AS number",
        (past,),
    )
    observer.execute("ANALYZE idempotency_keys")
    with contextlib.closing(_opened(database)) as service:
        calls = service.use_cases.idempotent_calls
        with psycopg.connect(database) as other:
            other.execute("SELECT 1 FROM idempotency_keys ORDER BY expires_at LIMIT 10 FOR UPDATE")
            assert calls.purge(limit=100) == 100
        left = observer.execute("SELECT count(*) FROM idempotency_keys WHERE expires_at <= now()").fetchone()
        assert left is not None
        batches = iter(lambda: calls.purge(limit=1_000), 0)
        assert sum(batches) == left[0]
    plan = observer.execute(
        "EXPLAIN (FORMAT JSON) SELECT 1 FROM idempotency_keys WHERE expires_at <= now() ORDER BY expires_at LIMIT 10"
    ).fetchone()
    assert "ix_idempotency_keys_expires_at" in json.dumps(plan)
