"""What the platform does to a function: events that come twice, events that are none, and time that stands still."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from psycopg import sql

from tests.e2e.flow import PASSWORD
from tests.e2e.functions import FRONT_ENDS, FunctionClient, function
from tests.e2e.processes import Process, eventually, settings_for
from userservice_core.bootstrap import bootstrap_signing_keys, new_key_ring
from userservice_core.config import Settings
from userservice_core.infrastructure.security.signing_keys import POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.lambda_emulator import LambdaEmulator

_EMAIL: Final = "ada@example.com"
_FROZEN_SECONDS: Final = 2.0


@pytest.fixture
def environment(database: str, tmp_path: Path) -> dict[str, str]:
    """An installation as the how-to has it."""
    return settings_for(database, tmp_path, DATABASE_POOL_SIZE="1")


@pytest.fixture
def emulator(environment: dict[str, str], tmp_path: Path) -> Iterator[LambdaEmulator]:
    """The function."""
    with function(tmp_path / "lambda", environment) as running:
        yield running


@contextlib.contextmanager
def _frozen(emulator: LambdaEmulator) -> Iterator[None]:
    """Stop the runtime and the handler, as the platform does between invocations, for a while."""
    emulated = emulator.process
    assert emulated is not None
    runtimes = emulated.children(recursive=True)
    assert runtimes != []
    for runtime in runtimes:
        runtime.suspend()
    try:
        yield
        time.sleep(_FROZEN_SECONDS)
    finally:
        for runtime in runtimes:
            runtime.resume()


def _digests(database: str) -> dict[str, str | None]:
    """Return a digest of all rows of each table; the same if and only if nothing was written."""
    with psycopg.connect(database) as connection:
        tables = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') ORDER BY 1"
        ).fetchall()
        digests: dict[str, str | None] = {}
        for (table,) in tables:
            row = connection.execute(
                sql.SQL("SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t").format(sql.Identifier(table))
            ).fetchone()
            assert row is not None
            digests[table] = row[0]
    assert digests["users"] is not None
    return digests


def key_id_of(token: str) -> str:
    """Return the `kid` of a token's header."""
    text = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))["kid"])


def _mailed_token(environment: dict[str, str]) -> str:
    """Relay what waits, and return the token of the mail; nothing is relayed afterwards."""
    with Process("relay", environment=environment) as relay:
        token: str = relay.mail_to(_EMAIL)["token"]
        assert relay.stop() == 0
    return token


@pytest.mark.parametrize("front_end", ["rest-api", "balancer"])
def test_an_event_that_comes_twice_changes_nothing_the_second_time(
    emulator: LambdaEmulator, environment: dict[str, str], database: str, front_end: str
) -> None:
    """Confirming an address and signing out: not one row of any table differs, so no event goes out again either."""
    client = FunctionClient(emulator, FRONT_ENDS[front_end])
    assert client.send("POST", "/auth/register", body={"email": _EMAIL, "password": PASSWORD}).status == 201
    verify = client.event("POST", "/auth/verify-email", body={"token": _mailed_token(environment)})
    assert client.invoke(verify).status == 200
    verified = _digests(database)
    assert (client.invoke(verify).status, _digests(database)) == (200, verified)

    tokens = client.send("POST", "/auth/login", body={"email": _EMAIL, "password": PASSWORD}).body
    sign_out = client.event("POST", "/auth/logout", body={"refreshToken": tokens["refreshToken"]})
    assert client.invoke(sign_out).status == 204
    signed_out = _digests(database)
    assert signed_out != verified
    assert client.invoke(sign_out).status in {204, 401}
    assert _digests(database) == signed_out


def test_a_function_that_was_frozen_serves_on(
    emulator: LambdaEmulator, environment: dict[str, str], database: str
) -> None:
    """Between calls, also when the database has closed its connections meanwhile; ended sessions stay ended."""
    client = FunctionClient(emulator, FRONT_ENDS["http-api"])
    assert client.send("POST", "/auth/register", body={"email": _EMAIL, "password": PASSWORD}).status == 201
    token = _mailed_token(environment)
    assert client.send("POST", "/auth/verify-email", body={"token": token}).status == 200
    signed_in = client.send("POST", "/auth/login", body={"email": _EMAIL, "password": PASSWORD}).body

    with _frozen(emulator):
        pass
    assert client.send("GET", "/users/me", token=signed_in["accessToken"]).status == 200

    with _frozen(emulator), psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert client.send("GET", "/users/me", token=signed_in["accessToken"]).status == 200
    refreshed = client.send("POST", "/auth/refresh-token", body={"refreshToken": signed_in["refreshToken"]})
    assert refreshed.status == 200

    assert client.send("POST", "/auth/logout", body={}, token=refreshed.body["accessToken"]).status == 204
    with _frozen(emulator):
        pass
    assert client.send("GET", "/users/me", token=refreshed.body["accessToken"]).status == 401


def test_a_warm_function_follows_the_signing_keys_of_the_database(database: str, tmp_path: Path) -> None:
    """
    Without a thread: a rotation within seconds and without a refused token, a revocation at the next request.

    Also one that was revoked while the function was frozen; what it signs afterwards is accepted.
    """
    environment = settings_for(
        database, tmp_path, DATABASE_POOL_SIZE="1", SIGNING_KEYS="database", KEYRING=new_key_ring()
    )
    with (
        function(tmp_path / "lambda", environment) as emulator,
        bootstrap_signing_keys(Settings.from_environment(environment)) as keys,
    ):
        client = FunctionClient(emulator, FRONT_ENDS["http-api"])
        assert client.send("POST", "/auth/register", body={"email": _EMAIL, "password": PASSWORD}).status == 201
        token = _mailed_token(environment)
        assert client.send("POST", "/auth/verify-email", body={"token": token}).status == 200
        session = client.send("POST", "/auth/login", body={"email": _EMAIL, "password": PASSWORD}).body

        def refreshed() -> str:
            answer = client.send("POST", "/auth/refresh-token", body={"refreshToken": session["refreshToken"]})
            assert answer.status == 200
            session.update(answer.body)
            assert client.send("GET", "/users/me", token=session["accessToken"]).status == 200
            return key_id_of(session["accessToken"])

        first = session["accessToken"]
        second_id = keys.promote(key_id=keys.rotate().id).id
        eventually(lambda: refreshed() == second_id, what="a token of the new key", seconds=2 * POLL_SECONDS)
        assert client.send("GET", "/users/me", token=first).status == 200
        published = client.send("GET", "/.well-known/jwks.json").body["keys"]
        assert {key["kid"] for key in published} == {key_id_of(first), second_id}

        stolen = session["accessToken"]
        with _frozen(emulator):
            third_id = keys.revoke(key_id=second_id).id
        assert client.send("GET", "/users/me", token=stolen).status == 401
        assert client.send("GET", "/users/me", token=first).status == 200
        assert refreshed() == third_id


def test_an_event_that_is_no_request_is_an_error_of_the_function(emulator: LambdaEmulator) -> None:
    """The platform is told what is wrong, and the next request is served."""
    refused = emulator.invoke({"Records": [{"eventSource": "aws:sqs"}]})

    assert refused["errorType"] == "ProgrammingError"
    assert "Its members are: Records." in refused["errorMessage"]
    assert FunctionClient(emulator, FRONT_ENDS["balancer"]).send("GET", "/health/live").status == 200
