"""
A broker that is stopped, killed, or killed while the members of a group change; requests go on meanwhile.

Who sends them notices nothing, what happens meanwhile waits in the outbox, and afterwards everything arrives.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import httpx
import psycopg

from tests.e2e.processes import eventually, free_port
from tests.endurance.forks import end
from tests.endurance.installation import Installation
from tests.endurance.kills import (
    TOPICS,
    Answering,
    Client,
    Ledger,
    consumer,
    group_of,
    open_accounts,
    running,
    wait_until_drained,
    with_state,
)
from tests.endurance.oracle import Oracle
from tests.integration.messaging.effects import PostgresEffects
from tests.servers.kafka import KafkaBroker
from tests.servers.toxiproxy import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.servers.toxiproxy import Toxiproxy
    from tests.soak.outcomes import Tally

_CLIENTS: Final = 2
_LONGEST_PAUSE_SECONDS: Final = 0.02
_POLL_SECONDS: Final = 0.02
_UP_SECONDS: Final = 60.0
_JOIN_SECONDS: Final = 0.1
_RELAYS: Final = "relays"
_IDLE_IN_TRANSACTION: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'relays' AND state LIKE 'idle in transaction%%'
"""
_PATIENCE_SECONDS: Final = "60"
"""Of requests, since a machine that is busy otherwise is not what is looked for."""


