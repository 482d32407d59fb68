"""
Reads on replicas: which nodes there are, how far each has come, and which one serves a read.

Each node is asked about four times a second where it is; the primary too. So a read is routed without asking anybody,
and a node that has gone, or lags, is left out within a second. What a caller has to see is compared with what the node
of the very connection is known to hold.
"""

from __future__ import annotations

import contextlib
import math
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import structlog
from sqlalchemy import text

from userservice_core.errors import (
    DatabaseUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    SchemaMismatchError,
    UnavailableError,
    UserServiceError,
)
from userservice_core.infrastructure.postgres.database import Connection, Cursor, Database
from userservice_core.infrastructure.postgres.errors import ConnectionLostError, RetriableError
from userservice_core.infrastructure.postgres.positions import (
    PROGRESS,
    STATE,
    ServerState,
    state_of,
    written_position,
)
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.ports.consistency import Position, current_reading
from userservice_core.ports.context import current_call, deadline_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from userservice_core.infrastructure.postgres.statements import Step
    from userservice_core.ports.consistency import Reading
    from userservice_core.ports.metrics import Metrics

T = TypeVar("T")

PROBE_SECONDS: Final = 0.25
"""Between two questions to a node."""

_PATIENCE_SECONDS: Final = 0.45
# From the last good answer. With what a question may take, a node that is silent is out after less than a second.
_TRUSTED_SECONDS: Final = 0.9
# How long a node has to be well before it serves again, and how long one rests that has failed a read.
_REST_SECONDS: Final = 1.0
_URGENT_SECONDS: Final = 0.004
_WAIT_SECONDS: Final = 0.05
_TRIES: Final = 2

_PING: Final = Statement(text("SELECT 1"))

_log = structlog.get_logger("userservice.replicas")


@attrs.frozen(kw_only=True)
class Node:
    """
    A replica, as the settings name it.

    Attributes:
        name: For metrics and the readiness answer; no address.
        zone: Where it is; empty where that does not matter.
        weight: How large a part of the reads it gets, beside others of its zone; 0 for none.
        tells_position: Whether the address leads to one server, which says how far it has come. An address behind
            which servers take turns serves only callers who need not see a write of their own.
    """

    name: str
    dsn: str = attrs.field(repr=False)
    zone: str = ""
    weight: int = 1
    tells_position: bool = True


class ReplicaLaggingError(UnavailableError):
    """A replica is further behind than reads may be."""

    code = "replica-lagging"


class ReplicaUnreachableError(UnavailableError):
    """A replica does not answer."""

    code = "replica-unreachable"


class ReplicaOfOtherHistoryError(UnavailableError):
    """A replica does not follow the primary, or followed it into another history."""

    code = "replica-of-other-history"


class _NotThereError(Exception):
    """The server of this connection is not known to hold what has to be seen."""


class _NobodyError(Exception):
    """No replica can serve a read."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Timelines:
    """
    The gate of the primary: refuses a server of an older history than any that was seen.

    A primary that comes back after another has taken over still takes writes, which would be lost. Its history has the
    lower number. Only histories of one system can be compared.
    """

    def __init__(self) -> None:
        # By system: what a replica says before the primary was first asked counts as well.
        self._newest: dict[int, Position] = {}
        self._refuses_all = False
        self._lock = threading.Lock()

    def admits(self, state: ServerState | None) -> bool:
        return not self._refuses_all and self.is_current(state)

    def is_current(self, state: ServerState | None) -> bool:
        """Tell whether a server is of no older history, wherever the primary's address leads at present."""
        # Whoever writes to a standby is told so by the standby.
        return state is None or state.is_standby or self._is_newest(state.position)

    def saw_replica(self, position: Position) -> None:
        """Take note of the history that a replica follows; a newer one than the primary's means another primary."""
        if self._take_note(position):
            _log.warning("a replica follows a newer primary", timeline=position.timeline)

    def saw_primary(self, state: ServerState) -> bool:
        """Take note of where the primary's address leads now, and tell whether it may be used."""
        is_current = self.is_current(state)
        # Behind a pooler a connection may lead elsewhere than it did at its beginning.
        self._refuses_all = not is_current
        return is_current

    def _is_newest(self, position: Position) -> bool:
        if self._take_note(position):
            _log.warning("the primary changed", timeline=position.timeline)
        return self._newest[position.system_id].is_on(position)

    def _take_note(self, position: Position) -> bool:
        """Remember the history of *position* if it is the newest of its system; return whether it replaces another."""
        newest = self._newest.get(position.system_id)
        if newest is not None and newest.timeline >= position.timeline:
            return False
        with self._lock:
            newest = self._newest.get(position.system_id)
            if newest is not None and newest.timeline >= position.timeline:
                return False
            self._newest[position.system_id] = position
            return newest is not None


