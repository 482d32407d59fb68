"""Instances behind nginx that are replaced one by one, by the same version or another, while requests do not stop."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
import httpx
import jsonschema
import psycopg

from tests.e2e.flow import PASSWORD
from tests.e2e.processes import Process, Server, eventually, settings_for
from tests.endurance.versions import Version
from tests.servers.nginx import Nginx
from tests.soak.outcomes import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_CLIENTS: Final = 6
_BETWEEN: Final = 200
_SECONDS: Final = 20.0
_HOSTS: Final = ("starlette", "flask", "starlette")
_WRITE_EVERY: Final = 20
_SIGN_IN_EVERY: Final = 500
_PROFILE: Final = "/users/me/profile"


@attrs.define
class _User:
    """Whom a client acts as."""

    email: str
    token: str
    name: str | None = None

    @property
    def credentials(self) -> dict[str, str]:
        return {"email": self.email, "password": PASSWORD}


class Traffic:
    """
    Requests of several clients through a balancer, each a user of its own: signs in, changes the name, reads it back.

    Connections are kept open. When it changes its instances nginx closes those that are idle, at the moment in which
    somebody may be sending; so clients leave theirs before, and have one for each request in the meantime.

    Attributes:
        failed: What was not answered, or not with what the same client had written before.
        slowest: The seconds of the slowest answer, by what went on.
    """

    def __init__(self, port: int, users: Sequence[_User], *, requests: int) -> None:
        """Prepare to send at least *requests*."""
        self._port = port
        self._users = users
        self._requests = requests
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._kept: set[str] = set()
        self._keeps = True
        self._stop = threading.Event()
        self.sent = 0
        self.failed: list[str] = []
        self.phase = "before"
        self.slowest: dict[str, float] = {}

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """Send during the block, and after it until there were as many as asked for."""
        with ThreadPoolExecutor(len(self._users)) as clients:
            sending = [clients.submit(self._run, user) for user in self._users]
            try:
                yield
                self.phase = "after"
            except BaseException:
                self._requests = 0
                raise
            finally:
                self._stop.set()
            for outcome in sending:
                outcome.result()

    def wait_for_more(self, count: int = _BETWEEN) -> None:
        """Wait until *count* further requests were answered."""
        goal = self.sent + count
        eventually(lambda: self.sent >= goal, what="traffic", seconds=60)

    @contextlib.contextmanager
    def off_connections(self) -> Iterator[None]:
        """Have no connection kept open during the block."""
        with self._lock:
            self._keeps = False
        eventually(lambda: not self._kept, what="clients to leave their connections")
        yield
        with self._lock:
            self._keeps = True

    def _run(self, user: _User) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_SECONDS)
        while not self._stop.is_set() or self.sent < self._requests:
            with self._lock:
                keeps = self._keeps
                if keeps:
                    self._kept.add(user.email)
            number, began, phase = next(self._numbers), time.monotonic(), self.phase
            try:
                fault = self._send(connection, user, number, keeps=keeps)
            except (OSError, http.client.HTTPException) as error:
                fault = repr(error)
                connection.close()
            if not keeps:
                connection.close()
            with self._lock:
                self.sent += 1
                self.slowest[phase] = max(self.slowest.get(phase, 0.0), time.monotonic() - began)
                if not keeps:
                    self._kept.discard(user.email)
                if fault:
                    self.failed.append(f"{number} ({phase}): {fault}")
        connection.close()
        with self._lock:
            self._kept.discard(user.email)

    def _send(self, connection: http.client.HTTPConnection, user: _User, number: int, *, keeps: bool) -> str | None:
        headers = {"Authorization": f"Bearer {user.token}", "Connection": "keep-alive" if keeps else "close"}
        if number % _SIGN_IN_EVERY == 1:
            headers = {"Content-Type": "application/json", "Connection": headers["Connection"]}
            answer = _answer(connection, "POST", "/auth/login", headers, user.credentials)
            if answer.status == 200:
                user.token = answer.body["accessToken"]
        elif number % _WRITE_EVERY == 0:
            headers["Content-Type"] = "application/merge-patch+json"
            answer = _answer(connection, "PATCH", _PROFILE, headers, {"displayName": f"Ada {number}"})
            if answer.status == 200:
                user.name = f"Ada {number}"
        else:
            answer = _answer(connection, "GET", _PROFILE if number % 2 else "/users/me", headers)
            read = answer.body.get("displayName")
            if answer.status == 200 and number % 2 and read != user.name:
                return f"{user.name} was written, {read} is read"
        return None if answer.status == 200 else f"{answer.status} {answer.body}"


@attrs.frozen
class _Answer:
    status: int
    body: Any


def _answer(
    connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str], body: object = None
) -> _Answer:
    connection.request(method, path, None if body is None else json.dumps(body), dict(headers))
    response = connection.getresponse()
    return _Answer(response.status, json.loads(response.read() or b"{}"))


class _Fleet:
    """Three instances of both hosts behind a balancer."""

    def __init__(self, version: Version, settings: Mapping[str, str], folder: Path, *, requests: int) -> None:
        self._settings = settings
        self._running = contextlib.ExitStack()
        self._folder = folder
        self._requests = requests
        self._version = version

    def __enter__(self) -> Self:
        with self._running:
            self.servers = [self._started(app, self._version) for app in _HOSTS]
            users = self._users()
            self._balancer = Nginx(self._folder / "nginx")
            self._balancer.balance(server.port for server in self.servers)
            self._running.enter_context(self._balancer)
            self.traffic = Traffic(self._balancer.port, users, requests=self._requests)
            self._running = self._running.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def roll(self, version: Version) -> None:
        """Replace the instances by ones of *version*: each is taken out, told to end, and another put in its place."""
        for place, app in enumerate(_HOSTS):
            self.traffic.wait_for_more()
            old = self.servers[place]
            self._balance(other for other in self.servers if other is not old)
            assert old.stop() == 0, old.lines
            self.servers[place] = self._started(app, version)
            self._balance(self.servers)
        self.traffic.wait_for_more()

    def _balance(self, servers: Iterator[Server] | list[Server]) -> None:
        with self.traffic.off_connections():
            self._balancer.balance(server.port for server in servers)

    def _started(self, app: str, version: Version) -> Server:
        environment = version.environment(self._settings)
        return self._running.enter_context(Server(app, environment=environment, folder=version.folder))

    def _users(self) -> list[_User]:
        server = self.servers[0]
        environment = self._version.environment(self._settings)
        with Process("relay", environment=environment, folder=self._version.folder) as relay:
            return [_signed_in(server, relay, f"ada{number}@example.com") for number in range(_CLIENTS)]


def _signed_in(server: Server, relay: Process, email: str) -> _User:
    user = _User(email, "")
    with httpx.Client(base_url=server.url, timeout=_SECONDS) as client:
        assert client.post("/auth/register", json=user.credentials).status_code == 201
        mailed = relay.mail_to(email)["token"]
        assert client.post("/auth/verify-email", json={"token": mailed}).status_code == 200
        answer = client.post("/auth/login", json=user.credentials)
        assert answer.status_code == 200
    user.token = answer.json()["accessToken"]
    return user


def restarted(dsn: str, folder: Path, *, requests: int, rounds: int = 1) -> Tally:
    """Restart the instances one by one, *rounds* times, on a database with the whole schema."""
    version = Version.of_this_tree()
    fleet = _Fleet(version, settings_for(dsn, folder, DRAIN_DELAY_SECONDS="0.5"), folder, requests=requests)
    with fleet, fleet.traffic.flowing():
        for _ in range(rounds):
            fleet.roll(version)
    return _tally(fleet.traffic)


def upgraded(dsn: str, folder: Path, earlier: Version, *, requests: int, rounds: int = 1) -> Tally:
    """
    Upgrade *earlier* to this tree's version on an empty database, and roll the instances back on the new schema.

    Raises:
        AssertionError: If a step fails, or one version could not read what the other has recorded as events.
    """
    version = Version.of_this_tree()
    settings = settings_for(dsn, folder, DRAIN_DELAY_SECONDS="0.5")
    assert earlier.location(settings) == {earlier.folder.resolve()}
    earlier.run("migrate", settings=settings)
    assert _expanded_to(dsn) == earlier.needed
    fleet = _Fleet(earlier, settings, folder, requests=requests)
    with fleet, fleet.traffic.flowing():
        traffic = fleet.traffic
        traffic.wait_for_more()
        traffic.phase = "migration"
        version.run("migrate", "--target", "expand", settings=settings)
        assert _expanded_to(dsn) == version.needed
        traffic.wait_for_more()
        for _ in range(rounds):
            traffic.phase = "upgrade"
            fleet.roll(version)
            traffic.phase = "rollback"
            fleet.roll(earlier)
    _require_readable_events(dsn, earlier, version)
    return _tally(fleet.traffic)


def _tally(traffic: Traffic) -> Tally:
    for fault in traffic.failed[:20]:
        print(fault)
    slowest = {f"slowest ms, {phase}": round(seconds * 1000) for phase, seconds in traffic.slowest.items()}
    figures = {"failed": len(traffic.failed), **slowest}
    return Tally(trials=traffic.sent, failed=bool(traffic.failed), figures=figures)


def _expanded_to(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return max(str(revision) for (revision,) in revisions if revision.startswith("expand_"))


def _require_readable_events(dsn: str, *versions: Version) -> None:
    """Hold what both versions have recorded against the schemas of each; the relay is away, so it is all there."""
    with psycopg.connect(dsn) as connection:
        recorded = connection.execute("SELECT type, payload FROM outbox").fetchall()
    assert {"userservice.profile.updated.v1", "userservice.auth.logged_in.v1"} <= {kind for kind, _ in recorded}
    known = [{kind: json.loads(text) for kind, text in version.schemas().items()} for version in versions]
    for schemas, others in itertools.permutations(known, 2):
        for kind, schema in schemas.items():
            # What is always there for the one may not be missing for the other, whether it was recorded here or not.
            assert set(schema.get("required", ())) <= set(others.get(kind, schema).get("required", ())), kind
        for kind, payload in recorded:
            # A type that a consumer does not know is none of its events.
            if kind in schemas:
                jsonschema.validate(payload if isinstance(payload, dict) else json.loads(payload), schemas[kind])
