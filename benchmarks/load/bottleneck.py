"""
What was at its limit while a load ran.

By Little's law, the seconds that requests spend in a state, by the seconds that pass, are the requests in that state at
once. So whatever is timed is told in the same unit, and each wait is a part of the requests under way.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTHING: Final = "nothing"
GENERATOR: Final = "load generator"
HASH_QUEUE: Final = "hash queue"
DATABASE: Final = "database"
POOL: Final = "pool wait"
CPU: Final = "CPU"
BROKER: Final = "broker"

_BUSY: Final = 0.9
"""Of a processor, or of all: nobody gets more out of them, since somebody has to be chosen who goes next."""
_MUCH: Final = 0.25
"""Of the requests under way, in one wait."""
_MANY: Final = 0.5
"""Requests in one wait at once, on average; fewer are no queue."""
_HALF: Final = 0.5
_PARTIES: Final = ("service", "database", "relay", "generator")
_OLD_SECONDS: Final = 10.0
_LEAST_INTERVALS: Final = 3
_PART: Final = 4


@attrs.frozen(kw_only=True)
class Interval:
    """
    What was seen between two looks; None is what could not be seen.

    Attributes:
        at: Seconds since the load began, at the end of it.
        requests: Answered a second, as the service counts them.
        in_flight: Requests under way at once, on average; so are the next four.
        hash_waiting: Waiting for a thread that hashes.
        hashing: Hashed at the moment.
        pool_waiting: Waiting for a connection.
        in_database: Statements at work.
        on_locks: Of the sessions of the database at this moment, those that wait for a lock.
        machine: Processors busy; so are the next four, each for one party.
        outbox_records: Records that wait to be published.
        outbox_age: Seconds that the oldest of them has waited.
    """

    at: float
    requests: float | None = None
    in_flight: float | None = None
    hash_waiting: float | None = None
    hashing: float | None = None
    pool_waiting: float | None = None
    in_database: float | None = None
    on_locks: float | None = None
    machine: float | None = None
    service: float | None = None
    database: float | None = None
    relay: float | None = None
    generator: float | None = None
    outbox_records: float | None = None
    outbox_age: float | None = None


@attrs.frozen(kw_only=True)
class Capacity:
    """
    What there is of processors.

    Attributes:
        processors: Of the machine of the load generator, and of whatever else is on it.
        workers: Processes that serve; None if they are not here.
        generators: Processes that make the load.
    """

    processors: int
    workers: int | None = None
    generators: int = 1


@attrs.frozen(kw_only=True)
class Pressure:
    """How near something is to its limit, 1 being at it; None if that cannot be told. And by what."""

    name: str
    value: float | None
    why: str

    @property
    def is_full(self) -> bool:
        """Whether it is at its limit."""
        return self.value is not None and self.value >= 1


@attrs.frozen(kw_only=True)
class Verdict:
    """What held the load back, and how near everything was to its limit."""

    bottleneck: str
    pressures: tuple[Pressure, ...]

    @property
    def sentence(self) -> str:
        """Say it."""
        full = [each for each in self.pressures if each.is_full]
        if full:
            others = ", ".join(each.name for each in full[1:])
            return f"{full[0].name}: {full[0].why}" + (f" (also at its limit: {others})" if others else "")
        known = [each for each in self.pressures if each.value is not None]
        if not known:
            return f"{NOTHING} that could be seen"
        nearest = max(known, key=lambda each: each.value or 0.0)
        return f"{NOTHING}; nearest to its limit is {nearest.name}, at {nearest.value:.0%} of it: {nearest.why}"


def busiest(intervals: Sequence[Interval]) -> Sequence[Interval]:
    """Return the quarter of a run, in one piece, in which most requests were under way; of a short one, more."""
    length = min(len(intervals), max(_LEAST_INTERVALS, len(intervals) // _PART))
    starts = range(len(intervals) - length + 1)
    first = max(starts, key=lambda start: sum(map(_load_of, intervals[start : start + length])), default=0)
    return intervals[first : first + length]


def _load_of(interval: Interval) -> float:
    return interval.machine or 0.0 if interval.in_flight is None else interval.in_flight


def find_bottleneck(intervals: Sequence[Interval], capacity: Capacity) -> Verdict:
    """
    Tell what held the load back.

    Causes go before what they cause: a generator that is at its limit hides all else; hashing fills processors, and a
    busy database keeps connections, of which there are then too few. Events are last, since no request waits for them.

    Args:
        intervals: Of the whole run; judged is the :func:`busiest` part of it, but for the outbox, which fills later.
        capacity: What there is.
    """
    now = _Means(busiest(intervals))
    pressures = (
        _generator(now, capacity),
        _wait(HASH_QUEUE, now("hash_waiting"), now("in_flight"), what="wait for a thread that hashes"),
        _database(now, capacity),
        _wait(POOL, now("pool_waiting"), now("in_flight"), what="wait for a connection"),
        _processors(now, capacity),
        _broker(intervals),
    )
    return Verdict(bottleneck=next((each.name for each in pressures if each.is_full), NOTHING), pressures=pressures)


class _Means:
    """The means of some intervals, by the name of what is asked for; None if it was never seen."""

    def __init__(self, intervals: Sequence[Interval]) -> None:
        self._intervals = intervals

    def __call__(self, name: str) -> float | None:
        seen = [value for each in self._intervals if (value := getattr(each, name)) is not None]
        return statistics.fmean(seen) if seen else None


def _generator(now: _Means, capacity: Capacity) -> Pressure:
    used = now("generator")
    if used is None:
        return Pressure(name=GENERATOR, value=None, why="its processor time was not seen")
    most = capacity.generators
    return Pressure(name=GENERATOR, value=used / (_BUSY * most), why=f"it uses {used:.2f} of {most} processors")


def _wait(name: str, waiting: float | None, in_flight: float | None, *, what: str) -> Pressure:
    if waiting is None or in_flight is None:
        return Pressure(name=name, value=None, why="the service's metrics were not seen")
    share = waiting / in_flight if in_flight > 0 else 0.0
    why = f"{waiting:.1f} of {in_flight:.1f} requests under way {what}"
    return Pressure(name=name, value=min(share / _MUCH, waiting / _MANY), why=why)


def _database(now: _Means, capacity: Capacity) -> Pressure:
    """It is at its limit if more of its sessions are at work than there are processors, and most requests in it."""
    at_work, in_flight, busy = now("in_database"), now("in_flight"), now("database")
    signs: list[tuple[float, str]] = []
    if at_work is not None and in_flight is not None and in_flight > 0:
        locks = now("on_locks") or 0.0
        many = max(at_work / capacity.processors, locks / _MANY)
        why = f"{at_work:.1f} of {in_flight:.1f} requests under way are in it, {locks:.1f} of them wait for a lock"
        signs.append((min(at_work / in_flight / _HALF, many), why))
    if busy is not None:
        signs.append((busy / (_BUSY * capacity.processors), f"it uses {busy:.2f} of {capacity.processors} processors"))
        machine = now("machine")
        others = [value for name in _PARTIES if name != "database" and (value := now(name)) is not None]
        if machine is not None and others and busy > max(others):
            why = f"{machine:.2f} of {capacity.processors} processors are busy, most of them for it"
            signs.append((machine / (_BUSY * capacity.processors), why))
    if not signs:
        return Pressure(name=DATABASE, value=None, why="neither its sessions nor its processor time were seen")
    value, why = max(signs)
    return Pressure(name=DATABASE, value=value, why=why)


def _processors(now: _Means, capacity: Capacity) -> Pressure:
    machine, service = now("machine"), now("service")
    used = {name: value for name in _PARTIES if (value := now(name)) is not None}
    signs: list[tuple[float, str]] = []
    if machine is not None:
        used["others"] = max(0.0, machine - sum(used.values()))
        shares = ", ".join(f"{name} {value:.2f}" for name, value in used.items())
        why = f"{machine:.2f} of {capacity.processors} processors are busy ({shares})"
        signs.append((machine / (_BUSY * capacity.processors), why))
    if service is not None and capacity.workers is not None:
        most = min(capacity.workers, capacity.processors)
        signs.append((service / (_BUSY * most), f"the service uses {service:.2f} of the {most} that it can"))
    if not signs:
        return Pressure(name=CPU, value=None, why="processor time was not seen")
    value, why = max(signs)
    return Pressure(name=CPU, value=value, why=why)


def _broker(intervals: Sequence[Interval]) -> Pressure:
    """Events do not get out if the oldest waits for long, and more of them wait at the end than before."""
    seen = [(each.outbox_records, each.outbox_age) for each in intervals]
    known = [(records, age) for records, age in seen if records is not None and age is not None]
    if not known:
        return Pressure(name=BROKER, value=None, why="the outbox was not seen")
    (first, _), (last, age) = known[0], known[-1]
    why = f"{last:.0f} events wait, the oldest for {age:.1f} s; {first:.0f} waited at the beginning"
    if last <= first:
        return Pressure(name=BROKER, value=0.0, why=why)
    return Pressure(name=BROKER, value=age / _OLD_SECONDS, why=why)