class _PrimaryProbe:
    """The gate of the probe of the primary, which has to find the way back once the address leads there again."""

    def __init__(self, timelines: Timelines) -> None:
        self._timelines = timelines

    def admits(self, state: ServerState | None) -> bool:
        return self._timelines.is_current(state)


class _AnyServer:
    """The gate of a replica: whatever it is, the reads are compared with where it is."""

    def admits(self, state: ServerState | None) -> bool:
        del state
        return True


@attrs.frozen
class _Sample:
    """Where a server was; asked for not before *began_at*, by the monotonic clock."""

    began_at: float
    state: ServerState


class _Primary:
    """Where the primary was, and when."""

    def __init__(self, database: Database, timelines: Timelines, *, kept_seconds: float) -> None:
        self._database = database
        self._timelines = timelines
        self._kept_seconds = kept_seconds
        self._samples: deque[_Sample] = deque()
        self._lock = threading.Lock()

    @property
    def latest(self) -> _Sample | None:
        """The newest sample, None before the first one."""
        with self._lock:
            return self._samples[-1] if self._samples else None

    def caught_up_at(self, position: Position) -> float:
        """Return since when at most *position* lacks anything: the time of the newest sample that it includes."""
        with self._lock:
            for sample in reversed(self._samples):
                if position.includes(sample.state.position):
                    return sample.began_at
        return -math.inf

    def probe(self) -> None:
        """
        Ask where it is.

        Raises:
            UserServiceError: If it does not say, or is not the one to be asked.
        """
        began_at = time.monotonic()
        state = _asked(self._database)
        if state is None or state.is_standby:
            raise DatabaseUnavailableError
        if not self._timelines.saw_primary(state):
            raise DatabaseUnavailableError
        with self._lock:
            self._samples.append(_Sample(began_at, state))
            while self._samples[0].began_at < began_at - self._kept_seconds:
                self._samples.popleft()


