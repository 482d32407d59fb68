"""Invalidations that are late, lost, twice or in any order: how outdated an answer may be, and that it is counted."""

from __future__ import annotations

import random
import threading
import time
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from tests.fast.system.doubles import wait_until
from userservice_core.application.access import CLIENT_MAP, CLIENT_SECRETS, HELD_ROLES, ROLE_MAP
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.errors import DatabaseUnavailableError
from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.system.revocation_mirror import RevocationMirror
from userservice_core.ports.cache import Codec, Namespace, Versioned
from userservice_core.ports.revocations import REVOCATIONS_CHANNEL, RevocationBatch
from userservice_core.testing.clocks import NOON, FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

_KEYS: Final = ("a", "b", "c", "d")
_MAX_AGE_SECONDS: Final = 1.0
_WRITES: Final = 200
_NAMES: Namespace[int] = Namespace(name="names", ttl_seconds=3_600, codec=Codec(lambda value: b"%d" % value, int))


class _Truth:
    """What is true, since when; and the log, which tells it in any order and more than once, while it can be read."""

    def __init__(self, chance: random.Random) -> None:
        self.can_be_read = True
        self._chance = chance
        self._lock = threading.Lock()
        self._rows: list[Revocation] = []
        self._since: dict[str, list[float]] = {key: [0.0] for key in _KEYS}

    def change(self, key: str) -> None:
        """Have another value, and write down that the one before is to be forgotten."""
        with self._lock:
            version = len(self._since[key])
            row = Revocation(
                kind=RevocationKind.USER_ACCESS,
                subject=key,
                not_before=NOON,
                version=version,
                expires_at=NOON + timedelta(hours=1),
            )
            self._rows.append(row)
            self._since[key].append(time.monotonic())

    def now(self, key: str) -> int:
        """Return the value, which is its version."""
        return len(self._since[key]) - 1

    def at(self, key: str, moment: float) -> int:
        """Return what it was at a moment."""
        return bisect_right(self._since[key], moment) - 1

    def read_since(self, since: datetime | None) -> RevocationBatch:
        """Return all rows of the moment, shuffled, some of them again; late."""
        del since  # rows that were read come again, as with the overlap of reads
        if not self.can_be_read:
            raise DatabaseUnavailableError
        with self._lock:
            rows = list(self._rows)
        rows += self._chance.choices(rows, k=len(rows) // 2) if rows else []
        self._chance.shuffle(rows)
        time.sleep(self._chance.uniform(0, 0.01))
        return RevocationBatch(revocations=tuple(rows), read_at=NOON)

    def is_revoked(self, **_token: object) -> bool:
        """Tell that no token is, since none is asked about."""
        return False


class _UnreliableSignal:
    """Loses most of what it is to tell, and tells the rest late or twice."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._callbacks: list[Callable[[], None]] = []

    def notify(self, channel: str) -> None:
        """Wake whoever listens, or not."""
        del channel
        for callback in self._callbacks:
            for _ in range(self._chance.choice((0, 0, 0, 1, 2))):
                timer = threading.Timer(self._chance.uniform(0, 0.05), callback)
                timer.daemon = True
                timer.start()

    def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Remember the listener."""
        assert channel == REVOCATIONS_CHANNEL
        self._callbacks.append(callback)
        return self._callbacks.clear


@attrs.frozen
class _Answer:
    """What was answered to whoever asked at a moment, and whether it was looked up in the cache."""

    asked_at: float
    key: str
    value: int
    is_cached: bool


@attrs.frozen
class _Load:
    """What was read of the source."""

    key: str
    value: int
    began: float
    ended: float


@attrs.define
class _Scene:
    """One process with its cache, and a writer elsewhere."""

    truth: _Truth
    signal: _UnreliableSignal
    cache: DogpileCache
    mirror: RevocationMirror
    answers: list[_Answer] = attrs.Factory(list)
    loads: list[_Load] = attrs.Factory(list)

    def ask(self, key: str) -> None:
        """Ask as use cases do: the cache as long as it hears of changes, else the source."""
        asked_at = time.monotonic()
        if is_cached := self.mirror.is_current():
            value = self.cache.get(_NAMES, key, lambda: self._load(key))
        else:
            value = self.truth.now(key)
        self.answers.append(_Answer(asked_at, key, value, is_cached))

    def outdated(self, *, by_seconds: float) -> list[_Answer]:
        """Return answers that were not true any more for so long when they were asked for."""
        return [
            each
            for each in self.answers
            if each.value < self.truth.at(each.key, each.asked_at - by_seconds) and not self._was_loaded_for(each)
        ]

    def _load(self, key: str) -> Versioned[int]:
        began, value = time.monotonic(), self.truth.now(key)
        self.loads.append(_Load(key, value, began, time.monotonic()))
        return Versioned(value, value)

    def _was_loaded_for(self, answer: _Answer) -> bool:
        """Tell whether somebody was loading it when it was asked for, and shared it; a busy machine may take long."""
        return any(
            (load.key, load.value) == (answer.key, answer.value) and load.began <= answer.asked_at <= load.ended
            for load in self.loads
        )


@pytest.fixture
def metrics() -> InMemoryMetrics:
    """What is counted."""
    return InMemoryMetrics()


@pytest.fixture
def scene(metrics: InMemoryMetrics) -> Iterator[_Scene]:
    """With a mirror that reads every tenth of a second, and is trusted for one second."""
    chance = random.Random(4711)  # noqa: S311 - it is to be the same again
    truth, signal = _Truth(chance), _UnreliableSignal(chance)
    cache = DogpileCache(max_entries=100, redis_url=None, metrics=metrics)
    mirror = RevocationMirror(
        truth,
        signal,
        FakeClock(),
        on_revocation=lambda row: cache.invalidate(_NAMES, row.subject, row.version),
        on_gap=cache.clear,
        metrics=metrics,
        poll_seconds=0.1,
        max_age_seconds=_MAX_AGE_SECONDS,
    )
    mirror.start()
    wait_until(lambda: mirror.is_loaded)
    yield _Scene(truth, signal, cache, mirror)
    mirror.close()


def test_no_answer_is_older_than_the_last_good_read_may_be(scene: _Scene, metrics: InMemoryMetrics) -> None:
    """However signals and rows come; while none can be read, nothing is answered from the cache any more."""
    over = threading.Event()

    def ask_on(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - as above
        while not over.wait(0.001):
            scene.ask(chance.choice(_KEYS))

    def write(times: int) -> None:
        chance = random.Random(times)  # noqa: S311 - as above
        for _ in range(times):
            scene.truth.change(chance.choice(_KEYS))
            scene.signal.notify(REVOCATIONS_CHANNEL)
            over.wait(0.005)

    with ThreadPoolExecutor(2) as askers:
        asked = [askers.submit(ask_on, seed) for seed in range(2)]
        try:
            write(_WRITES)
            scene.truth.can_be_read = False
            write(_WRITES // 4)
            wait_until(lambda: not scene.mirror.is_current())
            write(_WRITES // 4)
            scene.truth.can_be_read = True
            wait_until(scene.mirror.is_current)
            write(_WRITES)
        finally:
            over.set()
        for each in asked:
            each.result()

    assert scene.outdated(by_seconds=_MAX_AGE_SECONDS) == []
    assert {each.is_cached for each in scene.answers} == {True, False}
    assert scene.outdated(by_seconds=0), "nothing was ever outdated, so nothing was tested"
    assert metrics.counts["revocations_read", "failed"] > 0
    assert metrics.counts["revocations_read", "gap"] >= 1


def test_what_nobody_hears_of_ends_by_itself() -> None:
    """Half a minute is the most that anything is kept which says what somebody may do."""
    assert {namespace.ttl_seconds for namespace in (ROLE_MAP, CLIENT_MAP, CLIENT_SECRETS, HELD_ROLES)} == {30}
