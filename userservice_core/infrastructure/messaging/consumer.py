"""
The consumer: handles the events of a group, in order for each key, and each one's effect once.

One thread polls all the time, so that a slow handler is no dead member; workers handle. An arrival is told to the bus
as done only when its effect is kept, or it is among the dead letters.
"""

from __future__ import annotations

import contextlib
import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from userservice_core.errors import EventRejectedError, ProgrammingError, UnavailableError
from userservice_core.infrastructure.messaging.handlers import Application, Handlers, Outcome
from userservice_core.infrastructure.messaging.key_queues import KeyQueues, Waiting, key_of
from userservice_core.ports.consuming import AfterDeadLetter, Arrival, EventSource, Inbox
from userservice_core.ports.context import CallContext, call_context
from userservice_core.ports.failpoints import failpoint
from userservice_core.ports.tracing import SpanKind, installed_tracer, spanned

if TYPE_CHECKING:
    from types import FrameType

    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.tracing import Attributes

F = TypeVar("F", bound=Callable[..., None])

# Of the standard library, since whoever imports this from another service brings a logging of their own.
_log = logging.getLogger("userservice.consumer")

_POLL_SECONDS: Final = 0.1
_COMMIT_SECONDS: Final = 0.5
_MEASURE_SECONDS: Final = 5.0
_PAUSE_AFTER_ERROR_SECONDS: Final = 1.0
_FORGET_SECONDS: Final = 3600.0
# A rebalance waits for this one member meanwhile.
_REVOKE_PATIENCE_SECONDS: Final = 0.8
_LONGEST_CAUSE: Final = 500
_BEHIND: Final = "behind a dead letter of its key"


@attrs.frozen(kw_only=True)
class Retries:
    """
    How often an event is tried, and how long its key waits in between; other keys go on meanwhile.

    Attributes:
        attempts: In all, before it is put aside. What fails because something is away is not counted.
        first_seconds: After the first failure; doubled after each further one, and less up to a half by random.
        longest_seconds: At most.
    """

    attempts: int = 8
    first_seconds: float = 0.2
    longest_seconds: float = 30.0

    def pause_seconds(self, attempts: int) -> float:
        """Return how long to wait after so many failures."""
        longest = min(self.longest_seconds, self.first_seconds * 2 ** min(attempts - 1, 20))
        return random.uniform(longest / 2, longest)  # noqa: S311 - no secret