class Replica:
    """One node: its connections, and what is known of it."""

    def __init__(
        self,
        node: Node,
        database: Database,
        primary: _Primary,
        timelines: Timelines,
        *,
        max_lag_seconds: float,
        metrics: Metrics,
    ) -> None:
        self.node = node
        self.name = node.name
        self._database = database
        self._primary = primary
        self._timelines = timelines
        self._max_lag_seconds = max_lag_seconds
        self._metrics = metrics
        self._sample: _Sample | None = None
        self._answered_at = -math.inf
        self._caught_up_at = -math.inf
        self._rests_until = -math.inf
        self._is_silent = False
        self._is_following = False

    def fault(self) -> UserServiceError | None:
        """Return why it serves nothing now, None if it serves."""
        now = time.monotonic()
        if now - self._answered_at > _TRUSTED_SECONDS or now < self._rests_until:
            return ReplicaUnreachableError()
        if not self.node.tells_position:
            return None
        if not self._is_following:
            return ReplicaOfOtherHistoryError()
        return ReplicaLaggingError() if now - self._caught_up_at > self._max_lag_seconds else None

    def ping(self) -> None:
        """
        Return if it serves; a `ports.health.Ping`.

        Raises:
            UserServiceError: If not.
        """
        fault = self.fault()
        if fault is not None:
            raise fault

    def includes(self, position: Position) -> bool:
        """Whether it is known to hold everything up to *position*."""
        sample = self._sample
        return sample is not None and sample.state.position.includes(position)

    def fetch(self, step: Step, take: Callable[[Cursor], T], *, at_least: Position | None) -> T:
        """
        Run a read here, once.

        Raises:
            UserServiceError: As `Database.fetch_all`.
            _NotThereError: If the server of the connection may lack what *at_least* asks for.
        """
        try:
            with self._database.lend() as link:
                if not self._holds(link.connection, at_least):
                    # The next one leads to where the node is now.
                    link.is_lost = True
                    raise _NotThereError
                return take(link.run(step))
        except RetriableError:
            self._rests_until = time.monotonic() + _REST_SECONDS
            raise

    def probe(self, *, is_urgent: bool) -> None:
        """
        Ask where it is; only how far, if that is urgent.

        Raises:
            UserServiceError: If it does not say.
        """
        try:
            if not self.node.tells_position:
                with deadline_after(_PATIENCE_SECONDS):
                    self._database.fetch_one(_PING)
            elif not (is_urgent and self._advance()):
                self._look()
        except UserServiceError:
            self._fall_silent()
            raise
        if self._is_silent:
            self._is_silent = False
            self._rests_until = time.monotonic() + _REST_SECONDS
        self._answered_at = time.monotonic()
        if self.node.tells_position:
            self._metrics.gauge(f"replica_lag_seconds_{self.name}", min(3600.0, self._answered_at - self._caught_up_at))

    def close(self) -> None:
        """Close its connections."""
        self._database.close()

    def _look(self) -> None:
        began_at = time.monotonic()
        state = _asked(self._database)
        if state is None:
            raise DatabaseUnavailableError
        before = self._sample
        if before is not None and state.is_same_server(before.state) and before.state.is_standby == state.is_standby:
            # While nothing is received, only the last restart point says which history it follows.
            timeline = max(state.position.timeline, before.state.position.timeline)
            state = attrs.evolve(state, position=attrs.evolve(state.position, timeline=timeline))
        self._note(_Sample(began_at, state))

    def _advance(self) -> bool:
        """Ask how far it has come; return whether that could be told without asking what it is."""
        before = self._sample
        if before is None or not before.state.is_standby:
            return False
        began_at = time.monotonic()
        with deadline_after(_PATIENCE_SECONDS), self._database.lend() as link:
            state = link.connection.state
            if state is None or not state.is_same_server(before.state) or link.connection.asked_at > before.began_at:
                return False
            row = link.run(PROGRESS()).fetchone()
        if row is None or row[0] is None or row[1] is not True:
            return False
        position = attrs.evolve(before.state.position, offset=row[0])
        self._note(_Sample(began_at, attrs.evolve(before.state, position=position)))
        return True

    def _note(self, sample: _Sample) -> None:
        position = sample.state.position
        self._timelines.saw_replica(position)
        latest = self._primary.latest
        self._is_following = latest is not None and position.is_on(latest.state.position)
        self._sample = sample
        self._caught_up_at = self._primary.caught_up_at(position)

    def _fall_silent(self) -> None:
        self._answered_at = -math.inf
        if not self._is_silent:
            self._is_silent = True
            # Who waits for an answer of a server that is frozen would wait until the deadline.
            self._database.interrupt_all()

    def _holds(self, connection: Connection, at_least: Position | None) -> bool:
        """
        Tell whether the server of *connection* holds *at_least*.

        A server that was restarted may be behind where it was before, and an address may lead to another one since. So
        what the node said counts for connections only that are older than its word, and lead to who gave it.
        """
        if not self.node.tells_position:
            return at_least is None
        state, sample = connection.state, self._sample
        if state is None or sample is None:
            return False
        if at_least is not None and state.position.includes(at_least):
            return True
        if not state.is_same_server(sample.state):
            return False
        return at_least is None or (connection.asked_at < sample.began_at and sample.state.position.includes(at_least))


