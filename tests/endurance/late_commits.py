"""
Writers that sleep within their transactions, so that what got the lower number is committed after the higher one.

Meanwhile relays come and go, and one is frozen between reading and sending, until others have had its lanes for long.
"""

from __future__ import annotations

import contextlib
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

import psycopg

from tests.e2e.processes import eventually
from tests.endurance import processes
from tests.endurance.forks import end, fork, is_stopped, send
from tests.endurance.oracle import Oracle
from userservice_core.ports.publishing import lane_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from multiprocessing.context import ForkServerProcess

    from tests.endurance.installation import Installation
    from tests.soak.outcomes import Tally

_WRITERS: Final = 64
_KEYS: Final = 256
_LONGEST_SLEEP_SECONDS: Final = 0.05
_MOST_AT_ONCE: Final = 3
_RELAYS: Final = 4
_LEASE_SECONDS: Final = 3.0
_DRAIN_SECONDS: Final = 60.0

_COUNTERS: Final = "CREATE TABLE counter (key text PRIMARY KEY, events bigint NOT NULL)"
# As the service does it: the row of the key first, which is then locked, and with its numbers the events last.
_WRITE: Final = """
WITH counted AS (
    UPDATE counter SET events = events + %(count)s WHERE key = %(key)s RETURNING events
)
INSERT INTO outbox (lane, id, aggregatetype, aggregateid, type, payload, source, subject, occurred_at, sequence)
SELECT %(lane)s, gen_random_uuid(), %(topic)s, %(key)s, 'example.thing.happened.v1', '{}', '/tests', %(key)s, now(),
    events - %(count)s + number
FROM counted, generate_series(1, %(count)s) AS number ORDER BY number
"""


def late_commits(installation: Installation, *, events: int, seed: int) -> Tally:
    """Write *events* while relays come and go, and judge what arrived."""
    chance = random.Random(seed)  # noqa: S311 - it is to be the same again
    topics = installation.topics
    topic = topics.create("users", partitions=8)
    oracle = Oracle(installation.dsn)
    keys = [f"k{number}" for number in range(_KEYS)]
    with contextlib.closing(psycopg.connect(installation.dsn)) as connection:
        connection.execute(_COUNTERS)
        connection.cursor().executemany("INSERT INTO counter VALUES (%s, 0)", [(key,) for key in keys])
        connection.commit()
    relays = _Relays(installation)
    with relays.running(), ThreadPoolExecutor(_WRITERS) as writers:
        written = [
            writers.submit(_write, installation.dsn, topic, seed=chance.random(), events=events // _WRITERS)
            for _ in range(_WRITERS)
        ]
        relays.come_and_go(written, chance)
        for each in written:
            each.result()
        relays.thaw()
        with contextlib.suppress(AssertionError):
            # What has not arrived by then is lost, and counted.
            eventually(partial(_is_empty, installation.dsn), what="an empty outbox", seconds=_DRAIN_SECONDS)
    tally = oracle.judge({topic: topics.arrivals("users")}, with_effects=False, trials=events)
    assert len(oracle.committed([topic])) == events // _WRITERS * _WRITERS
    return tally


def _write(dsn: str, topic: str, *, seed: float, events: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - as above
    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
        left = events
        while left:
            count = min(left, chance.randint(1, _MOST_AT_ONCE))
            key = f"k{chance.randrange(_KEYS)}"
            values = {"count": count, "key": key, "lane": lane_of(topic, key), "topic": topic}
            with connection.pipeline(), connection.transaction():
                connection.execute(_WRITE, values)
                connection.execute("SELECT pg_sleep(%s)", (chance.uniform(0, _LONGEST_SLEEP_SECONDS),))
            left -= count


def _is_empty(dsn: str) -> bool:
    with contextlib.closing(psycopg.connect(dsn)) as connection:
        return connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)


class _Relays:
    """Four relays, one of which freezes with what it has read."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._running: dict[str, ForkServerProcess] = {}
        self._frozen: ForkServerProcess | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run them for the block; whoever is left then ends as an orchestrator ends it."""
        self._frozen = self._start("frozen", freezes_at="relay.read:3")
        for number in range(1, _RELAYS):
            self._running[f"r{number}"] = self._start(f"r{number}")
        try:
            yield
        finally:
            self.thaw()
            codes = [end(process) for process in (*self._running.values(), self._frozen)]
            assert codes == [0] * len(codes), self._installation.log.read_text()[-2000:]

    def come_and_go(self, written: list[Future[None]], chance: random.Random) -> None:
        """End one and start another from time to time, until all is written; thaw the frozen one late enough."""
        frozen_at: float | None = None
        is_thawed = False
        numbers = iter(range(_RELAYS, 10_000))
        while not (all(each.done() for each in written) and is_thawed):
            time.sleep(chance.uniform(0.2, 0.6))
            if frozen_at is None and self._frozen is not None and is_stopped(self._frozen):
                frozen_at = time.monotonic()
            if frozen_at is not None and not is_thawed and time.monotonic() > frozen_at + _LEASE_SECONDS + 1:
                self.thaw()
                is_thawed = True
            if not all(each.done() for each in written):
                name = chance.choice(list(self._running))
                code = end(self._running.pop(name))
                assert code == 0, self._installation.log.read_text()[-2000:]
                name = f"r{next(numbers)}"
                self._running[name] = self._start(name)

    def thaw(self) -> None:
        """Let the frozen one go on with what it holds."""
        if self._frozen is not None:
            send(self._frozen, signal.SIGCONT)

    def _start(self, name: str, freezes_at: str | None = None) -> ForkServerProcess:
        installation = self._installation
        return fork(
            partial(processes.relay, freezes_at=freezes_at),
            *(installation.environment, name, str(installation.mails)),
            log=installation.log,
        )
