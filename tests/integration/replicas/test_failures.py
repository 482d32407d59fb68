"""Replicas that die, hang and come back, and what those who read notice of it: nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Self

import psycopg
import pytest

from tests.integration.replicas.instances import counted, served_by_replicas, token_of
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.replicas.instances import Installation
    from tests.servers.replication import PostgresReplica, ReplicatedPostgres
    from userservice_core.bootstrap import UserService
    from userservice_core.domain.users import User

_EJECTED_SECONDS = 1.0
_BACK_SECONDS = 10.0


class Readers:
    """
    Threads that read, each with the token of a write.

    Attributes:
        failures: Answers that were not what was written.
        slowest: Seconds that an answer took at most.
    """

    def __init__(self, service: UserService, user: User, *, threads: int = 4) -> None:
        self._client = PipelineClient(service.pipeline)
        self._token = token_of(service, user)
        self._target = f"/admin/users/{user.id}/profile"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        self.failures: list[object] = []
        self.answers = 0
        self.slowest = 0.0
        response = send_json(self._client, "PUT", self._target, {"displayName": "Ada"}, token=self._token)
        self._headers = (("consistency-token", response.header("consistency-token") or ""),)

    def read(self) -> None:
        """Read once."""
        began = time.monotonic()
        response = send_json(self._client, "GET", self._target, token=self._token, headers=self._headers)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answers += 1
        if response.status != 200 or json_of(response)["displayName"] != "Ada":
            self.failures.append((response.status, response.body))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.read()


@pytest.fixture
def service(replicated: Installation) -> Iterator[UserService]:
    """A process of the installation."""
    with replicated.instance() as opened:
        yield opened


@pytest.fixture
def admin(replicated: Installation, replicated_postgres: ReplicatedPostgres) -> User:
    """Somebody who may do everything, whom all replicas know."""
    user = replicated.add_administrator()
    replicated_postgres.catch_up()
    return user


@pytest.mark.parametrize("way", ["killed", "stopped", "frozen"])
def test_a_replica_that_goes_fails_no_read(
    service: UserService, admin: User, replicated_postgres: ReplicatedPostgres, way: str
) -> None:
    """It is out within a second, and back within ten of being well; meanwhile the others serve."""
    replica = replicated_postgres.replicas[0]
    ways: dict[str, Callable[[PostgresReplica], contextlib.AbstractContextManager[None]]] = {
        "killed": _killed,
        "stopped": _stopped,
        "frozen": lambda replica: replica.frozen(),
    }
    with Readers(service, admin) as readers:
        eventually(lambda: counted(service).get(("replica_read_replica-1", "ok")))
        with ways[way](replica):
            time.sleep(_EJECTED_SECONDS)
            served = _served(service)
            answers = readers.answers
            eventually(lambda: readers.answers > answers + 20)
            served_meanwhile = _served(service) - served
            eventually(lambda: _is_shown_as_out(service))
        well_at = time.monotonic()
        eventually(lambda: _served(service) > served)
        back_after = time.monotonic() - well_at

    assert readers.failures == []
    assert served_meanwhile == 0
    assert back_after <= _BACK_SECONDS
    assert readers.slowest < 4


def test_all_replicas_can_go(service: UserService, admin: User, replicated_postgres: ReplicatedPostgres) -> None:
    """The primary serves."""
    first, second = replicated_postgres.replicas
    with Readers(service, admin) as readers, _killed(first), _killed(second):
        eventually(lambda: counted(service).get(("replica_fallback", "none-serving"), 0) > 20)

    assert readers.failures == []


def test_backends_that_are_ended_fail_no_read(
    service: UserService, admin: User, replicated_postgres: ReplicatedPostgres
) -> None:
    """As by an administrator, or a server that is short of memory."""
    with Readers(service, admin) as readers:
        for replica in replicated_postgres.replicas * 5:
            with psycopg.connect(replica.dsn(), autocommit=True) as observer:
                observer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'userservice'"
                )
        eventually(lambda: readers.answers > 50)
        served = served_by_replicas(service)
        eventually(lambda: served_by_replicas(service) > served)

    assert readers.failures == []


def _served(service: UserService) -> int:
    """Return how many reads the first replica has served."""
    return counted(service).get(("replica_read_replica-1", "ok"), 0)


def _is_shown_as_out(service: UserService) -> bool:
    resources = json_of(PipelineClient(service.pipeline).request("GET", "/health/ready"))["resources"]
    return bool(resources["replica-1"] != "ok")


@contextlib.contextmanager
def _killed(replica: PostgresReplica) -> Iterator[None]:
    replica.kill9()
    try:
        yield
    finally:
        replica.start()


@contextlib.contextmanager
def _stopped(replica: PostgresReplica) -> Iterator[None]:
    replica.stop()
    try:
        yield
    finally:
        replica.start()
