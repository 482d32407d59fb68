"""
Connections to one server: pooled by SQLAlchemy, used through the driver, watched until the call's deadline.

A call without a deadline gets one, so that nothing here waits for ever.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import select
import socket
import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import attrs
import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from userservice_core.errors import DatabaseUnavailableError, DeadlineExceededError, OverloadedError
from userservice_core.infrastructure.postgres.attempts import attempt_to_connect
from userservice_core.infrastructure.postgres.errors import ConnectionLostError, RetriableError, translated
from userservice_core.infrastructure.postgres.positions import STATE, state_of
from userservice_core.infrastructure.postgres.slots import PoolAdviser, Slots
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.watchdog import Guard, Watchdog
from userservice_core.ports.context import current_call, deadline_after, require_patience
from userservice_core.ports.tracing import SpanKind, installed_tracer, spanned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg.pq.abc import PGresult
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

    from userservice_core.infrastructure.postgres.positions import Gate, ServerState
    from userservice_core.infrastructure.postgres.statements import Step
    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.tracing import Attributes

T = TypeVar("T")

DEFAULT_DEADLINE_SECONDS: Final = 5.0
"""For work outside a request."""

# Where a fifth of all tries fails, one call of fifteen thousand fails each time.
_TRIES: Final = 6
_FIRST_PAUSE_SECONDS: Final = 0.02
# How long calls wait for a server that has just gone; while it stays away, the next ones are refused at once.
_OUTAGE_WAIT_SECONDS: Final = 2.0
_CONNECT_PAUSE_SECONDS: Final = 0.05
_CONNECT_PAUSE_SPREAD: Final = (0.6, 1.4)
_CONNECT_TIMEOUT_SECONDS: Final = 3
_LIFETIME_SECONDS: Final = 1800.0
# Those that were opened together do not end together.
_LIFETIME_SPREAD: Final = (0.8, 1.0)
# What lies between may have forgotten a connection that was idle for so long, without a word to either end. A process
# that was frozen has been idle too.
_ASKED_AFTER_IDLE_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 0.5
_PREPARE_THRESHOLD: Final = 3
_CONNECTION_DEFAULTS: Final = {
    # Half-open connections end by themselves: after 3 probes, or when what was sent is not acknowledged.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


_BEGIN_SNAPSHOT: Final = Statement(text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
_COMMIT: Final = Statement(text("COMMIT"))
_PING: Final = Statement(text("SELECT 1"))

_log = structlog.get_logger("userservice.database")


class Reads(Protocol):
    """What readers ask: one server, or several of which each read is given to one. Safe for many threads."""

    def fetch_all(self, statement: Statement, **params: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - any column
        """Run a read in autocommit, and return its rows; raises as :meth:`Database.fetch_all`."""
        ...

    def fetch_one(self, statement: Statement, **params: Any) -> tuple[Any, ...] | None:  # noqa: ANN401 - any column
        """Run a read in autocommit, and return its only row, or None; raises as :meth:`Database.fetch_all`."""
        ...


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """
    A connection that another thread can interrupt, and that remembers what the server warned of.

    Attributes:
        warnings: Notices of severity WARNING since the list was last emptied.
        state: What the server said of itself at the beginning; None where it was not asked, or could not tell.
        asked_at: When that was asked, by the monotonic clock.
        ends_at: When it is to be replaced, by the monotonic clock.
        idle_since: When it was last used, by a clock that goes on while the machine sleeps.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the driver's own arguments
        super().__init__(*args, **kwargs)
        self.warnings: list[str] = []
        self.state: ServerState | None = None
        self.asked_at = -math.inf
        self.ends_at = math.inf
        self.idle_since = time.clock_gettime(time.CLOCK_BOOTTIME)
        # Shutting a duplicate shuts the connection, and its number cannot be given to another file meanwhile.
        self._socket = socket.socket(fileno=os.dup(self.fileno()))
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self.add_notice_handler(self._remember_warning)

    def has_news(self) -> bool:
        """Whether an idle connection has something to read: that it is closed, or about to be."""
        return bool(self._poll.poll(0))

    def cancel_statement(self, *, timeout_seconds: float) -> None:
        """Ask the server, over another connection, to cancel what this one is doing."""
        self.cancel_safe(timeout=timeout_seconds)

    def shut_socket(self) -> None:
        """Let whoever reads from this connection find its end."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close both ends of our hold."""
        super().close()
        self._socket.close()

    def _remember_warning(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self.warnings.append(notice.message_primary or "")


class Cursor(psycopg.Cursor[tuple[Any, ...]]):
    """
    A cursor that remembers how its statement failed.

    When the server ends a connection, the driver raises that it broke, and forgets which statement was answered with
    the reason. That statement and all after it had no effect, which decides whether the work may be repeated.
    """

    failure: psycopg.Error | None = None

    def _check_results(self, results: list[PGresult]) -> None:
        try:
            super()._check_results(results)
        except psycopg.Error as error:
            self.failure = error
            raise


@attrs.frozen
class Sent:
    """The statements that were sent, in order, and the first error among them."""

    cursors: Sequence[Cursor]
    error: psycopg.Error | UnicodeEncodeError | None


class Link:
    """A connection lent to one thread."""

    __slots__ = ("_guard", "connection", "is_lost")

    def __init__(self, connection: Connection, guard: Guard) -> None:
        self.connection = connection
        self._guard = guard
        self.is_lost = False

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline passed while it was lent."""
        return self._guard.fired

    def run(self, step: Step) -> Cursor:
        """
        Run one statement: one round trip.

        Raises:
            UserServiceError: As :func:`~.errors.translated` says; DeadlineExceededError if the watchdog ended it.
        """
        statement, params = step
        with self.translating(), _span_of((step,)):
            cursor = Cursor(self.connection)
            cursor.execute(statement.text, params, binary=True)
            return cursor

    def run_all(self, steps: Sequence[Step]) -> Sequence[Cursor]:
        """
        Run several statements: one round trip for all of them. After a failed one no later one has an effect.

        Raises:
            UserServiceError: As for :meth:`run`, for the first one that failed.
        """
        sent = self.send_all(steps)
        if sent.error is not None:
            raise self.translated(sent.error) from sent.error
        return sent.cursors

    def send_all(self, steps: Sequence[Step]) -> Sent:
        """Run several statements as :meth:`run_all`, without raising."""
        cursors: list[Cursor] = []
        first_error: psycopg.Error | UnicodeEncodeError | None = None
        try:
            with _span_of(steps), self.connection.pipeline():
                try:
                    for statement, params in steps:
                        cursor = Cursor(self.connection)
                        cursor.execute(statement.text, params, binary=True)
                        cursors.append(cursor)
                except (psycopg.Error, UnicodeEncodeError) as error:
                    # Raised on, the driver would log what else fails at the end of the pipeline.
                    first_error = error
        except psycopg.Error as error:
            first_error = first_error or error
        answered = next((cursor.failure for cursor in cursors if cursor.failure is not None), None)
        return Sent(cursors, answered or first_error)

    def roll_back(self) -> None:
        """End the open transaction, if there is one; a connection that fails in this is lost."""
        try:
            self.connection.rollback()
        except psycopg.Error:
            self.is_lost = True

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Raise the service's errors instead of the driver's."""
        try:
            yield
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise self.translated(error) from error

    def translated(self, error: psycopg.Error | UnicodeEncodeError) -> Exception:
        """Return what *error* means, and remember whether the connection can be used again."""
        meaning = translated(error)
        if isinstance(meaning, ConnectionLostError):
            self.is_lost = True
            if self.is_overdue:
                return DeadlineExceededError()
        return meaning

    def is_reusable(self) -> bool:
        """Whether the connection may go back to the pool; one whose statement was cancelled late may not."""
        return not (
            self.is_lost
            or self.is_overdue
            or self.connection.closed
            or self.connection.info.transaction_status is not TransactionStatus.IDLE
        )


def _span_of(steps: Sequence[Step]) -> contextlib.AbstractContextManager[None]:
    """Have a round trip be a span, where it belongs to a trace: what is done for nobody in particular does not."""
    tracer = installed_tracer()
    if tracer is None or not steps or current_call().traceparent is None:
        return contextlib.nullcontext()
    # Without parameters: what users gave is nowhere in the text of a statement.
    texts = [statement.text.decode() for statement, _ in steps]
    attributes: Attributes = {"db.system.name": "postgresql", "db.query.text": ";\n".join(texts)}
    if len(texts) > 1:
        attributes["db.operation.batch.size"] = len(texts)
    return spanned(tracer, SpanKind.CLIENT, " ".join(_verbs(texts)), attributes)


def _verbs(texts: Sequence[str]) -> Iterator[str]:
    """Yield what statements do, in order, each once: `BEGIN`, `SELECT`, `INSERT`, `COMMIT`."""
    return iter(dict.fromkeys(text.split(None, 1)[0].upper() for text in texts))


class _Pool(QueuePool):
    """Keeps connections that can be lent, and no places of those that have gone: `checkedin` counts what is there."""

    # SQLAlchemy says what it does under the name of the class, and there it is as quiet as the rest of SQLAlchemy.
    _sqla_logger_namespace = "sqlalchemy.pool.QueuePool"

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if record.dbapi_connection is None:
            self._dec_overflow()
        else:
            super()._do_return_conn(record)


class _ReturnedError(Exception):
    """No connection could be opened, but one that is open has become free."""


class Database:
    """
    One server, or whichever of several the DSN leads to. Safe for many threads; not for use across a fork.

    Reads here are repeated on another connection when theirs dies.
    """

    def __init__(
        self,
        dsn: str,
        *,
        pool_size: int = 8,
        pool_timeout_seconds: float = 2.0,
        prepared_statements: bool = True,
        application_name: str = "userservice",
        metrics: Metrics | None = None,
        gate: Gate | None = None,
        tells_positions: bool = False,
        outage_wait_seconds: float = _OUTAGE_WAIT_SECONDS,
        lifetime_seconds: float = _LIFETIME_SECONDS,
        opens_within_seconds: float = 0.0,
    ) -> None:
        """
        Name the server; nothing is connected yet.

        Args:
            dsn: As libpq takes it (`postgresql://…`).
            pool_size: Connections at most.
            pool_timeout_seconds: How long a call waits for a free connection before it is refused.
            prepared_statements: To be turned off behind a pooler in transaction mode that does not know them.
            application_name: What the server's statistics call us.
            metrics: Counts retries and refusals.
            gate: Asked about every server before it is used; without one, any will do.
            tells_positions: Whether each transaction is told where it was written, in the round trip of its COMMIT.
            outage_wait_seconds: How long calls wait for a server that has just gone.
            lifetime_seconds: How old a connection gets at most. A name may mean another server after a fail-over.
            opens_within_seconds: The first connection is opened after a random part of this, so that processes that are
                started together do not all connect at one moment.
        """
        self.tells_positions = tells_positions
        self._gate = gate
        self._outage_wait_seconds = outage_wait_seconds
        self._conninfo = make_conninfo(dsn, **_defaults_for(dsn, application_name=application_name))
        self._prepare_threshold = _PREPARE_THRESHOLD if prepared_statements else None
        self._pool_timeout_seconds = pool_timeout_seconds
        self._metrics = metrics
        self._slots = Slots(pool_size)
        self._adviser = PoolAdviser(pool_size, now=time.monotonic())
        self._lifetime_seconds = lifetime_seconds
        self._opens_at = time.monotonic() + random.uniform(0, opens_within_seconds)  # noqa: S311 - no secret
        # What has been idle since before then is not believed to be alive.
        self._distrusted_until = -math.inf
        self._pool = _Pool(
            # The pool hands out what it is given; to it, any object with `close` is a connection.
            cast("Callable[[], DBAPIConnection]", self._connect),
            pool_size=pool_size,
            max_overflow=0,
            timeout=0,
            use_lifo=True,
            reset_on_return=None,
        )
        self._watchdog = Watchdog()
        self._gone_since: float | None = None
        self._own: ContextVar[Link | None] = ContextVar("userservice_own_connection", default=None)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._pool.dispose()
        self._watchdog.close()

    @property
    def connections_in_use(self) -> int:
        """How many connections are lent at present."""
        return self._pool.checkedout()

    def tell_usage(self) -> None:
        """Set the metrics of the pool, and log when its size does not fit; for one thread, about once a second."""
        usage = self._slots.usage()
        advice = self._adviser.look(usage, now=time.monotonic())
        if advice is not None:
            _log.warning("database pool", advice=advice)
        if self._metrics is None:
            return
        self._metrics.gauge("database_connections_in_use", usage.most_taken)
        self._metrics.gauge("database_connections_open", self._pool.checkedin() + self._pool.checkedout())
        self._metrics.gauge("database_calls_waiting", usage.most_waiting)
        if usage.waited:
            self._metrics.count("database_pool_wait", outcome="waited", times=usage.waited)

    def interrupt_all(self) -> None:
        """End the connections that are in use; for a server that is known to be gone, before those who wait know."""
        self._watchdog.interrupt_all()

    def fetch_all(self, statement: Statement, **params: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - any column
        """
        Run a statement in autocommit, and return its rows.

        It is repeated when its connection dies, so it must be a read, or harmless when it takes effect twice.

        Raises:
            DeadlineExceededError: If the call's deadline passed.
            OverloadedError: If no connection became free in time.
            DatabaseUnavailableError: If the server cannot be reached.
        """
        step = statement(**params)

        def attempt() -> list[tuple[Any, ...]]:
            with self.lend() as link:
                return link.run(step).fetchall()

        return self.retrying(attempt)

    def fetch_one(self, statement: Statement, **params: Any) -> tuple[Any, ...] | None:  # noqa: ANN401 - any column
        """Run a statement as :meth:`fetch_all`, and return its only row, or None."""
        step = statement(**params)

        def attempt() -> tuple[Any, ...] | None:
            with self.lend() as link:
                return link.run(step).fetchone()

        return self.retrying(attempt)

    def fetch_snapshot(self, *steps: Step) -> list[list[tuple[Any, ...]]]:
        """
        Run reads as :meth:`fetch_all`, all as of one moment and in one round trip, and return the rows of each.

        Raises:
            UserServiceError: As for :meth:`fetch_all`.
        """

        def attempt() -> list[list[tuple[Any, ...]]]:
            with self.lend() as link:
                _, *cursors, _ = link.run_all((_BEGIN_SNAPSHOT(), *steps, _COMMIT()))
                return [cursor.fetchall() for cursor in cursors]

        return self.retrying(attempt)

    def execute(self, statement: Statement, **params: Any) -> int:  # noqa: ANN401 - any column
        """Run a statement as :meth:`fetch_all`, and return the number of rows that it touched."""
        step = statement(**params)

        def attempt() -> int:
            with self.lend() as link:
                return link.run(step).rowcount

        return self.retrying(attempt)

    def retrying(self, attempt: Callable[[], T]) -> T:
        """
        Return what *attempt* returns, trying again within the call's deadline after a :class:`RetriableError`.

        Raises:
            RetriableError: If it failed to the last; it is a DatabaseUnavailableError.
        """
        if current_call().deadline is None:
            with deadline_after(DEFAULT_DEADLINE_SECONDS):
                return self._retrying(attempt)
        return self._retrying(attempt)

    @contextlib.contextmanager
    def lend(self) -> Iterator[Link]:
        """
        Lend a connection, in autocommit and outside a transaction; one that does not come back so is closed.

        Within :meth:`lending_only` it is that one, as it stands.

        Raises:
            OverloadedError: If none became free in time.
            DatabaseUnavailableError: If the server cannot be reached.
            DeadlineExceededError: If the call's deadline passed.
        """
        require_patience()
        own = self._own.get()
        if own is not None:
            if own.is_lost:
                raise DatabaseUnavailableError
            yield own
            return
        deadline = _deadline()
        with self._slot(deadline):
            pooled, connection = self._check_out(deadline)
            guard = self._watchdog.watch(connection, deadline)
            link = Link(connection, guard)
            try:
                yield link
            finally:
                self._watchdog.release(guard)
                if link.is_reusable():
                    connection.idle_since = time.clock_gettime(time.CLOCK_BOOTTIME)
                    self._gone_since = None
                else:
                    pooled.invalidate()
                pooled.close()

    @contextlib.contextmanager
    def lending_only(self, link: Link) -> Iterator[None]:
        """
        Lend this thread nothing but *link* within the block.

        Calls that hold a connection and wait for a second one would, at the bound of the pool, wait for each other.
        """
        token = self._own.set(link)
        try:
            yield
        finally:
            self._own.reset(token)

    def _retrying(self, attempt: Callable[[], T]) -> T:
        for number in range(1, _TRIES):
            try:
                return attempt()
            except RetriableError as error:
                if not self.pause_before_retry(error, number=number):
                    raise
        return attempt()

    def pause_before_retry(self, error: DatabaseUnavailableError, *, number: int = 2) -> bool:
        """
        Wait for a moment after a failure, so that two who met once do not meet again; tell whether there was the time.

        Args:
            error: The failure.
            number: How many there were; the more, the longer.
        """
        pause = random.uniform(0, _FIRST_PAUSE_SECONDS * 2**number)  # noqa: S311 - no secret
        if pause >= _deadline() - time.monotonic():
            return False
        self.count("database_retry", outcome=type(error).__name__)
        time.sleep(pause)
        return True

    @contextlib.contextmanager
    def _slot(self, deadline: float) -> Iterator[None]:
        """Wait for a connection to be free, before SQLAlchemy's pool would, which knows no deadlines."""
        patience_seconds = min(self._pool_timeout_seconds, deadline - time.monotonic())
        if patience_seconds <= 0:
            raise DeadlineExceededError
        if not self._slots.take_free():
            self._wait_for_slot(patience_seconds)
        try:
            yield
        finally:
            self._slots.give_back()

    def _wait_for_slot(self, patience_seconds: float) -> None:
        with contextlib.nullcontext() if self._metrics is None else self._metrics.timing("database_pool_wait"):
            is_taken = self._slots.take(patience_seconds=patience_seconds)
        if not is_taken:
            self.count("database_pool_wait", outcome="refused")
            raise OverloadedError

    def _check_out(self, deadline: float) -> tuple[PoolProxiedConnection, Connection]:
        """Return a connection that was alive a moment ago; all that have died since their last use are dropped."""
        unusable = 0
        while unusable <= self._slots.size:
            try:
                pooled = self._pool.connect()
            except _ReturnedError:
                continue
            connection = cast("Connection", pooled.driver_connection)
            if self._is_usable(connection, deadline):
                return pooled, connection
            unusable += 1
            pooled.invalidate()
            pooled.close()
            if time.monotonic() >= deadline:
                raise DeadlineExceededError
        raise ConnectionLostError

    def _is_usable(self, connection: Connection, deadline: float) -> bool:
        if connection.has_news() or time.monotonic() >= connection.ends_at:
            return False
        if self._gate is not None and not self._gate.admits(connection.state):
            return False
        if connection.idle_since <= self._distrusted_until:
            return False
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        if now - connection.idle_since < _ASKED_AFTER_IDLE_SECONDS or self._answers(connection, deadline):
            return True
        # What is between forgot it; so it has the others, and nobody should wait for each of them.
        self._distrusted_until = now
        self.count("database_connection", outcome="forgotten")
        return False

    def _answers(self, connection: Connection, deadline: float) -> bool:
        """Ask the server, which costs a round trip, and does not take longer than a moment."""
        guard = self._watchdog.watch(connection, min(deadline, time.monotonic() + _ANSWER_SECONDS))
        try:
            Cursor(connection).execute(_PING.text, {}, binary=True)
        except psycopg.Error:
            return False
        finally:
            self._watchdog.release(guard)
        return not guard.fired

    def _connect(self) -> Connection:
        """
        Connect, and wait a little for a server that was there until just now.

        Raises:
            _ReturnedError: If that failed, and a connection of the pool is free.
        """
        deadline = _deadline()
        self._wait_for_turn(deadline)
        began_at = time.monotonic()
        while True:
            try:
                connection = self._connect_once(deadline)
            except psycopg.OperationalError as error:
                # The server may have no more connections for us, and still serve by those that we have.
                if self._pool.checkedin():
                    raise _ReturnedError from error
                now = time.monotonic()
                # Calls that are answered meanwhile say that it is not gone.
                self._gone_since = gone_since = self._gone_since or now
                gives_up_at = min(deadline, min(gone_since, began_at) + self._outage_wait_seconds)
                pause = _CONNECT_PAUSE_SECONDS * random.uniform(*_CONNECT_PAUSE_SPREAD)  # noqa: S311 - no secret
                if now + pause >= gives_up_at:
                    raise DatabaseUnavailableError from error
                time.sleep(pause)
            else:
                self._gone_since = None
                spread = random.uniform(*_LIFETIME_SPREAD)  # noqa: S311 - no secret
                connection.ends_at = time.monotonic() + self._lifetime_seconds * spread
                return connection

    def _wait_for_turn(self, deadline: float) -> None:
        """Let the moment pass in which all that was started together connects."""
        early_by = self._opens_at - time.monotonic()
        if early_by <= 0:
            return
        if time.monotonic() + early_by >= deadline:
            raise DatabaseUnavailableError
        time.sleep(early_by)

    def _connect_once(self, deadline: float) -> Connection:
        connection = self._opened(self._conninfo, deadline)
        if self._gate is None or self._is_admitted(connection, self._gate, deadline):
            return connection
        # The first that answered is not the right one, which may be another of those that the DSN names.
        for conninfo in _each_host(self._conninfo):
            with contextlib.suppress(psycopg.OperationalError):
                connection = self._opened(conninfo, deadline)
                if self._is_admitted(connection, self._gate, deadline):
                    return connection
        self.count("database_connection", outcome="refused")
        raise psycopg.OperationalError("No server that the DSN leads to may be used.")

    def _opened(self, conninfo: str, deadline: float) -> Connection:
        patience_seconds = deadline - time.monotonic()
        with attempt_to_connect():
            connection = Connection.connect(
                conninfo,
                autocommit=True,
                prepare_threshold=self._prepare_threshold,
                connect_timeout=max(1, min(_CONNECT_TIMEOUT_SECONDS, math.floor(patience_seconds))),
            )
        # The driver reads times in the session's zone; the pooler keeps this setting for its client.
        if connection.pgconn.parameter_status(b"TimeZone") != b"UTC":
            connection.execute("SET TIME ZONE 'UTC'")
        return connection

    def _is_admitted(self, connection: Connection, gate: Gate, deadline: float) -> bool:
        """Ask the server what it is, and the gate whether it will do; if not, the connection is closed."""
        guard = self._watchdog.watch(connection, deadline)
        try:
            connection.asked_at = time.monotonic()
            cursor = Cursor(connection)
            cursor.execute(STATE.text, {}, binary=True)
            row = cursor.fetchone()
            connection.state = None if row is None else state_of(row)
        except psycopg.OperationalError:
            connection.close()
            raise
        except psycopg.Error:
            # One that is like PostgreSQL, and has no such functions.
            connection.state = None
        finally:
            self._watchdog.release(guard)
        if gate.admits(connection.state):
            return True
        connection.close()
        return False

    def count(self, what: str, *, outcome: str) -> None:
        """Count *what* if there is somebody to count for."""
        if self._metrics is not None:
            self._metrics.count(what, outcome=outcome)


def _defaults_for(dsn: str, *, application_name: str) -> dict[str, str]:
    """Return what the DSN leaves open and we do not."""
    given = conninfo_to_dict(dsn)
    defaults = {**_CONNECTION_DEFAULTS, "application_name": application_name}
    return {name: value for name, value in defaults.items() if name not in given}


def _deadline() -> float:
    """Return when the call's patience ends, as a point of the monotonic clock."""
    deadline = current_call().deadline
    return time.monotonic() + DEFAULT_DEADLINE_SECONDS if deadline is None else deadline


def _each_host(conninfo: str) -> list[str]:
    """Return a DSN for each of the hosts that one names, if they are several."""
    given = conninfo_to_dict(conninfo)
    hosts, ports = (str(given.get(name) or "").split(",") for name in ("host", "port"))
    if len(hosts) == 1:
        return []
    ports = ports if len(ports) == len(hosts) else [ports[0]] * len(hosts)
    return [make_conninfo(conninfo, host=host, port=port) for host, port in zip(hosts, ports, strict=True)]
