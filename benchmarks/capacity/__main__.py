"""
Measure what `userservice capacity` plans with: ``python -m benchmarks.capacity``, which ``make bench-capacity`` runs.

What a request costs is processor time, of the service and of the database apart: other than a rate, it hardly depends
on what else the machine does. How workers add up is measured with workers that have 0.4 of a processor each.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import psutil
import psycopg
from sqlalchemy import create_engine, text

from benchmarks import processes
from benchmarks.accounts import Account, create_accounts
from benchmarks.capacity.callers import OPERATIONS, call_for
from benchmarks.capacity.quotas import processor_quota
from benchmarks.machine import describe_machine
from tests.servers.kafka import KafkaBroker
from userservice_core import EventConsumer, KafkaEventSource, PostgresInbox
from userservice_core.bootstrap import bootstrap_relay, configure_logging, new_key_ring
from userservice_core.capacity import results
from userservice_core.capacity.scaling_law import ScalingLaw
from userservice_core.config import Settings
from userservice_core.infrastructure.postgres import migrate
from userservice_core.infrastructure.postgres.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from userservice_core import ConsumedEvent

_FILE: Final = Path(__file__).parents[1] / "results" / "capacity.json"
_RATE_LIMITS: Final = Path(__file__).parents[1] / "rate_limits.toml"
_HASHING: Final = frozenset({"login", "register"})
_UNITS: Final = (1, 2, 4)
_UNIT_PROCESSORS: Final = 0.4
_SCALE_OUT_GOAL: Final = 0.9
_WAIT_SECONDS: Final = 300.0
_MIB: Final = 2.0**20


@attrs.frozen(kw_only=True)
class Row:
    """
    A figure of the file of results, from its rounds.

    Attributes:
        others: Processors that other programs of this machine kept busy meanwhile; None where it makes no difference.
    """

    name: str
    unit: str
    rounds: tuple[float, ...]
    limit: float | None = None
    goal: float | None = None
    others: float | None = None

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.rounds)

    def document(self) -> dict[str, object]:
        """Return it as the file of results has it."""
        ratio = None if self.limit is None else round(self.value / self.limit, 4)
        spread = (max(self.rounds) - min(self.rounds)) / self.value
        return {
            "figure": self.name,
            "value": round(self.value, 5),
            "unit": self.unit,
            "limit": self.limit,
            "ratio": ratio,
            "goal": self.goal,
            "met": None if ratio is None or self.goal is None else ratio >= self.goal,
            "spread": round(spread, 4),
            **({} if self.others is None else {"others": round(self.others, 3)}),
        }


@attrs.frozen(kw_only=True)
class Scene:
    """What is measured: the database and its server, the settings, the accounts."""

    variables: dict[str, str]
    settings: Settings
    folder: Path
    accounts: tuple[Account, ...]
    postmaster: psutil.Process
    rounds: int
    seconds: float


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description="Measure for planning.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--accounts", type=int, default=400)
    parser.add_argument("--file", type=Path, default=_FILE, help="to write to")
    parser.add_argument("--parts", nargs="+", choices=tuple(_PARTS), default=list(_PARTS), help="others are kept")
    given = parser.parse_args()
    machine = describe_machine()
    rows: list[Row] = []
    with _scene(given.accounts, rounds=given.rounds, seconds=given.seconds, rows=rows) as scene:
        for part in given.parts:
            for row in _PARTS[part](scene):
                print(f"{row.name:<60} {row.value:>12,.3f} {row.unit}", flush=True)
                rows.append(row)
    machine["load_after"] = [round(load, 2) for load in psutil.getloadavg()]
    write_results(given.file, [row.document() for row in rows], machine)
    print(f"Written to {given.file}")


def write_results(file: Path, measured: list[dict[str, object]], machine: dict[str, object]) -> None:
    """Write what was measured, and keep the figures that were not measured this time, each with its own machine."""
    at = str(machine["at"])
    figures, machines = [{**figure, "at": at} for figure in measured], {at: machine}
    if file.exists():
        earlier = json.loads(file.read_text())
        names = {figure["figure"] for figure in measured}
        figures += [figure for figure in earlier["figures"] if figure["figure"] not in names]
        machines |= earlier["machines"]
    used = {figure["at"] for figure in figures}
    document = {"machines": {at: known for at, known in machines.items() if at in used}, "figures": figures}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n")


@contextlib.contextmanager
def _scene(accounts: int, *, rounds: int, seconds: float, rows: list[Row]) -> Iterator[Scene]:
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="userservice-capacity-")))
        folder.chmod(0o755)
        database = EmbeddedPostgres(folder / "postgres")
        running.callback(database.stop)
        dsn = database.start()
        variables = {
            "USERSERVICE_PROFILE": "test",
            "USERSERVICE_ISSUER": "https://accounts.example.com",
            "USERSERVICE_DATABASE_URL": dsn,
            "USERSERVICE_DATABASE_DIRECT_URL": dsn,
            "USERSERVICE_DATA_DIR": str(folder),
            "USERSERVICE_KEYRING": new_key_ring(),
            "USERSERVICE_RATE_LIMITS_FILE": str(_RATE_LIMITS),
            "USERSERVICE_ACCESS_TOKEN_SECONDS": "3600",
            "USERSERVICE_EXPOSE_METRICS": "true",
            "USERSERVICE_LOG_LEVEL": "WARNING",
        }
        settings = Settings.from_environment(variables)
        configure_logging(settings)
        migrate.upgrade(settings.database_url)
        empty = _size(dsn)
        created = create_accounts(settings, accounts)
        rows.append(Row(name=results.SIZE_OF_A_USER, unit="B", rounds=((_size(dsn) - empty) / accounts,)))
        yield Scene(
            variables=variables,
            settings=settings,
            folder=folder,
            accounts=created,
            postmaster=_postmaster(dsn),
            rounds=rounds,
            seconds=seconds,
        )


def _size(dsn: str) -> float:
    with psycopg.connect(dsn) as connection:
        return float(_one(connection, "SELECT pg_database_size(current_database())"))


def _one(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> int:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return int(str(row[0]))


def _postmaster(dsn: str) -> psutil.Process:
    with psycopg.connect(dsn) as connection:
        parent = psutil.Process(_one(connection, "SELECT pg_backend_pid()")).parent()
    assert parent is not None
    return parent


def _processor_seconds(process: psutil.Process) -> float:
    """Return what *process* and all it started and that still run have used."""
    used = 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            used += times.user + times.system
    return used


# --- requests ---------------------------------------------------------------------------------------------------------


def _requests(scene: Scene) -> Iterator[Row]:
    """Measure each operation by one caller: processor time of both sides, and how long it has a connection at most."""
    starts = []
    for index in range(scene.rounds):
        began = time.perf_counter()
        with processes.service(scene.variables, "starlette", log=scene.folder / f"start{index}.log"):
            starts.append(time.perf_counter() - began)
    yield Row(name=results.START_OF_A_WORKER, unit="s", rounds=tuple(starts))
    with processes.service(scene.variables, "starlette", log=scene.folder / "costs.log") as port:
        server = _listener(port)
        costs: dict[str, list[tuple[float, float, float]]] = {operation: [] for operation in OPERATIONS}
        call_for(1.0, [port], "get_current_user", scene.accounts, callers=4)
        memory = []
        for _ in range(scene.rounds):
            idle = _used_while(scene, server, lambda: time.sleep(scene.seconds / 2))
            for operation in OPERATIONS:
                costs[operation].append(_cost(scene, server, port, operation, idle=idle))
            memory.append(_memory(server))
        for place, prefix in enumerate(
            (results.PROCESSOR_TIME, results.DATABASE_PROCESSOR_TIME, results.DATABASE_TIME)
        ):
            for operation, of_operation in costs.items():
                rounds = tuple(max(1e-3, cost[place] * 1000) for cost in of_operation)
                yield Row(name=prefix + operation, unit="ms", rounds=rounds)
        yield Row(name=results.MEMORY_OF_A_WORKER, unit="MiB", rounds=tuple(memory))


def _listener(port: int) -> psutil.Process:
    """Return the process of ours that serves *port*, or the parent of those that do."""
    for process in psutil.Process().children(recursive=False):
        if any(
            one.laddr.port == port
            for member in (process, *process.children(recursive=True))
            for one in member.net_connections(kind="tcp")
            if one.status == psutil.CONN_LISTEN
        ):
            return process
    raise RuntimeError(f"nobody listens on port {port}")


def _used_while(scene: Scene, server: psutil.Process, act: Callable[[], object]) -> tuple[float, float]:
    """Return the processors that the service and the database kept busy while *act* ran."""
    began, before = time.perf_counter(), (_processor_seconds(server), _processor_seconds(scene.postmaster))
    act()
    seconds = time.perf_counter() - began
    after = _processor_seconds(server), _processor_seconds(scene.postmaster)
    return (after[0] - before[0]) / seconds, (after[1] - before[1]) / seconds


def _cost(
    scene: Scene, server: psutil.Process, port: int, operation: str, *, idle: tuple[float, float]
) -> tuple[float, float, float]:
    """Return seconds of a request: of the service's processor, of the database's, and with a connection at most."""
    hashed_before = _hashing(port)
    calls = []
    used = _used_while(
        scene,
        server,
        lambda: calls.append(call_for(scene.seconds, [port], operation, scene.accounts, callers=1)),
    )
    (done,) = calls
    assert not done.faults, f"{operation}: {done.faults} requests failed"
    hashed = [after - before for after, before in zip(_hashing(port), hashed_before, strict=True)]
    hashing = hashed[0] / hashed[1] if operation in _HASHING and hashed[1] else 0.0
    rate = done.per_second
    return (used[0] - idle[0]) / rate, (used[1] - idle[1]) / rate, max(0.0, done.median_seconds - hashing)


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


def _events(scene: Scene) -> Iterator[Row]:
    """Relay what the requests have left in the outbox to a broker, and consume it with an inbox."""
    folder = scene.folder / "kafka"
    folder.mkdir()
    broker = KafkaBroker(folder)
    broker.start()
    try:
        settings = Settings.from_environment(
            {**scene.variables, "USERSERVICE_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
        )
        yield Row(name=results.EVENTS_OF_A_RELAY, unit="1/s", rounds=(_relay(settings),))
        yield Row(name=results.EVENTS_OF_A_CONSUMER, unit="1/s", rounds=(_consume(settings, broker),))
    finally:
        broker.stop()


def _relay(settings: Settings) -> float:
    """Return the records a second that one relay moves, from the first that is gone to the last."""
    stop = threading.Event()
    with (
        psycopg.connect(settings.database_url, autocommit=True) as connection,
        bootstrap_relay(settings, relay_id="capacity", write_mail=lambda _: None) as relay,
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
        connection.execute(text("CREATE TABLE capacity_effect (key text, event_id text)"))
    source = KafkaEventSource([broker.bootstrap_servers], group="capacity", topics=[topic])
    consumer = EventConsumer(source, inbox=inbox)
    insert = text("INSERT INTO capacity_effect VALUES (:key, :id)")

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


_STILL_SECONDS: Final = 2.0


def _until(condition: Callable[[], bool]) -> float:
    """Wait for *condition*, and return when it held."""
    deadline = time.perf_counter() + _WAIT_SECONDS
    while not condition():
        if time.perf_counter() > deadline:
            raise TimeoutError
        time.sleep(0.01)
    return time.perf_counter()


# --- scale-out --------------------------------------------------------------------------------------------------------


def _scale_out(scene: Scene) -> Iterator[Row]:
    """Sign in to 1, 2 and 4 workers of 0.4 processors each, in turn, and compare with so many times one."""
    rates: dict[int, list[float]] = {units: [] for units in _UNITS}
    others = []
    with contextlib.ExitStack() as running:
        try:
            ports = [_limited_service(scene, running, index) for index in range(max(_UNITS))]
        except OSError as error:
            print(f"Workers cannot be limited on this machine, so how they add up is not measured: {error}")
            return
        for _ in range(scene.rounds):
            for units in _UNITS:
                began = time.perf_counter(), _busy_seconds(), _own_seconds(scene)
                done = call_for(scene.seconds * 2, ports[:units], "login", scene.accounts, callers=2 * units)
                rates[units].append(done.per_second)
                of_others = (_busy_seconds() - began[1]) - (_own_seconds(scene) - began[2])
                others.append(max(0.0, of_others / (time.perf_counter() - began[0])))
    one = statistics.median(rates[1])
    for units, rounds in rates.items():
        yield Row(
            name=f"sign-ins of {units} workers of 0.4 processors",
            unit="1/s",
            rounds=tuple(rounds),
            limit=None if units == 1 else round(units * one, 3),
            goal=None if units == 1 else _SCALE_OUT_GOAL,
            others=statistics.median(others),
        )
    if statistics.median(others) > results.MOST_OF_OTHERS:
        print("Other programs kept the machine busy, so how workers add up says nothing of the service.")
    law = ScalingLaw.fit({units: statistics.median(rounds) for units, rounds in rates.items()})
    print(f"Universal scalability law: {law.one:.2f} a second, contention {law.contention:.4f},", end=" ")
    print(f"coherency {law.coherency:.5f}")


def _busy_seconds() -> float:
    """Return the processor time of all programs of this machine."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.irq + times.softirq)


def _own_seconds(scene: Scene) -> float:
    return _processor_seconds(psutil.Process()) + _processor_seconds(scene.postmaster)


def _limited_service(scene: Scene, running: contextlib.ExitStack, index: int) -> int:
    prefix = running.enter_context(processor_quota(f"worker{index}", _UNIT_PROCESSORS))
    log = scene.folder / f"worker{index}.log"
    return running.enter_context(processes.service(scene.variables, "starlette", log=log, prefix=prefix))


_PARTS: Final = {"requests": _requests, "events": _events, "scale-out": _scale_out}


if __name__ == "__main__":
    main()
