"""
What `userservice capacity` plans with: what requests, memory and events cost.

What a request costs is processor time, of the service and of the database apart: other than a rate, it hardly depends
on what else the machine does.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs
import psutil
import psycopg
from sqlalchemy import create_engine, text

from benchmarks import processes
from benchmarks.accounts import Account, create_accounts
from benchmarks.callers import OPERATIONS, call_for
from benchmarks.figure import Bench, CannotMeasureError, Figure, Round
from benchmarks.scene import Installation
from benchmarks.usage import seconds_of
from tests.servers.installed import MissingServerError
from tests.servers.kafka import KafkaBroker
from userservice_core import EventConsumer, KafkaEventSource, PostgresInbox
from userservice_core.bootstrap import bootstrap_relay
from userservice_core.capacity import results
from userservice_core.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from benchmarks.scene import Scene
    from userservice_core import ConsumedEvent

_HASHING: Final = frozenset({"login", "register"})
_WAIT_SECONDS: Final = 300.0
_STILL_SECONDS: Final = 2.0
_MIB: Final = 2.0**20
_LEAST_MS: Final = 1e-3


@attrs.frozen(kw_only=True)
class _Planned:
    """An installation of one worker that tells its metrics, and what a user takes of its database."""

    installation: Installation
    accounts: tuple[Account, ...]
    user_bytes: float


def _planned(scene: Scene) -> _Planned:
    def make() -> contextlib.AbstractContextManager[_Planned]:
        made = scene.installation_in("planning")
        more = {"USERSERVICE_WORKERS": "1", "USERSERVICE_EXPOSE_METRICS": "true"}
        installation = attrs.evolve(made, variables={**made.variables, **more})
        with psycopg.connect(made.dsn) as connection:
            empty = _one(connection, _SIZE)
        accounts = create_accounts(made.settings, scene.effort.accounts)
        with psycopg.connect(made.dsn) as connection:
            size = (_one(connection, _SIZE) - empty) / len(accounts)
        return contextlib.nullcontext(_Planned(installation=installation, accounts=accounts, user_bytes=size))

    return scene.in_run("planning", make)


_SIZE: Final = "SELECT pg_database_size(current_database())"


def _one(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> int:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return int(str(row[0]))


# --- requests ---------------------------------------------------------------------------------------------------------


def _requests(scene: Scene) -> Iterator[dict[str, Round]]:
    """Measure each operation by one caller: processor time of both sides, and how long it has a connection at most."""
    planned = _planned(scene)
    port = scene.service(installation=planned.installation)
    server, postmaster = processes.server_on(port), _postmaster(planned.installation.dsn)
    call_for(1.0, [port], "get_current_user", planned.accounts, callers=4)
    for number in itertools.count():
        began = time.perf_counter()
        log = scene.folder / f"start{number}.log"
        with processes.service(planned.installation.variables, "starlette", log=log):
            started = time.perf_counter() - began
        side = _Sides(scene.effort.seconds, server, postmaster, port, planned.accounts)
        idle = side.used_while(lambda: time.sleep(scene.effort.seconds / 2))
        found = {results.START_OF_A_WORKER: started, results.SIZE_OF_A_USER: planned.user_bytes}
        for operation in OPERATIONS:
            prefixes = (results.PROCESSOR_TIME, results.DATABASE_PROCESSOR_TIME, results.DATABASE_TIME)
            for prefix, seconds in zip(prefixes, side.cost(operation, idle=idle), strict=True):
                found[results.figure_of(prefix, operation)] = max(_LEAST_MS, 1000 * seconds)
        found[results.MEMORY_OF_A_WORKER] = _memory(server)
        yield {name: Round(value=value) for name, value in found.items()}


@attrs.frozen
class _Sides:
    """The service and the database, and what requests cost each."""

    seconds: float
    server: psutil.Process
    postmaster: psutil.Process
    port: int
    accounts: tuple[Account, ...]

    def used_while(self, act: Callable[[], object]) -> tuple[float, float]:
        """Return the processors that both kept busy while *act* ran."""
        began, before = time.perf_counter(), (seconds_of(self.server), seconds_of(self.postmaster))
        act()
        seconds = time.perf_counter() - began
        after = seconds_of(self.server), seconds_of(self.postmaster)
        return (after[0] - before[0]) / seconds, (after[1] - before[1]) / seconds

    def cost(self, operation: str, *, idle: tuple[float, float]) -> tuple[float, float, float]:
        """Return seconds of a request: of the service's processor, of the database's, and with a connection at most."""
        hashed_before = _hashing(self.port)
        calls = []
        used = self.used_while(
            lambda: calls.append(call_for(self.seconds, [self.port], operation, self.accounts, callers=1))
        )
        (done,) = calls
        assert not done.faults, f"{operation}: {done.faults} requests failed"
        hashed = [after - before for after, before in zip(_hashing(self.port), hashed_before, strict=True)]
        hashing = hashed[0] / hashed[1] if operation in _HASHING and hashed[1] else 0.0
        rate = done.per_second
        return (used[0] - idle[0]) / rate, (used[1] - idle[1]) / rate, max(0.0, done.median_seconds - hashing)


def _postmaster(dsn: str) -> psutil.Process:
    with psycopg.connect(dsn) as connection:
        parent = psutil.Process(_one(connection, "SELECT pg_backend_pid()")).parent()
    assert parent is not None
    return parent


def _hashing(port: int) -> tuple[float, float]:
    """Return the seconds and the number of hashed passwords that the service has counted."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
    return _counted(page, "sum"), _counted(page, "count")