def broker_run(
    installation: Installation, toxiproxy: Toxiproxy, outages: Sequence[Outage], *, seed: int
) -> tuple[Tally, Ledger]:
    """
    Have each of *outages* come over a broker that is alone while requests are sent, and judge what is left.

    Relays and consumers reach the broker through a line of *toxiproxy*.

    Returns:
        The tally, whose trials are outages, and what the clients know: its faults are requests that were refused.
    """
    broker = installation.broker
    assert isinstance(broker, KafkaBroker)
    with toxiproxy.line(broker.behind_proxy, port=broker.proxy_port) as line:
        relayed = installation.with_settings(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{broker.proxy_port}")
        return _run(installation, relayed, outages, line=line, seed=seed)


def cluster_run(installation: Installation, outages: Sequence[Outage], *, seed: int) -> tuple[Tally, Ledger]:
    """Do the same with several brokers, whom relays and consumers reach without a line that could be disturbed."""
    return _run(installation, installation, outages, line=None, seed=seed)


def _run(
    installation: Installation, relayed: Installation, outages: Sequence[Outage], *, line: Line | None, seed: int
) -> tuple[Tally, Ledger]:
    chance = random.Random(seed)  # noqa: S311 - it is to be the same again
    patient = {"REQUEST_TIMEOUT_SECONDS": _PATIENCE_SECONDS}
    installation = installation.with_settings(**patient)
    relayed = relayed.with_settings(**patient, DATABASE_URL=f"{installation.dsn}?application_name={_RELAYS}")
    topics, ledger = installation.topics, Ledger()
    installation.broker.create_topics([topics.name(topic) for topic in TOPICS])
    oracle = Oracle(installation.dsn)
    PostgresEffects(installation.dsn)
    clients = [
        Client(installation, ledger, f"c{number}", random.Random(chance.random()))  # noqa: S311 - as above
        for number in range(_CLIENTS)
    ]
    open_accounts(installation, clients)
    port = free_port()
    scene = Scene(installation, relayed, line, ledger, oracle, chance, f"http://127.0.0.1:{port}/metrics")
    with running(relayed, metrics_port=port):
        with scene.load(clients):
            scene.require_flow()
            for outage in outages:
                outage(scene)
        wait_until_drained(relayed, oracle)
        eventually(lambda: scene.level("outbox_records") == 0, what="the metric to fall to nothing")
    arrivals = {topics.name(topic): topics.arrivals(topic) for topic in TOPICS}
    tally = oracle.judge(arrivals, with_effects=True, trials=len(outages))
    figures = {**tally.figures, **scene.figures(), "refused": len(ledger.faults)}
    tally = attrs.evolve(tally, failed=bool(ledger.faults), figures=figures)
    return with_state(tally, installation, oracle, ledger), ledger


@attrs.define
class Scene:
    """
    An installation under load, and what is measured of it.

    Attributes:
        installation: As those see it who answer requests.
        relayed: As relays and consumers see it, at the other end of the line.
    """

    installation: Installation
    relayed: Installation
    _line: Line | None
    ledger: Ledger
    oracle: Oracle
    chance: random.Random
    metrics_url: str
    _is_away: bool = False
    _seconds: dict[bool, list[float]] = attrs.Factory(lambda: {False: [], True: []})
    _first_event_seconds: list[float] = attrs.Factory(list)
    _most_waiting: int = 0

    @property
    def line(self) -> Line:
        """What is between relays and consumers and the broker."""
        assert self._line is not None, "there is no line"
        return self._line

    @contextlib.contextmanager
    def load(self, clients: Sequence[Client]) -> Iterator[None]:
        """Have *clients* send one request after the other for the block, each to a process of its own."""
        over = threading.Event()
        with ThreadPoolExecutor(len(clients)) as threads:
            sent = [threads.submit(self._send, client, over) for client in clients]
            try:
                yield
            finally:
                over.set()
            for each in sent:
                each.result()

    def _send(self, client: Client, over: threading.Event) -> None:
        answering = Answering(self.installation)
        try:
            while not over.wait(self.chance.uniform(0, _LONGEST_PAUSE_SECONDS)):
                began, is_away = time.perf_counter(), self._is_away
                client.request(answering)
                self._seconds[is_away].append(time.perf_counter() - began)
        finally:
            answering.end()

    @contextlib.contextmanager
    def disturbed(self) -> Iterator[None]:
        """Keep the times of requests apart, for the block in which the broker is not what it should be."""
        self._is_away = True
        yield
        self._most_waiting = max(self._most_waiting, self._waiting())
        self._is_away = False

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Have the broker be away for the block, and start it then."""
        with self.disturbed():
            yield
            self.installation.broker.start()

    def require_flow(self) -> None:
        """Wait until what waits at present has arrived, however much follows."""
        began = time.monotonic()
        (last,) = self._scalars("SELECT coalesce(max(seq), 0) FROM outbox")
        at_first = waiting = self._waiting(last)
        deadline = began + _UP_SECONDS
        while waiting:
            assert time.monotonic() < deadline, f"{waiting} events still wait"
            time.sleep(_POLL_SECONDS)
            before, waiting = waiting, self._waiting(last)
            if before == at_first and waiting < at_first:
                self._first_event_seconds.append(time.monotonic() - began)

    def require_requests(self, count: int) -> None:
        """Wait until so many further requests were answered."""
        until = self.ledger.requests + count
        eventually(lambda: self.ledger.requests >= until, what="answers while the broker is away")

    def repeats(self) -> int:
        """Count what is in the topics more than once."""
        topics = self.installation.topics
        ids = [arrival.headers["ce_id"] for topic in TOPICS for arrival in topics.arrivals(topic)]
        return len(ids) - len(set(ids))

    def has_idle_transaction(self) -> bool:
        """Tell whether a relay at this moment has a transaction open in which it does nothing."""
        (count,) = self._scalars(_IDLE_IN_TRANSACTION)
        return count > 0

    def level(self, name: str) -> float | None:
        """Return what a relay's metrics say at present."""
        try:
            page = httpx.get(self.metrics_url, timeout=5).text
        except httpx.TransportError:
            return None
        levels = [line for line in page.splitlines() if f'what="{name}"' in line]
        return float(levels[0].rpartition(" ")[2]) if levels else None

    def figures(self) -> dict[str, float]:
        """Return what was measured, in the units that the names say."""
        told: dict[str, float] = {"most_waiting": self._most_waiting}
        if self._first_event_seconds:
            told["first_event_s"] = round(max(self._first_event_seconds), 2)
        for is_away, name in ((False, "p99_ms"), (True, "p99_ms_without_broker")):
            if len(self._seconds[is_away]) > 1:
                cuts = statistics.quantiles(self._seconds[is_away], n=100, method="inclusive")
                told[name] = round(cuts[98] * 1000, 1)
        return told

    def _waiting(self, last: int | None = None) -> int:
        (count,) = self._scalars("SELECT count(*) FROM outbox WHERE %(last)s::bigint IS NULL OR seq <= %(last)s", last)
        return count

    def _scalars(self, query: str, last: int | None = None) -> tuple[int, ...]:
        with contextlib.closing(psycopg.connect(self.installation.dsn)) as connection:
            row = connection.execute(query.encode(), {"last": last}).fetchone()
        assert row is not None
        return row


Outage: TypeAlias = "Callable[[Scene], None]"
"""Does something to the broker, and returns once it is over and events flow again."""


def stopped(seconds: float) -> Outage:
    """Return an outage in which the broker is stopped for so long, and what waits is shown."""

    def outage(scene: Scene) -> None:
        scene.installation.broker.stop()
        with scene.away():
            ends_at = time.monotonic() + seconds
            scene.require_requests(10)
            eventually(lambda: (scene.level("outbox_records") or 0) > 0, what="the metric to show what waits")
            at_first = scene.level("outbox_records") or 0
            time.sleep(max(0.0, ends_at - time.monotonic()))
            eventually(lambda: (scene.level("outbox_records") or 0) > at_first, what="more to wait, and to be shown")
        scene.require_flow()

    return outage


def killed(scene: Scene) -> None:
    """`kill -9` the broker in the middle of what it does, and start it again."""
    time.sleep(scene.chance.uniform(0, 1))
    scene.installation.broker.kill9()
    with scene.away():
        scene.require_requests(10)
    scene.require_flow()


def leader_killed(scene: Scene) -> None:
    """`kill -9` the broker of several that leads most partitions; events go on while it is away."""
    time.sleep(scene.chance.uniform(0, 1))
    scene.installation.broker.kill9()
    with scene.away():
        scene.require_requests(10)
        scene.require_flow()
    scene.require_flow()


def killed_in_rebalance(scene: Scene) -> None:
    """Let a member join, and `kill -9` the broker while partitions move; then each of them has one owner."""
    installation = scene.installation
    topics, group = installation.topics, group_of(installation)
    # Without a name, so that its partitions go to the others as soon as it leaves.
    joining = consumer(scene.relayed, None)
    try:
        eventually(lambda: topics.owners(group).state != "Stable", what="a rebalance")
        time.sleep(_JOIN_SECONDS)
        installation.broker.kill9()
        with scene.away():
            scene.require_requests(10)
        every = Counter({(topics.name(topic), number): 1 for topic in TOPICS for number in range(4)})

        def is_settled() -> bool:
            owners = topics.owners(group)
            return owners.state == "Stable" and owners.owned == every

        eventually(is_settled, what="one owner for each partition", seconds=_UP_SECONDS)
        scene.require_flow()
    finally:
        code = end(joining)
    assert code == 0, installation.log.read_text()[-2000:]


def slowed(seconds: float) -> Outage:
    """
    Return an outage in which the line takes two seconds, more or less, and carries ten kilobytes a second.

    Relays wait without a transaction, and what they wait for is not sent again.
    """

    def outage(scene: Scene) -> None:
        scene.require_flow()
        repeats = scene.repeats()
        with (
            scene.disturbed(),
            scene.line.toxic("latency", latency=2_000, jitter=1_000),
            scene.line.toxic("bandwidth", rate=10, upstream=True),
        ):
            ends_at = time.monotonic() + seconds
            looks = []
            while time.monotonic() < ends_at:
                looks.append(scene.has_idle_transaction())
                time.sleep(_POLL_SECONDS)
            # Between the statements of what it writes there may be one; if it waited in one, it would mostly be there.
            assert sum(looks) < len(looks) / 2, f"{sum(looks)} of {len(looks)} times a relay waited in a transaction"
            scene.require_requests(10)
        scene.require_flow()
        assert scene.repeats() == repeats

    return outage


def silent(seconds: float) -> Outage:
    """Return an outage in which nothing passes the line, though it is open at both ends."""

    def outage(scene: Scene) -> None:
        with (
            scene.disturbed(),
            scene.line.toxic("timeout", timeout=0),
            scene.line.toxic("timeout", timeout=0, upstream=True),
        ):
            ends_at = time.monotonic() + seconds
            scene.require_requests(10)
            time.sleep(max(0.0, ends_at - time.monotonic()))
        scene.require_flow()

    return outage


def broken_off(times: int) -> Outage:
    """Return an outage in which connections are reset so often, or end in the midst of what they carry."""

    def outage(scene: Scene) -> None:
        with scene.disturbed():
            for _ in range(times):
                if scene.chance.random() < 0.5:
                    toxic = scene.line.toxic("reset_peer", timeout=scene.chance.randrange(3_000), upstream=True)
                else:
                    is_sent = scene.chance.random() < 0.5
                    toxic = scene.line.toxic("limit_data", bytes=scene.chance.randrange(5_000), upstream=is_sent)
                with toxic:
                    time.sleep(scene.chance.uniform(0, 3))
                scene.require_requests(1)
        scene.require_flow()

    return outage
