"""The whole service while Redis is emptied, filled with garbage, killed and started: no answer changes."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import attrs
import redis

from tests.e2e.processes import settings_for
from tests.integration.postgres.building import new_user, register
from tests.integration.replicas.instances import Installation, token_of
from tests.servers.fixtures import started
from tests.servers.redis import RedisServer
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.domain.users import UserStatus
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.host import PipelineClient, send_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from userservice_core.bootstrap import UserService
    from userservice_core.domain.users import User

_USERS: Final = 120
_CACHED: Final = 100
"""Fewer than there are users, so that memory alone never does."""

_GUESSES: Final = 40
_ADMITTED: Final = 10
_ROUNDS: Final = 12


class _Process:
    """An instance, asked by several threads without end."""

    def __init__(self, service: UserService) -> None:
        self._client = PipelineClient(service.pipeline)
        self.done = threading.Event()

    def ask(self, tokens: list[str]) -> Counter[int]:
        """Ask as each user in turn for what they may not see, until it is done."""
        statuses: Counter[int] = Counter()
        for token in itertools.cycle(tokens):
            if self.done.is_set():
                return statuses
            statuses[self.status_of("/admin/roles", token)] += 1
        raise AssertionError

    def status_of(self, path: str, token: str) -> int:
        """Return how a request of somebody is answered."""
        return send_json(self._client, "GET", path, token=token).status

    def guess(self, email: str) -> Counter[int]:
        """Try many passwords of an account at once, and return how many had which status."""

        def attempt(_: int) -> int:
            body = {"email": email, "password": "a guess at a password"}
            return send_json(self._client, "POST", "/auth/login", body).status

        with ThreadPoolExecutor(8) as threads:
            return Counter(threads.map(attempt, range(_GUESSES)))

    def is_ready(self) -> bool:
        """Whether it serves, with or without Redis."""
        return send_json(self._client, "GET", "/health/ready").status == 200


@contextlib.contextmanager
def _process(database: str, folder: Path, url: str) -> Iterator[tuple[_Process, UserService]]:
    environment = settings_for(
        database,
        folder,
        CACHE_URL=url,
        CACHE_MAX_ENTRIES=str(_CACHED),
        CACHE_TIMEOUT_SECONDS="2",  # so that a busy machine is not taken for one that is away
        RATE_LIMITS_FILE="",
        ARGON2_MEMORY_KIB="8",
        ARGON2_TIME_COST="1",
    )
    with bootstrap(Settings.from_environment(environment)) as service:
        process = _Process(service)
        assert eventually(process.is_ready)
        yield process, service


def test_without_the_redis_that_was_promised_sign_ins_are_limited(database: str, tmp_path: Path) -> None:
    """It was never started: limits are exact, in the database."""
    with _process(database, tmp_path, "redis+cluster://127.0.0.1:9,127.0.0.1:10") as (process, _):
        assert process.guess("nobody@example.com") == {401: _ADMITTED, 429: _GUESSES - _ADMITTED}


def test_whatever_becomes_of_redis_no_answer_changes(database: str, tmp_path: Path) -> None:
    """Neither who may do what, nor that guesses are limited: at most twice, around the moment when it goes."""
    installation = Installation(primary=database, replicas=(), folder=tmp_path)
    server = RedisServer(tmp_path / "redis")
    started(server.start)
    try:
        with _process(database, tmp_path, server.url()) as (process, service):
            tokens = [token_of(service, user) for user in _added(database)]
            administrator = token_of(service, installation.add_administrator())
            # Memory has room for those who were last, so the second time each is found in Redis.
            assert {process.status_of("/admin/roles", token) for token in tokens * 2} == {403}
            with ThreadPoolExecutor(2) as threads:
                asking = [threads.submit(process.ask, each) for each in (tokens, [administrator])]
                try:
                    for number in range(_ROUNDS):
                        _harm(server, random.Random(number))  # noqa: S311 - it is to be the same again
                        assert process.status_of("/admin/roles", administrator) == 200
                    before = process.guess("before@example.com")
                    server.kill9()
                    during = process.guess("before@example.com")
                    without = process.guess("during@example.com")
                    server.start()
                    after = process.guess("before@example.com")
                finally:
                    process.done.set()
                users, administrators = (each.result(60) for each in asking)
            metrics, _ = service.metrics.render()
    finally:
        server.stop()

    # All of that was met with, and what was shared was used.
    for outcome in ("hit", "miss", "garbage", "failed"):
        assert f'outcome="{outcome}",what="shared_cache"' in metrics.decode()
    assert (set(users), set(administrators)) == ({403}, {200})
    assert before == {401: _ADMITTED, 429: _GUESSES - _ADMITTED}
    assert without == {401: _ADMITTED, 429: _GUESSES - _ADMITTED}
    # Nobody is unlimited at any time; each of the two places forgets what the other one has counted.
    assert set(during) | set(after) <= {401, 429}
    assert during[401] <= _ADMITTED
    assert after[401] <= _ADMITTED


def _added(database: str) -> list[User]:
    """Return new users, who may do nothing in particular."""
    users = [attrs.evolve(new_user(), status=UserStatus.ACTIVE, email_verified=True) for _ in range(_USERS)]
    with contextlib.closing(Database(database)) as opened:
        PostgresUnitOfWork(opened).run(lambda transaction: [register(transaction, user) for user in users])
    return users


def _harm(server: RedisServer, chance: random.Random) -> None:
    """Put garbage in the place of whatever there is, and then remove all of it."""
    with contextlib.suppress(redis.RedisError), server.client() as client:
        for name in client.scan_iter("userservice:*", count=1_000):
            if chance.randrange(2):
                client.set(name, chance.randbytes(40))
            else:
                with client.pipeline(transaction=True) as pipe:
                    pipe.delete(name).rpush(name, "another type").execute()
        if chance.randrange(2):
            client.flushall()
