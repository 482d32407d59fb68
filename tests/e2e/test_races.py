"""Fifty at once, against a real server and a real database: one wins, the others are told, nothing is doubled."""

from __future__ import annotations

import concurrent.futures
import threading
import unicodedata
from typing import TYPE_CHECKING, Any, Final

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

    def sign_in(self, email: str) -> httpx.Client:
        """Register somebody, and return a client that is signed in as them."""
        credentials = {"email": email, "password": PASSWORD}
        assert self.post("/auth/register", credentials).status_code == 201
        token = self.relay.mail_to(email)["token"]
        assert self.post("/auth/verify-email", {"token": token}).status_code == 200
        access_token = self.post("/auth/login", credentials).json()["accessToken"]
        return httpx.Client(base_url=self.server.url, timeout=30, headers={"authorization": f"Bearer {access_token}"})

    def moves_of(self, kind: str) -> list[dict[str, Any]]:
        """Return the data of the events that tell how a default moved, in their order."""
        statement = (
            "SELECT payload FROM outbox WHERE type = 'userservice.address.default_changed.v1'"
            " AND payload ->> 'kind' = %s ORDER BY sequence"
        )
        with psycopg.connect(self.database) as connection:
            return [payload for (payload,) in connection.execute(statement, (kind,))]

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


@pytest.mark.asvs("2.3.4")
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


@pytest.mark.asvs("10.4.5")
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


def test_fifty_changes_of_the_default(installation: Installation) -> None:
    """All succeed, one after the other: one default is left, and the events tell each move without a gap."""
    address = {"addressLine1": "1 Main St", "city": "Springfield", "countryCode": "US", "stateOrProvince": "IL"}
    with installation.sign_in("ada@example.com") as client:
        ids = [
            client.post("/users/me/addresses", json={**address, "postalCode": "62701"}).json()["id"] for _ in range(10)
        ]
        # Events stay where they are, to be read in their order.
        assert installation.relay.stop() == 0
        barrier = threading.Barrier(_AT_ONCE)

        def choose(number: int) -> int:
            path = f"/users/me/addresses/{ids[number % len(ids)]}/default"
            barrier.wait()
            kinds = {"shipping": True, "billing": True} if number % 2 else {"shipping": True}
            return client.patch(path, json=kinds).status_code

        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            statuses = list(pool.map(choose, range(_AT_ONCE)))
        listed = client.get("/users/me/addresses").json()["data"]

    assert statuses == [200] * _AT_ONCE
    for kind in ("Shipping", "Billing"):
        chosen = [address["id"] for address in listed if address[f"isDefault{kind}"]]
        assert len(chosen) == 1
        moves = installation.moves_of(kind.lower())
        assert [move["previousAddressId"] for move in moves] == [None, *(move["addressId"] for move in moves[:-1])]
        assert chosen == [moves[-1]["addressId"]]


@pytest.mark.asvs("2.3.2")
def test_fifty_new_addresses_where_there_is_room_for_five(installation: Installation) -> None:
    """Five are added; the others are told that there is no room."""
    address = {"addressLine1": "Unter den Linden 77", "city": "Berlin", "countryCode": "DE", "postalCode": "10117"}
    with installation.sign_in("ada@example.com") as client:
        for _ in range(45):
            assert client.post("/users/me/addresses", json=address).status_code == 201
        barrier = threading.Barrier(_AT_ONCE)

        def add(_: int) -> int:
            barrier.wait()
            return client.post("/users/me/addresses", json=address).status_code

        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            statuses = list(pool.map(add, range(_AT_ONCE)))

    assert sorted(statuses) == [201] * 5 + [409] * 45
    assert installation.count("SELECT count(*) FROM addresses") == 50


def test_fifty_changes_meant_for_one_version(installation: Installation) -> None:
    """One is made, and the others are told that they come too late."""
    with installation.sign_in("ada@example.com") as client:
        barrier = threading.Barrier(_AT_ONCE)

        def change(number: int) -> int:
            barrier.wait()
            headers = {"if-match": '"0-profile1"'}
            return client.patch("/users/me/profile", json={"bio": str(number)}, headers=headers).status_code

        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            statuses = list(pool.map(change, range(_AT_ONCE)))
        etag = client.get("/users/me/profile").headers["etag"]

    assert sorted(statuses) == [200] + [412] * 49
    assert etag == '"1-profile1"'