class ReplicaSet:
    """All nodes, with the threads that watch them."""

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        primary_dsn: str,
        timelines: Timelines,
        connections: int,
        waiters: int,
        max_lag_seconds: float,
        zone: str,
        prepared_statements: bool,
        metrics: Metrics,
        lifetime_seconds: float = 1800.0,
        opens_within_seconds: float = 0.0,
    ) -> None:
        """
        Name the nodes; nothing is connected, and nobody serves, before :meth:`start`.

        Args:
            nodes: The replicas.
            primary_dsn: Of the primary, whose positions they are compared with.
            timelines: The gate of the primary's connections.
            connections: To each node at most, one of which is for asking where it is.
            waiters: How many reads may wait at once for a replica to catch up.
            max_lag_seconds: How old an answer may be.
            zone: Of this process; nodes of it come first.
            prepared_statements: Whether statements are prepared.
            metrics: Counts who served, and why somebody else had to.
            lifetime_seconds: How old a connection gets at most.
            opens_within_seconds: Each node is first asked after a random part of this.
        """
        self._metrics = metrics
        self._opens_within_seconds = opens_within_seconds
        self._primary_database = Database(
            primary_dsn,
            pool_size=1,
            gate=_PrimaryProbe(timelines),
            prepared_statements=prepared_statements,
            outage_wait_seconds=0,
            lifetime_seconds=lifetime_seconds,
        )
        self._primary = _Primary(self._primary_database, timelines, kept_seconds=max_lag_seconds + 1)
        self.replicas = tuple(
            Replica(
                node,
                Database(
                    node.dsn,
                    pool_size=connections,
                    gate=_AnyServer(),
                    prepared_statements=prepared_statements,
                    outage_wait_seconds=0,
                    lifetime_seconds=lifetime_seconds,
                ),
                self._primary,
                timelines,
                max_lag_seconds=max_lag_seconds,
                metrics=metrics,
            )
            for node in nodes
        )
        self._zone = zone
        self._free_waits = threading.Semaphore(waiters)
        self._news = threading.Condition()
        self._waiting = 0
        self._random = random.Random()  # noqa: S311 - no secret
        self._is_closed = False
        self._unasked = len(self.replicas) + 1
        self._hurry = [threading.Event() for _ in range(len(self.replicas) + 1)]
        self._threads = [
            threading.Thread(target=self._watch, args=(probe, hurry), name="userservice-replica-probe", daemon=True)
            for probe, hurry in zip((self._probe_primary, *map(self._prober, self.replicas)), self._hurry, strict=True)
        ]

    @property
    def is_loaded(self) -> bool:
        """Whether every node was asked once: until then an old primary could pass for the present one."""
        return self._unasked <= 0

    def start(self) -> None:
        """Begin to watch."""
        for thread in self._threads:
            thread.start()

    def look(self) -> None:
        """Ask the primary and then each node once, for a process that does not watch them."""
        for probe in (self._probe_primary, *map(self._prober, self.replicas)):
            with contextlib.suppress(UserServiceError):
                probe(False)  # noqa: FBT003 - as the threads call it

    def close(self) -> None:
        """End the threads and close the connections."""
        self._is_closed = True
        self._hasten()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for replica in self.replicas:
            replica.close()
        self._primary_database.close()

    def current(self) -> Position:
        """Ask the primary where it is; a `ports.consistency.PositionSource`."""
        try:
            state = _asked(self._primary_database)
        except UserServiceError:
            state = None
        return written_position(None, None) if state is None else state.position

    def choose(self, reading: Reading, *, without: Sequence[Replica] = ()) -> Replica | None:
        """Return who is to serve a read, None for the primary; waits up to 50 ms for somebody to catch up."""
        try:
            return self._chosen(reading, without)
        except _NobodyError as nobody:
            self._metrics.count("replica_fallback", outcome=nobody.cause)
            return None

    def count(self, replica: Replica, outcome: str) -> None:
        """Count a read that was given to *replica*."""
        self._metrics.count(f"replica_read_{replica.name}", outcome=outcome)

    def _chosen(self, reading: Reading, without: Sequence[Replica]) -> Replica:
        serving = [
            replica
            for replica in self.replicas
            if replica not in without and replica.node.weight and replica.fault() is None
        ]
        needed = reading.at_least
        if not serving:
            raise _NobodyError("none-serving")
        if needed is None:
            return self._picked(serving)
        able = [replica for replica in serving if replica.includes(needed)]
        if able:
            return self._picked(able)
        latest = self._primary.latest
        if latest is None or not latest.state.position.is_on(needed):
            raise _NobodyError("other-history")
        if not any(replica.node.tells_position for replica in serving):
            raise _NobodyError("no-position")
        if not self._free_waits.acquire(blocking=False):
            raise _NobodyError("too-many-waiting")
        try:
            return self._awaited(serving, needed)
        finally:
            self._free_waits.release()

    def _picked(self, able: list[Replica]) -> Replica:
        """Choose one of those of this zone, or of all if there is none, by weight."""
        near = [replica for replica in able if replica.node.zone == self._zone] or able
        if len(near) == 1:
            return near[0]
        return self._random.choices(near, weights=[replica.node.weight for replica in near])[0]

    def _awaited(self, serving: list[Replica], needed: Position) -> Replica:
        began_at = time.monotonic()
        ends_at = began_at + _WAIT_SECONDS
        left = current_call().left_seconds()
        if left is not None:
            ends_at = min(ends_at, began_at + left / 2)
        with self._news:
            self._waiting += 1
            try:
                self._hasten()
                while True:
                    able = [replica for replica in serving if replica.includes(needed)]
                    if able:
                        return self._picked(able)
                    latest = self._primary.latest
                    if latest is not None and latest.began_at > began_at and not latest.state.position.includes(needed):
                        # The caller has seen what the primary has not.
                        raise _NobodyError("beyond-the-primary")
                    if not self._news.wait(ends_at - time.monotonic()):
                        raise _NobodyError("behind")
            finally:
                self._waiting -= 1

    def _hasten(self) -> None:
        for hurry in self._hurry:
            hurry.set()

    def _prober(self, replica: Replica) -> Callable[[bool], None]:
        return lambda is_urgent: replica.probe(is_urgent=is_urgent)

    def _probe_primary(self, is_urgent: bool) -> None:  # noqa: FBT001 - as the others
        del is_urgent
        self._primary.probe()

    def _watch(self, probe: Callable[[bool], None], hurry: threading.Event) -> None:
        was_well = is_first = True
        if hurry.wait(self._random.uniform(0, self._opens_within_seconds)):
            hurry.clear()
        while not self._is_closed:
            is_urgent = self._waiting > 0
            try:
                probe(is_urgent)
            except Exception as error:  # noqa: BLE001 - whatever it is, the node has not answered
                if was_well and not isinstance(error, UserServiceError):
                    _log.error("probe failed", exc_info=error)
                was_well = False
            else:
                was_well = True
            with self._news:
                self._unasked -= is_first
                is_first = False
                self._news.notify_all()
            # Jitter, so that the processes that were started together do not ask together for ever.
            pause = PROBE_SECONDS * self._random.uniform(0.8, 1.0)
            if hurry.wait(_URGENT_SECONDS if self._waiting and was_well else pause):
                hurry.clear()