class EventConsumer:
    """
    Handles the events of a group; any number of processes share the work.

    Decorate the handlers, then :meth:`run`::

        consumer = EventConsumer(
            KafkaEventSource(["kafka:9092"], group="billing", topics=["userservice.users"]),
            inbox=PostgresInbox(engine.begin),
        )


        @consumer.on("userservice.user.registered.v1")
        def open_account(event, connection):
            connection.execute(...)
    """

    def __init__(
        self,
        source: EventSource,
        *,
        inbox: Inbox[Any] | None = None,
        workers: int = 4,
        retries: Retries | None = None,
        after_dead_letter: AfterDeadLetter = AfterDeadLetter.PARK_KEY,
        most_per_partition: int = 500,
        most_bytes: int = 64 * 1024 * 1024,
        drain_seconds: float = 10.0,
        remember_days: float = 30.0,
        metrics: Metrics | None = None,
    ) -> None:
        """
        Wire a consumer; nothing is connected yet.

        Args:
            source: Where the events come from.
            inbox: What makes effects come to be once; without one a repeat is handled again.
            workers: Threads that handle, and so the handlers that run at once.
            retries: Of what fails.
            after_dead_letter: What becomes of later events of a key, one of which was put aside; without an inbox
                they always go on.
            most_per_partition: Events of a partition that may wait here, before it is paused.
            most_bytes: Of all events that wait here, before everything is paused.
            drain_seconds: How long running handlers may take when the consumer is told to stop.
            remember_days: How long events without a sequence are remembered; longer than their topic keeps them.
            metrics: Counts what becomes of events.
        """
        self._source = source
        self._inbox = inbox
        self._workers = workers
        self._retries = retries or Retries()
        self._rule = after_dead_letter
        self._drain_seconds = drain_seconds
        self._remember_seconds = remember_days * 86_400
        self._metrics = metrics
        self._handlers = Handlers()
        self._application = Application(
            group=source.group, handlers=self._handlers, inbox=inbox, rule=after_dead_letter
        )
        self._queues = KeyQueues(self._handlers.of, most_per_partition=most_per_partition, most_bytes=most_bytes)
        self._stop = threading.Event()
        self._polled_at: float | None = None

    # --- handlers -----------------------------------------------------------------------------------------------------

    def on(self, *types: str, data: Any = None) -> Callable[[F], F]:  # noqa: ANN401 - any type that can be decoded
        """
        Have the decorated function handle events of *types*, one at a time.

        It takes the event; a second parameter gets the inbox's transaction, and what is written with that is written
        once. A function without it is called at least once, and gives :attr:`ConsumedEvent.identity` to others.

        Args:
            types: CloudEvents types, with their version.
            data: A class that the data is made (a dataclass, attrs class or msgspec Struct); a dict if not given.
        """
        return self._registering(types, data=data, most=None)

    def on_batch(self, *types: str, most: int = 100, data: Any = None) -> Callable[[F], F]:  # noqa: ANN401 - as above
        """
        Have the decorated function handle events of *types* by the list: what waits at the moment, up to *most*.

        When it fails, each event is handled by itself, so that the one to blame is found.
        """
        return self._registering(types, data=data, most=most)

    def on_tombstone(self, topic: str) -> Callable[[F], F]:
        """Have the decorated function take each arrival of *topic* without a value, at least once."""

        def register(function: F) -> F:
            self._handlers.add_for_tombstones(topic, function)
            return function

        return register

    def _registering(self, types: Sequence[str], *, data: Any, most: int | None) -> Callable[[F], F]:  # noqa: ANN401
        def register(function: F) -> F:
            self._handlers.add(types, function, data=data, most=most)
            return function

        return register

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event | None = None) -> None:
        """
        Consume until *stop* is set, then finish what is at work, tell the bus what is done, and leave the group.

        Without *stop*, SIGTERM and SIGINT end it, and so does :meth:`stop`.

        Raises:
            ConflictError: If somebody else runs under this member's name.
            ProgrammingError: If a handler wants a transaction and there is no inbox.
        """
        self._require_inbox()
        self._source.when_lost(self._lose)
        with contextlib.ExitStack() as running:
            if stop is None:
                stop = running.enter_context(_stopped_by_signals(self._stop))
            threads = [
                threading.Thread(target=self._work, name=f"userservice-consumer-{number}", daemon=True)
                for number in range(self._workers)
            ]
            for thread in threads:
                thread.start()
            try:
                self._consume(stop)
            finally:
                self._drain(threads)

    def stop(self) -> None:
        """End a :meth:`run` that was given no event of its own. For any thread."""
        self._stop.set()

    def is_healthy(self, *, most_silent_seconds: float = 30.0) -> bool:
        """Tell whether it runs and asked the bus lately: what a liveness probe wants to know."""
        return self._polled_at is not None and time.monotonic() - self._polled_at < most_silent_seconds

    @property
    def metrics(self) -> Metrics | None:
        """What it counts with."""
        return self._metrics

    def replay_dead_letters(self) -> dict[str, int]:
        """
        Handle again what was put aside until now, each event once, and return how many had which outcome.

        What fails again stays among the dead letters (`failed`). It may run beside the consumers of the group, and
        closes its own source.

        Raises:
            UnavailableError: If the bus or the inbox cannot be reached; what was handled until then is.
        """
        self._require_inbox()
        outcomes: dict[str, int] = {}

        def replay(arrival: Arrival) -> None:
            outcome = self._replay(arrival)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1

        try:
            self._source.replay(replay)
        finally:
            self._source.close()
        return outcomes

    def handle(self, arrivals: Sequence[Arrival], *, seconds: float) -> tuple[Arrival, ...]:
        """
        Handle *arrivals* on this thread, for hosts that are given events instead of asking for them.

        Returns:
            Those that were not handled within *seconds*, so that they must come again: with one that failed, all later
            ones of its key.
        """
        self._require_inbox()
        deadline = time.monotonic() + seconds
        left = [Waiting(arrival) for arrival in arrivals]
        rounds = 1
        while (left := self._handle_round(left, deadline)) and time.monotonic() < deadline:
            time.sleep(max(0.0, min(self._retries.pause_seconds(rounds), deadline - time.monotonic())))
            rounds += 1
        return tuple(waiting.arrival for waiting in left)

    # --- the polling thread -------------------------------------------------------------------------------------------

    def _consume(self, stop: threading.Event) -> None:
        commit_at = measure_at = time.monotonic()
        forget_at = time.monotonic() + _FORGET_SECONDS
        while not stop.is_set():
            self._poll(stop)
            now = time.monotonic()
            if now >= commit_at:
                commit_at = now + _COMMIT_SECONDS
                self._source.commit()
            if now >= measure_at:
                measure_at = now + _MEASURE_SECONDS
                self._measure()
            if now >= forget_at:
                forget_at = now + _FORGET_SECONDS
                self._forget()

    def _poll(self, stop: threading.Event) -> None:
        try:
            self._source.pause(self._queues.full())
            arrivals = self._source.poll(timeout_seconds=_POLL_SECONDS)
        except UnavailableError as error:
            _log.warning("the bus does not answer: %s", error.detail)
            self._count("bus-unavailable")
            stop.wait(_PAUSE_AFTER_ERROR_SECONDS)
            return
        self._polled_at = time.monotonic()
        to_handle = []
        for arrival in arrivals:
            passed = self._handlers.passed(arrival)
            if passed is None:
                to_handle.append(arrival)
            else:
                self._source.done(arrival)
                self._count(passed.value)
        if to_handle:
            self._queues.put(to_handle)

    def _lose(self, partitions: frozenset[str]) -> None:
        self._queues.drop(partitions, patience_seconds=_REVOKE_PATIENCE_SECONDS)

    def _drain(self, threads: Sequence[threading.Thread]) -> None:
        self._queues.close()
        self._polled_at = None
        deadline = time.monotonic() + self._drain_seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._source.close()

    def _measure(self) -> None:
        if self._metrics is None:
            return
        self._metrics.gauge("consumer_waiting", len(self._queues))
        self._metrics.gauge("consumer_paused_partitions", len(self._queues.full()))
        lag = self._source.lag()
        if lag is not None:
            self._metrics.gauge("consumer_lag", lag)

    def _forget(self) -> None:
        if self._inbox is None:
            return
        try:
            self._inbox.forget(older_than_seconds=self._remember_seconds)
        except Exception:  # noqa: BLE001 - it is tried again in an hour, and hurts nobody until then
            _log.exception("the inbox cannot be emptied")

    # --- the workers --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            taken = self._queues.take()
            if taken is None:
                return
            try:
                self._handle_taken(taken)
            finally:
                self._queues.release(taken)

    def _handle_taken(self, taken: Sequence[Waiting]) -> None:
        outcomes = self._handle_together(taken) if len(taken) > 1 else (None,)
        held_up: set[tuple[str, str]] = set()
        for waiting, outcome in zip(taken, outcomes, strict=True):
            key = key_of(waiting.arrival)
            if key in held_up:
                continue
            if outcome is not None and outcome is not Outcome.BEHIND:
                self._finish(waiting, outcome)
            elif not self._handle_one(waiting):
                held_up.add(key)

    def _handle_together(self, taken: Sequence[Waiting]) -> Sequence[Outcome | None]:
        """Handle what a batch handler gets at once; None for each where that failed."""
        try:
            return self._apply([waiting.arrival for waiting in taken])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is found out one by one
            _log.warning("%d events failed together, and are handled one by one: %s", len(taken), _cause(error))
            return (None,) * len(taken)

    def _handle_one(self, waiting: Waiting) -> bool:
        """Handle an arrival, or put it aside; returns False where it is to be tried again."""
        if waiting.given_up is not None:
            waiting.failures += 1
            return self._ended(waiting, is_put_aside=self._is_kept_aside(waiting), cause=waiting.given_up)
        try:
            (outcome,) = self._apply([waiting.arrival])
            if outcome is Outcome.BEHIND:
                self._put_aside(waiting.arrival, cause=_BEHIND, attempts=0)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything
            return self._ended(waiting, is_put_aside=self._is_put_aside(waiting, error), cause=_cause(error))
        self._finish(waiting, outcome)
        return True

    def _ended(self, waiting: Waiting, *, is_put_aside: bool, cause: str) -> bool:
        """Go on after a failure: behind an arrival that is put aside, else with the same one after a pause."""
        if is_put_aside:
            self._queues.done(waiting)
            self._source.done(waiting.arrival)
            return True
        pause = self._retries.pause_seconds(waiting.failures)
        _log.warning("an event is tried again in %.1f s: %s: %s", pause, _shown(waiting.arrival), cause)
        self._queues.again(waiting, after_seconds=pause)
        return False

    def _finish(self, waiting: Waiting, outcome: Outcome) -> None:
        failpoint("consumer.applied")
        self._queues.done(waiting)
        self._source.done(waiting.arrival)
        self._count(outcome.value)

    def _apply(
        self, arrivals: Sequence[Arrival], *, is_replay: bool = False, deadline: float | None = None
    ) -> tuple[Outcome, ...]:
        event = arrivals[0].event
        traceparent = None if event is None else event.traceparent
        with (
            call_context(CallContext(deadline=deadline, traceparent=traceparent)),
            _span_of(arrivals),
            contextlib.nullcontext() if self._metrics is None else self._metrics.timing("consumer_handler"),
        ):
            return self._application.apply(arrivals, is_replay=is_replay)

    def _put_aside(self, arrival: Arrival, *, cause: str, attempts: int) -> None:
        """Keep an arrival among the dead letters, and only then remember that it is there."""
        self._source.put_aside(arrival, cause=cause, attempts=attempts)
        failpoint("consumer.put-aside")
        if self._inbox is not None and arrival.event is not None:
            self._inbox.park(self._source.group, arrival.event)
        if cause is not _BEHIND:
            self._count("dead-letter")
            _log.error("an event was put aside: %s: %s", _shown(arrival), cause)

    # --- one by one ---------------------------------------------------------------------------------------------------

    def _replay(self, arrival: Arrival) -> str:
        passed = self._handlers.passed(arrival)
        if passed is not None:
            return passed.value
        try:
            (outcome,) = self._apply([arrival], is_replay=True)
        except Exception as error:
            if self._is_outage(error):
                raise UnavailableError(_cause(error)) from error
            _log.error("a dead letter failed again: %s: %s", _shown(arrival), _cause(error))
            self._source.put_aside(arrival, cause=_cause(error), attempts=arrival.attempts + 1)
            return "failed"
        if outcome is Outcome.BEHIND:
            self._source.put_aside(arrival, cause=_BEHIND, attempts=arrival.attempts)
        return outcome.value

    def _handle_round(self, waiting: Sequence[Waiting], deadline: float) -> list[Waiting]:
        """Try each once, and return those that are left: what failed, and what is behind it in its key."""
        left = []
        held_up: set[tuple[str, str]] = set()
        for each in waiting:
            key = key_of(each.arrival)
            if key in held_up or time.monotonic() >= deadline or not self._handle_given(each, deadline):
                left.append(each)
                held_up.add(key)
        return left

    def _handle_given(self, waiting: Waiting, deadline: float) -> bool:
        arrival = waiting.arrival
        passed = self._handlers.passed(arrival)
        if passed is not None:
            self._count(passed.value)
            return True
        if waiting.given_up is not None:
            return self._is_kept_aside(waiting)
        try:
            (outcome,) = self._apply([arrival], deadline=deadline)
            if outcome is Outcome.BEHIND:
                self._put_aside(arrival, cause=_BEHIND, attempts=0)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything
            return self._is_put_aside(waiting, error)
        self._count(outcome.value)
        return True

    def _is_put_aside(self, waiting: Waiting, error: Exception) -> bool:
        """Put aside what failed for good; returns False where it is to be tried again."""
        waiting.failures += 1
        waiting.attempts += not self._is_outage(error)
        if not self._is_hopeless(error, waiting.attempts):
            self._count("outage" if self._is_outage(error) else "retried")
            return False
        waiting.given_up = _cause(error)
        return self._is_kept_aside(waiting)

    def _is_kept_aside(self, waiting: Waiting) -> bool:
        """Keep what is given up among the dead letters; where that fails, it alone is to be tried again."""
        try:
            self._put_aside(waiting.arrival, cause=waiting.given_up or "", attempts=waiting.attempts)
        except Exception as failure:  # noqa: BLE001 - then it comes again
            self._count("put-aside-failed")
            _log.warning("an event could not be put aside: %s: %s", _shown(waiting.arrival), _cause(failure))
            return False
        return True

    # --- all of them --------------------------------------------------------------------------------------------------

    def _is_hopeless(self, error: Exception, attempts: int) -> bool:
        """Tell whether an event that failed is to be put aside."""
        if self._is_outage(error):
            return False
        return isinstance(error, EventRejectedError) or attempts >= self._retries.attempts

    def _is_outage(self, error: Exception) -> bool:
        return isinstance(error, UnavailableError) or (self._inbox is not None and self._inbox.is_outage(error))

    def _require_inbox(self) -> None:
        if self._inbox is None and self._handlers.need_transaction:
            raise ProgrammingError("A handler takes a transaction, and the consumer has no inbox to begin one.")

    def _count(self, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.count("consumer", outcome=outcome)


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_CAUSE]


def _span_of(arrivals: Sequence[Arrival]) -> contextlib.AbstractContextManager[None]:
    """Have the handling of an event that belongs to a trace be a span; of several together, it is the first one's."""
    tracer = installed_tracer()
    first = arrivals[0].event
    if tracer is None or first is None or first.traceparent is None:
        return contextlib.nullcontext()
    attributes: Attributes = {
        "messaging.operation.type": "process",
        "messaging.destination.name": first.topic,
        "messaging.message.id": first.id,
        "cloudevents.event_type": first.type,
    }
    if len(arrivals) > 1:
        attributes["messaging.batch.message_count"] = len(arrivals)
    return spanned(tracer, SpanKind.CONSUMER, f"process {first.topic}", attributes)


def _shown(arrival: Arrival) -> str:
    name = "unreadable" if arrival.event is None else f"{arrival.event.type} {arrival.event.id}"
    return f"{name} at {arrival.partition}:{arrival.position}"


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[threading.Event]:
    """Have SIGTERM and SIGINT set *stop*, and put the handlers back at the end."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
