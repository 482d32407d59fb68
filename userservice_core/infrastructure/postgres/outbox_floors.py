"""
From where on a run of a relay has to look for records, so that it does not walk over those that are gone.

A row that was deleted stays in the index for as long as somebody holds an older snapshot open, and a read that begins
at the front of a lane walks over all of them. So a run keeps, for each topic and lane, a position below which nothing
waits and nothing can come any more: its floor.

A number is *decided* once the transaction that drew it has ended, whichever way. A transaction that draws a number
holds a lock on the outbox from before it does so until its end is seen by all. So if nobody who held that lock when the
latest number was N holds it any more, all numbers up to N are decided, and a read that begins after that sees whatever
of them was committed. Only up to there does a floor rise, so that a late commit is never below one.

Two things break the rule that a decided number stays decided: a record that was set aside and is put back, and a server
that has lost its last writes - by a crash, or by a fail-over - and gives the same numbers out again. Each of them
changes the *epoch*, and floors hold for the epoch that they were found in.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.ports.publishing import OutboxRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

Pair = tuple[str, int]
"""Topic and lane."""

# Its locks have passed to another holder, which may be one that was seen before.
_PREPARED: Final = "-1/"


@attrs.frozen
class Watermark:
    """
    What was true at one moment.

    Attributes:
        epoch: None while there is none.
        handed_out: The latest number.
        writers: Virtual ids of the transactions that may write into the outbox; listed after the number was read.
    """

    epoch: str | None
    handed_out: int
    writers: frozenset[str]


@attrs.frozen
class Start:
    """
    Where a read begins.

    Attributes:
        epoch: In another one the floors do not hold.
        decided: All numbers up to this one were decided before the read.
        topics: Those that are known.
        floors: Of topics and lanes; those that are missing begin at the front.
    """

    epoch: str | None
    decided: int
    topics: tuple[str, ...]
    floors: Mapping[Pair, int]


@attrs.frozen
class Found:
    """
    What a read saw.

    Attributes:
        epoch: As the read saw it.
        lanes: Those whose lease stood.
        topics: All that something waits for, and those that were known.
        records: In order of position within a lane.
    """

    epoch: str | None
    lanes: Sequence[int]
    topics: Sequence[str]
    records: Sequence[OutboxRecord]


@attrs.define
class _Unsettled:
    """What the latest read of a pair returned and is still there, and what it would rise to without that."""

    positions: list[int]
    end: int

    @property
    def floor(self) -> int:
        return min(self.positions[0], self.end) if self.positions else self.end


class OutboxFloors:
    """The floors of one run. Safe for many threads, if :meth:`observe` is told of one watermark after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._topics: frozenset[str] = frozenset()
        self._epoch: str | None = None
        self._handed_out = self._decided = self._awaited = 0
        self._discovered = -1
        self._writers: frozenset[str] = frozenset()
        self._floors: dict[Pair, int] = {}
        self._unsettled: dict[Pair, _Unsettled] = {}
        self._rechecked: dict[Pair, int] = {}

    def observe(self, watermark: Watermark) -> None:
        """Learn what is decided; watermarks are told in the order in which they were taken."""
        with self._lock:
            if watermark.epoch != self._epoch or watermark.handed_out < self._handed_out:
                self._begin(watermark.epoch)
            still_there = {
                writer for writer in watermark.writers if writer in self._writers or writer.startswith(_PREPARED)
            }
            if not watermark.writers:
                self._decided = watermark.handed_out
            elif not still_there:
                self._decided = self._awaited
            self._handed_out = watermark.handed_out
            if still_there:
                self._writers = frozenset(still_there)
            else:
                self._awaited, self._writers = watermark.handed_out, watermark.writers

    def start(self, lanes: Sequence[int], *, without_topics: Sequence[str]) -> Start | None:
        """Return where a read of *lanes* begins, None if there is certainly nothing for it."""
        with self._lock:
            pairs = [(topic, lane) for topic in self._topics.difference(without_topics) for lane in lanes]
            floors = {pair: self._floors[pair] for pair in pairs if pair in self._floors}
            if self._discovered == self._handed_out == self._decided and all(
                floors.get(pair, 0) > self._handed_out for pair in pairs
            ):
                return None
            return Start(self._epoch, self._decided, tuple(self._topics), floors)

    def note(self, start: Start, found: Found, *, limit: int, without_topics: Sequence[str]) -> int:
        """
        Raise the floors to what a read has found.

        Returns:
            How many pairs had a record below the floor that they had before :meth:`recheck`; there should be none.
        """
        positions: dict[Pair, list[int]] = {}
        for record in found.records:
            positions.setdefault((record.topic, record.lane), []).append(record.position)
        with self._lock:
            self._topics = self._topics.union(found.topics)
            if found.epoch is None or not found.epoch == start.epoch == self._epoch:
                return 0
            self._discovered = max(self._discovered, start.decided)
            lost = 0
            for topic in set(found.topics).difference(without_topics):
                for lane in found.lanes:
                    pair, of_pair = (topic, lane), positions.get((topic, lane), [])
                    former = self._rechecked.pop(pair, 0)
                    lost += bool(of_pair) and of_pair[0] < former
                    end = of_pair[-1] if of_pair and len(of_pair) >= limit else start.decided
                    self._settle(pair, _Unsettled(of_pair, min(end, start.decided) + 1))
            return lost

    def deleted(self, records: Sequence[OutboxRecord]) -> None:
        """Raise the floors past *records*, all of which are gone."""
        gone: dict[Pair, set[int]] = {}
        for record in records:
            gone.setdefault((record.topic, record.lane), set()).add(record.position)
        with self._lock:
            for pair, positions in gone.items():
                unsettled = self._unsettled.get(pair)
                if unsettled is not None:
                    left = [position for position in unsettled.positions if position not in positions]
                    self._settle(pair, _Unsettled(left, unsettled.end))

    def recheck(self, lanes: Iterable[int]) -> None:
        """Have the next read begin at the front of *lanes*; what it finds there that a floor had passed is counted."""
        wanted = set(lanes)
        with self._lock:
            for pair in [pair for pair in self._floors if pair[1] in wanted]:
                self._rechecked[pair] = self._floors.pop(pair)
                self._unsettled.pop(pair, None)

    def _begin(self, epoch: str | None) -> None:
        """Forget everything but the topics."""
        self._epoch = epoch
        self._handed_out = self._decided = self._awaited = 0
        self._discovered = -1
        self._writers = frozenset()
        for known in (self._floors, self._unsettled, self._rechecked):
            known.clear()

    def _settle(self, pair: Pair, unsettled: _Unsettled) -> None:
        self._unsettled[pair] = unsettled
        self._floors[pair] = max(unsettled.floor, self._floors.get(pair, 0))
