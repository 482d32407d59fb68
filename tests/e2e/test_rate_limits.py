"""Limits and the lock of accounts are exact over processes, with and without Redis."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import httpx
import psycopg
import pytest

from tests.e2e.processes import Process, Server, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_EMAIL: Final = "ada@example.com"
_PASSWORD: Final = "correct horse battery staple"
_AT_ONCE: Final = 25


class _Two:
    """Two servers of one installation with one account."""

    def __init__(self, servers: tuple[Server, Server], relay: Process, database: str) -> None:
        self.servers = servers
        self.relay = relay
        self.database = database
        self.client = httpx.Client(timeout=30, limits=httpx.Limits(max_connections=_AT_ONCE))
        assert self.post(0, "/auth/register", {"email": _EMAIL, "password": _PASSWORD}).status_code == 201
        token = relay.mail_to(_EMAIL)["token"]
        assert self.post(0, "/auth/verify-email", {"token": token}).status_code == 200

    def post(self, number: int, path: str, body: dict[str, str]) -> httpx.Response:
        """Ask one of the two."""
        return self.client.post(f"{self.servers[number % 2].url}{path}", json=body)

    def sign_in(self, number: int, password: str, **members: str) -> httpx.Response:
        """Sign in at one of the two."""
        return self.post(number, "/auth/login", {"email": _EMAIL, "password": password, **members})

    def guess(self, times: int) -> Counter[int]:
        """Send wrong passwords to both at once, and return how many had which status."""
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return Counter(threads.map(lambda number: self.sign_in(number, "a guess").status_code, range(times)))

    def failed_attempts(self) -> tuple[int, bool]:
        """Return how many failures are stored, and whether they lock the account."""
        with psycopg.connect(self.database) as connection:
            row = connection.execute("SELECT failed_attempts, locked_until IS NOT NULL FROM login_states").fetchone()
        assert row is not None
        return row[0], row[1]


def _serving(database: str, data_dir: Path, **others: str) -> Iterator[_Two]:
    environment = settings_for(database, data_dir, ARGON2_MEMORY_KIB="64", ARGON2_TIME_COST="1", **others)
    with (
        Process("relay", environment=environment) as relay,
        Server("starlette", environment=environment) as first,
        Server("flask", environment=environment) as second,
    ):
        two = _Two((first, second), relay, database)
        try:
            yield two
        finally:
            two.client.close()


@pytest.fixture
def unlimited(database: str, tmp_path: Path) -> Iterator[_Two]:
    """Where only the lock of the account is in the way."""
    yield from _serving(database, tmp_path)


@pytest.fixture(params=["database", "redis"])
def limited(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[_Two]:
    """With the limits that are declared, counted in either place."""
    # A busy machine is not to be taken for a Redis that is away.
    shared = {"CACHE_URL": request.getfixturevalue("redis_url"), "CACHE_TIMEOUT_SECONDS": "2"}
    cache = shared if request.param == "redis" else {}
    yield from _serving(database, tmp_path, RATE_LIMITS_FILE="", **cache)


def test_a_hundred_wrong_passwords_at_once_lock_the_account(unlimited: _Two) -> None:
    """Exactly the hundredth does; from then on a known device gets in, and nobody else."""
    device_token = unlimited.sign_in(0, _PASSWORD).json()["deviceToken"]
    assert unlimited.guess(99) == {401: 99}
    assert unlimited.failed_attempts() == (99, False)
    assert unlimited.sign_in(1, _PASSWORD).status_code == 200

    assert unlimited.guess(100) == {401: 100}

    assert unlimited.failed_attempts() == (100, True)
    assert unlimited.sign_in(0, _PASSWORD).status_code == 401
    assert unlimited.relay.mail_to(_EMAIL, kind="account_locked")["to"] == _EMAIL
    assert unlimited.sign_in(1, _PASSWORD, deviceToken=device_token).status_code == 200
    assert unlimited.failed_attempts() == (0, False)


def test_of_a_hundred_wrong_passwords_at_once_ten_are_looked_at(limited: _Two) -> None:
    """Over both processes together; the owner's device gets in all the same."""
    device_token = limited.sign_in(0, _PASSWORD).json()["deviceToken"]

    assert limited.guess(100) == {401: 10, 429: 90}

    assert limited.failed_attempts() == (10, False)
    refused = limited.sign_in(1, _PASSWORD)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 900
    assert limited.sign_in(0, _PASSWORD, deviceToken=device_token).status_code == 200