class RoutedReads:
    """
    The reads of requests that a replica may serve; all others go to the primary. A `database.Reads`.

    A read that fails on a replica is repeated, on another one or on the primary.
    """

    def __init__(self, primary: Database, replicas: ReplicaSet) -> None:
        self._primary = primary
        self._replicas = replicas

    def fetch_all(self, statement: Statement, **params: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - any column
        """Run a read in autocommit, and return its rows; raises as `Database.fetch_all`."""
        reading = current_reading()
        if reading is None or not reading.allows_replicas:
            return self._primary.fetch_all(statement, **params)
        return self._routed(
            reading, statement(**params), Cursor.fetchall, lambda: self._primary.fetch_all(statement, **params)
        )

    def fetch_one(self, statement: Statement, **params: Any) -> tuple[Any, ...] | None:  # noqa: ANN401 - any column
        """Run a read in autocommit, and return its only row, or None; raises as `Database.fetch_all`."""
        reading = current_reading()
        if reading is None or not reading.allows_replicas:
            return self._primary.fetch_one(statement, **params)
        return self._routed(
            reading, statement(**params), Cursor.fetchone, lambda: self._primary.fetch_one(statement, **params)
        )

    def _routed(self, reading: Reading, step: Step, take: Callable[[Cursor], T], from_primary: Callable[[], T]) -> T:
        tried: list[Replica] = []
        while len(tried) < _TRIES:
            replica = self._replicas.choose(reading, without=tried)
            if replica is None:
                break
            tried.append(replica)
            try:
                # Half of what is left, so that somebody else can still be asked.
                with deadline_after((current_call().left_seconds() or 2.0) / 2):
                    found = replica.fetch(step, take, at_least=reading.at_least)
            except _NotThereError:
                self._replicas.count(replica, "not-there")
            except _REPEATED as error:
                self._replicas.count(replica, _cause(error))
            else:
                self._replicas.count(replica, "ok")
                return found
        return from_primary()


# A schema that does not fit is that of a replica which has not replayed a migration yet.
_REPEATED: Final = (DatabaseUnavailableError, DeadlineExceededError, OverloadedError, SchemaMismatchError)


def _cause(error: UserServiceError) -> str:
    if isinstance(error, RetriableError) and not isinstance(error, ConnectionLostError):
        return "conflict"
    return "lost" if isinstance(error, DatabaseUnavailableError) else error.code


def _asked(database: Database) -> ServerState | None:
    """
    Ask a server what it is and where.

    Raises:
        UserServiceError: If it does not answer in time.
    """
    with deadline_after(_PATIENCE_SECONDS), database.lend() as link:
        row = link.run(STATE()).fetchone()
    return None if row is None else state_of(row)
