"""Floors under everything that can happen around them: no record is ever below one, and none is missed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from tests.outbox_records import outbox_record
from userservice_core.infrastructure.postgres.outbox_floors import Found, OutboxFloors, Start, Watermark
from userservice_core.ports.publishing import OutboxRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_TOPICS: Final = ("a", "b")
_LANES: Final = (0, 1)
_WITHOUT: Final = ((), ("b",), ("a",))
_RECORDS: Final = {(topic, lane): outbox_record(topic, topic=topic) for topic in _TOPICS for lane in _LANES}
_STEPS: Final = 60
_WALKS: Final = 150


def _pair(record: OutboxRecord) -> tuple[str, int]:
    return record.topic, record.lane


@attrs.define
class _Transaction:
    """One that holds its lock, and may have drawn numbers."""

    id: str
    rows: list[OutboxRecord] = attrs.Factory(list)


@attrs.define
class _Read:
    """One that has begun, and maybe seen what it returns, but has not told it yet."""

    without: tuple[str, ...]
    start: Start
    limit: int
    found: Found | None = None


class _Outbox:
    """PostgreSQL as far as it matters here, and those who use it: each method is one step of somebody."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.floors = OutboxFloors()
        self.epoch, self.number, self.begun = 1, 0, 0
        self.open: list[_Transaction] = []
        self.waiting: dict[int, OutboxRecord] = {}
        self.parked: dict[int, OutboxRecord] = {}
        self.watching: tuple[str, int] | None = None
        self.watched: tuple[str, int] = "", 0
        self.reads: list[_Read] = []
        self.returned: list[OutboxRecord] = []

    def steps(self) -> tuple[tuple[Callable[[], None], int, object], ...]:
        """Each step, how often it is taken, and whether it can be."""
        return (
            (self.begin, 3, len(self.open) < 3),
            (self.draw, 6, self.open),
            (self.end, 4, self.open),
            (self.prepare, 1, self.open),
            (self.read_number, 4, self.watching is None),
            (self.list_locks, 6, self.watching),
            (self.start_read, 4, len(self.reads) < 3),
            (self.see, 6, any(read.found is None for read in self.reads)),
            (self.tell, 6, any(read.found for read in self.reads)),
            (self.delete, 5, self.returned),
            (self.park, 1, any(record.position in self.waiting for record in self.returned)),
            (self.unpark, 1, self.parked),
            (self.crash, 1, self.number),
        )

    def step(self) -> None:
        """Take any step that can be taken."""
        steps = [(step, weight) for step, weight, can_be_taken in self.steps() if can_be_taken]
        ((step, _),) = self.chance.choices(steps, [weight for _, weight in steps])
        step()

    # --- writers ---

    def begin(self) -> None:
        """Take the lock, long before a number maybe."""
        self.begun += 1
        self.open.append(_Transaction(f"1/{self.begun}"))

    def draw(self) -> None:
        """Draw a number, and insert its row."""
        self.number += 1
        topic, lane = self.chance.choice(list(_RECORDS))
        row = attrs.evolve(_RECORDS[topic, lane], position=self.number, lane=lane)
        self.chance.choice(self.open).rows.append(row)

    def end(self) -> None:
        """Commit or roll back, in whatever order."""
        transaction = self.chance.choice(self.open)
        self.open.remove(transaction)
        if self.chance.random() < 0.8:
            self.waiting.update({row.position: row for row in transaction.rows})

    def prepare(self) -> None:
        """Have the locks of one pass to a prepared transaction."""
        transaction = self.chance.choice(self.open)
        transaction.id = f"-1/{transaction.id.rpartition('/')[2]}"

    # --- a run of a relay ---

    def read_number(self) -> None:
        """Begin to look: the number comes before the locks."""
        self.watching = str(self.epoch), self.number

    def list_locks(self) -> None:
        """Look at the locks, and tell both."""
        assert self.watching is not None
        self.watched, self.watching = self.watching, None
        self.floors.observe(Watermark(*self.watched, frozenset(each.id for each in self.open)))

    def start_read(self) -> None:
        """Begin a read; one that has nothing to look at is checked below."""
        without = self.chance.choice(_WITHOUT)
        start = self.floors.start(_LANES, without_topics=without)
        if start is not None:
            self.reads.append(_Read(without, start, self.chance.randint(1, 3)))

    def see(self) -> None:
        """See what is committed, in the lanes whose lease stands."""
        read = self.chance.choice([read for read in self.reads if read.found is None])
        lanes = [lane for lane in _LANES if self.chance.random() < 0.8]
        read.found = self.seen(read, lanes)

    def tell(self) -> None:
        """Tell what was seen, maybe long ago."""
        read = self.chance.choice([read for read in self.reads if read.found])
        self.reads.remove(read)
        assert read.found is not None
        passed = self.floors.note(read.start, read.found, limit=read.limit, without_topics=read.without)
        assert passed == 0
        self.returned += read.found.records

    def delete(self) -> None:
        """Delete some of what was returned, as this run or as another one would."""
        records = {record.position: record for record in self.returned if self.chance.random() < 0.7}
        there = [record for position, record in records.items() if self.waiting.pop(position, None)]
        if len(there) == len(records) and self.chance.random() < 0.7:
            self.floors.deleted(there)
        self.returned = [record for record in self.returned if record.position in self.waiting]

    def park(self) -> None:
        """Set one aside; what is behind it waits."""
        record = self.chance.choice([record for record in self.returned if record.position in self.waiting])
        self.parked[record.position] = self.waiting.pop(record.position)

    # --- others ---

    def unpark(self) -> None:
        """Put a record back, or give it up: both let others go on."""
        record = self.parked.pop(self.chance.choice(list(self.parked)))
        self.epoch += 1
        if self.chance.random() < 0.7:
            self.waiting[record.position] = record

    def crash(self) -> None:
        """Lose what is open, and the latest numbers if nothing committed has them."""
        if self.chance.random() < 0.7:
            return
        self.epoch += 1
        self.open, self.reads, self.returned, self.watching = [], [], [], None
        self.number = max((0, *self.waiting, *self.parked, self.number - self.chance.randint(0, 5)))

    # --- what holds ---

    def check(self) -> None:
        """See that what waits, or may yet be committed, is above its floor."""
        start = self.floors.start(_LANES, without_topics=())
        alive = [*(row for each in self.open for row in each.rows), *self.readable()]
        if start is None:
            epoch, number = self.watched
            assert epoch != str(self.epoch) or all(row.position > number for row in alive)
        elif start.epoch == str(self.epoch):
            assert all(start.floors.get(_pair(row), 0) <= row.position for row in alive)

    def drain(self) -> None:
        """Read until nothing is left that can be, and see that nothing is."""
        while self.open:
            self.end()
        self.floors.observe(Watermark(str(self.epoch), self.number, frozenset()))
        for _ in range(2 + len(self.waiting)):
            start = self.floors.start(_LANES, without_topics=())
            if start is None:
                break
            found = self.seen(_Read((), start, 2), _LANES)
            self.floors.note(start, found, limit=2, without_topics=())
            for record in found.records:
                del self.waiting[record.position]
            self.floors.deleted(found.records)
        assert self.readable() == []

    def readable(self) -> list[OutboxRecord]:
        """Return what waits, and not behind what is set aside."""
        held_up = {_pair(record) for record in self.parked.values()}
        return [row for _, row in sorted(self.waiting.items()) if _pair(row) not in held_up]

    def seen(self, read: _Read, lanes: Iterable[int]) -> Found:
        """Return what a read sees at this moment."""
        floors = read.start.floors if read.start.epoch == str(self.epoch) else {}
        topics = sorted({row.topic for row in self.waiting.values()}.union(read.start.topics))
        readable, records = self.readable(), []
        for lane in lanes:
            for topic in topics:
                if topic not in read.without:
                    floor = floors.get((topic, lane), 0)
                    found = [row for row in readable if _pair(row) == (topic, lane) and row.position >= floor]
                    records += found[: read.limit]
        return Found(str(self.epoch), tuple(lanes), topics, records)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_ever_below_a_floor(seed: int) -> None:
    """Whatever order writers, relays, operators and crashes take their steps in; in the end everything was read."""
    for walk in range(_WALKS):
        outbox = _Outbox(random.Random(seed * _WALKS + walk))  # noqa: S311 - it is to be the same again
        for _ in range(_STEPS):
            outbox.step()
            outbox.check()
        outbox.drain()


def test_numbers_that_go_back_end_what_was_known() -> None:
    """Somebody has set the sequence by hand."""
    floors = OutboxFloors()
    floors.observe(Watermark("e", 7, frozenset()))
    start = floors.start(_LANES, without_topics=())
    assert start is not None
    floors.note(start, Found("e", _LANES, ["a"], []), limit=10, without_topics=())

    floors.observe(Watermark("e", 3, frozenset()))

    again = floors.start(_LANES, without_topics=())
    assert again is not None
    assert (again.decided, again.floors) == (3, {})


def test_what_a_check_finds_below_a_floor_is_counted() -> None:
    """Somebody has inserted a row with a number of the past, which nobody can foresee."""
    floors, below = OutboxFloors(), attrs.evolve(_RECORDS["a", 0], position=3, lane=0)
    lost = []
    for records in ([], [below]):
        floors.observe(Watermark("e", 7, frozenset()))
        start = floors.start(_LANES, without_topics=())
        assert start is not None
        lost.append(floors.note(start, Found("e", _LANES, ["a"], records), limit=10, without_topics=()))
        floors.recheck([0])

    assert lost == [0, 1]
    assert floors.start([1], without_topics=()) is None
