"""Fifty at once, against a real server and a real database: one wins, the others are told, nothing is doubled."""

from __future__ import annotations

import concurrent.futures
import threading
import unicodedata
from typing import TYPE_CHECKING, Final

import attrs
import httpx
import psycopg
import pytest

from tests.e2e.flow import PASSWORD
from tests.e2e.processes import Process, Server, settings_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_AT_ONCE: Final = 50
_SPELLINGS: Final = (
    "zoë.müller@bücher.example.com",
    "ZOË.MÜLLER@BÜCHER.EXAMPLE.COM",
    "Zoë.Müller@xn--bcher-kva.example.com",
    unicodedata.normalize("NFD", "zoë.müller@bücher.example.com"),
    "zoë.müller@Bücher。example。com",
)


@attrs.frozen
class Installation:
    """A server and a relay on one database."""

    server: Server
    relay: Process
    database: str

    def post(self, path: str, body: object) -> httpx.Response:
        """Send JSON on a connection of its own, as another client would."""
        return httpx.post(f"{self.server.url}{path}", json=body, timeout=30)

    def at_once(self, requests: Callable[[int], tuple[str, object]]) -> list[httpx.Response]:
        """Send fifty requests, all let go at the same moment."""
        barrier = threading.Barrier(_AT_ONCE)

        def send(number: int) -> httpx.Response:
            path, body = requests(number)
            with httpx.Client(base_url=self.server.url, timeout=30) as client:
                client.get("/health/live")
                barrier.wait()
                return client.post(path, json=body)

        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(send, range(_AT_ONCE)))

    def count(self, statement: str) -> int:
        """Return the number that *statement* selects."""
        with psycopg.connect(self.database) as connection:
            [number] = connection.execute(statement.encode()).fetchone() or (0,)
            return int(number)


@pytest.fixture
def installation(database: str, tmp_path: Path) -> Iterator[Installation]:
    """One that hashes fast, so that the races are the database's and not the processor's."""
    environment = settings_for(database, tmp_path, ARGON2_MEMORY_KIB="64", ARGON2_TIME_COST="1")
    with Process("relay", environment=environment) as relay, Server("starlette", environment=environment) as server:
        yield Installation(server, relay, database)


def test_fifty_registrations_of_one_address(installation: Installation) -> None:
    """Mixed case, composed or not, the domain in Unicode or ASCII: one account, one event, forty-nine conflicts."""
    # Events stay where they are, to be counted.
    assert installation.relay.stop() == 0

    answers = installation.at_once(
        lambda number: ("/auth/register", {"email": _SPELLINGS[number % len(_SPELLINGS)], "password": PASSWORD})
    )

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * (_AT_ONCE - 1)
    assert {answer.json()["type"].rpartition(":")[2] for answer in answers if answer.status_code == 409} == {
        "email-taken"
    }
    assert installation.count("SELECT count(*) FROM users") == 1
    assert installation.count("SELECT count(*) FROM outbox WHERE type = 'userservice.user.registered.v1'") == 1
    assert installation.count("SELECT count(*) FROM one_time_tokens") == 1


def test_fifty_refreshes_of_one_token(installation: Installation) -> None:
    """All get the same successor, which works; the token they came from ends the session once the window has closed."""
    email = "ada@example.com"
    credentials = {"email": email, "password": PASSWORD}
    assert installation.post("/auth/register", credentials).status_code == 201
    token = installation.relay.mail_to(email)["token"]
    assert installation.post("/auth/verify-email", {"token": token}).status_code == 200
    first = installation.post("/auth/login", credentials).json()

    answers = installation.at_once(lambda _: ("/auth/refresh-token", {"refreshToken": first["refreshToken"]}))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refreshToken"] for answer in answers}) == 1
    second = answers[0].json()
    assert installation.count("SELECT max(generation) FROM sessions") == 1
    third = installation.post("/auth/refresh-token", {"refreshToken": second["refreshToken"]})
    assert third.status_code == 200

    # The window closes: instead of waiting, the rotation is moved into the past.
    with psycopg.connect(installation.database) as connection:
        connection.execute("UPDATE sessions SET rotated_at = rotated_at - interval '11 seconds'")
    replayed = installation.post("/auth/refresh-token", {"refreshToken": first["refreshToken"]})

    assert replayed.status_code == 401
    assert installation.count("SELECT count(*) FROM sessions WHERE revoked_at IS NULL") == 0
    assert installation.relay.mail_to(email, kind="refresh_reused")["token"] is None
    refused = installation.post("/auth/refresh-token", {"refreshToken": third.json()["refreshToken"]})
    assert refused.status_code == 401
