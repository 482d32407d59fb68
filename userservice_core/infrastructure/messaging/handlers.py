"""Which function handles which events, and how one is called so that its effect comes to be once."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import msgspec

from userservice_core.errors import EventRejectedError, ProgrammingError
from userservice_core.infrastructure.messaging.known_events import fault_of
from userservice_core.ports.consuming import AfterDeadLetter, Arrival, ConsumedEvent, Inbox, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

F = TypeVar("F", bound=Callable[..., None])

_VERSION: Final = re.compile(r"\.v[0-9]+$")
_WITH_TRANSACTION: Final = 2


class Outcome(enum.Enum):
    """What became of an arrival, as the metrics call it."""

    APPLIED = "applied"
    REPEATED = "repeated"
    BEHIND = "behind"
    UNHANDLED = "unhandled"
    UNKNOWN_VERSION = "unknown-version"
    TOMBSTONE = "tombstone"


_OUTCOMES: Final = {
    Verdict.FRESH: Outcome.APPLIED,
    Verdict.REPEATED: Outcome.REPEATED,
    Verdict.BEHIND: Outcome.BEHIND,
}


@attrs.frozen(eq=False)
class Handler:
    """
    One function, and how it wants to be called.

    Attributes:
        most: Events that it takes at once; 1 for one that takes a single event.
        takes_transaction: Whether it writes its effect with what the inbox gives it.
    """

    function: Callable[..., None]
    data: Any
    most: int
    is_batch: bool
    takes_transaction: bool

    def call(self, events: Sequence[ConsumedEvent], *more: Any) -> None:  # noqa: ANN401 - the inbox's own type
        """Hand *events* over."""
        if self.is_batch:
            self.function(events, *more)
        else:
            for event in events:
                self.function(event, *more)


class Handlers:
    """The handlers of a consumer, by type of event; complete before it runs."""

    def __init__(self) -> None:
        self._by_type: dict[str, Handler] = {}
        self._tombstones: dict[str, Callable[[Arrival], None]] = {}

    def add(self, types: Iterable[str], function: Callable[..., None], *, data: Any, most: int | None) -> None:  # noqa: ANN401
        """
        Have *function* handle events of *types*.

        Raises:
            ProgrammingError: If one of them has a handler.
        """
        handler = Handler(
            function,
            data=data,
            most=most or 1,
            is_batch=most is not None,
            takes_transaction=_takes_transaction(function),
        )
        for type_ in types:
            if type_ in self._by_type:
                raise ProgrammingError(f"{type_} has two handlers.")
            self._by_type[type_] = handler

    def add_for_tombstones(self, topic: str, function: Callable[[Arrival], None]) -> None:
        """Have *function* called with each record of *topic* that has no value."""
        self._tombstones[topic] = function

    @property
    def need_transaction(self) -> bool:
        """Whether any of them writes with what an inbox gives it."""
        return any(handler.takes_transaction for handler in self._by_type.values())

    def of(self, arrival: Arrival) -> Handler | None:
        """Return who handles an arrival; None for a tombstone, and where nobody does."""
        return None if arrival.event is None else self._by_type.get(arrival.event.type)

    def of_tombstone(self, arrival: Arrival) -> Callable[[Arrival], None] | None:
        """Return who is told of a tombstone."""
        return self._tombstones.get(arrival.topic) if arrival.is_tombstone else None

    def passed(self, arrival: Arrival) -> Outcome | None:
        """Say as what an arrival is passed over without anybody being called; None where somebody is to be."""
        if arrival.is_tombstone:
            return Outcome.TOMBSTONE if self.of_tombstone(arrival) is None else None
        if arrival.event is None:
            return None
        if arrival.event.type in self._by_type:
            return None
        name = _VERSION.sub("", arrival.event.type)
        is_known = any(_VERSION.sub("", known) == name for known in self._by_type)
        return Outcome.UNKNOWN_VERSION if is_known else Outcome.UNHANDLED


@attrs.frozen(kw_only=True)
class Application:
    """Calls handlers for the events of a group; without an inbox each arrival is handled, repeats too."""

    group: str
    handlers: Handlers
    inbox: Inbox[Any] | None
    rule: AfterDeadLetter

    def apply(self, arrivals: Sequence[Arrival], *, is_replay: bool = False) -> tuple[Outcome, ...]:
        """
        Have the handler that *arrivals* share handle those that are fresh.

        Raises:
            EventRejectedError: If one of them cannot be read as its handler wants it.
            Exception: Whatever the handler or the inbox raises; then nothing was remembered of any.
        """
        for_tombstone = self.handlers.of_tombstone(arrivals[0])
        if for_tombstone is not None:
            for arrival in arrivals:
                for_tombstone(arrival)
            return (Outcome.APPLIED,) * len(arrivals)
        handler = self.handlers.of(arrivals[0])
        if handler is None:
            raise EventRejectedError(arrivals[0].fault or "Nobody handles it.")
        events = [_readable(arrival, handler) for arrival in arrivals]
        if self.inbox is None:
            handler.call(events)
            return (Outcome.APPLIED,) * len(events)
        if handler.takes_transaction:
            verdicts = self.inbox.apply(self.group, events, handler.call, rule=self.rule, is_replay=is_replay)
        else:
            verdicts = self._apply_outside(self.inbox, handler, events, is_replay=is_replay)
        return tuple(_OUTCOMES[verdict] for verdict in verdicts)

    def _apply_outside(
        self, inbox: Inbox[Any], handler: Handler, events: Sequence[ConsumedEvent], *, is_replay: bool
    ) -> tuple[Verdict, ...]:
        """Call a handler whose effect is elsewhere, and remember afterwards: a crash in between repeats the call."""
        verdicts = [inbox.judge(self.group, event, rule=self.rule, is_replay=is_replay) for event in events]
        fresh = [event for event, verdict in zip(events, verdicts, strict=True) if verdict is Verdict.FRESH]
        if fresh:
            handler.call(fresh)
            inbox.apply(self.group, fresh, lambda *_: None, rule=self.rule, is_replay=is_replay)
        return tuple(verdicts)


def _readable(arrival: Arrival, handler: Handler) -> ConsumedEvent:
    """
    Return the event with its data as the handler wants it.

    Raises:
        EventRejectedError: If it has none that it could be made of.
    """
    event = arrival.event
    if event is None or arrival.fault is not None:
        raise EventRejectedError(arrival.fault)
    fault = fault_of(event.type, event.data)
    if fault is not None:
        raise EventRejectedError(f"the data is not that of {event.type}: {fault}")
    if handler.data is None:
        return event
    try:
        return attrs.evolve(event, data=msgspec.convert(event.data, handler.data))
    except (msgspec.ValidationError, RecursionError) as error:
        raise EventRejectedError(f"the data is not that of {event.type}: {error}") from error


def _takes_transaction(function: Callable[..., None]) -> bool:
    parameters = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
    ]
    if len(parameters) not in {1, _WITH_TRANSACTION}:
        raise ProgrammingError("A handler takes the event, or the event and the inbox's transaction.")
    return len(parameters) == _WITH_TRANSACTION