def _counted(page: str, what: str) -> float:
    found = re.search(rf'^userservice_seconds_{what}{{what="password_hash"}} (\S+)$', page, re.MULTILINE)
    return 0.0 if found is None else float(found.group(1))


def _memory(server: psutil.Process) -> float:
    return sum(one.memory_full_info().pss for one in (server, *server.children(recursive=True))) / _MIB


# --- events -----------------------------------------------------------------------------------------------------------


def _events(scene: Scene) -> Iterator[dict[str, Round]]:
    """Relay what changes of profiles have left in the outbox to a broker, and consume it with an inbox."""
    planned = _planned(scene)
    folder = scene.folder / "planning-kafka"
    folder.mkdir()
    broker = KafkaBroker(folder)
    try:
        broker.start()
    except MissingServerError as error:
        raise CannotMeasureError(str(error)) from error
    try:
        port = scene.service(installation=planned.installation)
        call_for(2 * scene.effort.seconds, [port], "patch_profile", planned.accounts, callers=4)
        settings = Settings.from_environment(
            {**planned.installation.variables, "USERSERVICE_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
        )
        yield {
            results.EVENTS_OF_A_RELAY: Round(value=_relay(settings)),
            results.EVENTS_OF_A_CONSUMER: Round(value=_consume(settings, broker)),
        }
    finally:
        broker.stop()


def _relay(settings: Settings) -> float:
    """Return the records a second that one relay moves, from the first that is gone to the last."""
    stop = threading.Event()
    with (
        psycopg.connect(settings.database_url, autocommit=True) as connection,
        bootstrap_relay(settings, relay_id="planning", write_mail=lambda _: None) as relay,
    ):
        waiting = _one(connection, "SELECT count(*) FROM outbox")
        thread = threading.Thread(target=relay.run, args=(stop,))
        thread.start()
        try:
            first = _until(lambda: _one(connection, "SELECT count(*) FROM outbox") < waiting)
            left = _one(connection, "SELECT count(*) FROM outbox")
            last = _until(lambda: _one(connection, "SELECT count(*) FROM outbox") == 0)
        finally:
            stop.set()
            thread.join()
    return left / (last - first)


def _consume(settings: Settings, broker: KafkaBroker) -> float:
    """Return the events a second that one consumer handles, each with a row of its own and the inbox."""
    topic, handled_at = f"{settings.topic_prefix}users", list[float]()
    engine = create_engine(settings.database_url.replace("postgresql://", "postgresql+psycopg://"))
    inbox = PostgresInbox(engine.begin)
    inbox.create_tables()
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE planning_effect (key text, event_id text)"))
    source = KafkaEventSource([broker.bootstrap_servers], group="planning", topics=[topic])
    consumer = EventConsumer(source, inbox=inbox)
    insert = text("INSERT INTO planning_effect VALUES (:key, :id)")

    @consumer.on("userservice.profile.updated.v1")
    def write(event: ConsumedEvent, connection: Connection) -> None:
        connection.execute(insert, {"key": event.key, "id": event.id})
        handled_at.append(time.perf_counter())

    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,))
    thread.start()
    try:
        _until(lambda: len(handled_at) > 0)
        _until(lambda: time.perf_counter() - handled_at[-1] > _STILL_SECONDS)
    finally:
        stop.set()
        thread.join()
        engine.dispose()
    return (len(handled_at) - 1) / (handled_at[-1] - handled_at[0])


def _until(condition: Callable[[], bool]) -> float:
    """Wait for *condition*, and return when it held."""
    deadline = time.perf_counter() + _WAIT_SECONDS
    while not condition():
        if time.perf_counter() > deadline:
            raise TimeoutError
        time.sleep(0.01)
    return time.perf_counter()


_TITLES: Final = {
    results.PROCESSOR_TIME: "processor time of a request",
    results.DATABASE_PROCESSOR_TIME: "processor time of the database for a request",
    results.DATABASE_TIME: "time in the database of a request",
    results.START_OF_A_WORKER: "start of a worker",
    results.SIZE_OF_A_USER: "size of a user in the database",
    results.MEMORY_OF_A_WORKER: "memory of a worker",
    results.EVENTS_OF_A_RELAY: "events of a relay",
    results.EVENTS_OF_A_CONSUMER: "events of a consumer",
}


def _figures(names: dict[str, str]) -> Iterator[Figure]:
    for name, unit in names.items():
        if name.endswith("-"):
            for operation in OPERATIONS:
                title = f"{_TITLES[name]}, {operation}"
                yield Figure(name=results.figure_of(name, operation), title=title, unit=unit)
        else:
            yield Figure(name=name, title=_TITLES[name], unit=unit)


_OF_EVENTS: Final = (results.EVENTS_OF_A_RELAY, results.EVENTS_OF_A_CONSUMER)

BENCHES: Final = (
    Bench(
        figures=tuple(_figures({name: unit for name, unit in results.UNITS.items() if name not in _OF_EVENTS})),
        measure=_requests,
    ),
    Bench(figures=tuple(_figures({name: results.UNITS[name] for name in _OF_EVENTS})), measure=_events, most_rounds=1),
)
