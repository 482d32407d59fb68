"""The cache over a real Redis: shared by processes, fenced by versions, and never believed without a reason."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import redis

from tests.interleavings import actors, sampled_merges
from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.caching.redis_values import RedisValues, SharedValue
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.ports.cache import Codec, Namespace, Versioned
from userservice_core.testing.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.redis import RedisServer

KEY = "userservice:cache:{names:k}"


def _decode(data: bytes) -> str:
    text = data.decode()
    if not text.startswith("text:"):
        raise ValueError("an older schema")
    return text.removeprefix("text:")


NAMES: Namespace[str] = Namespace(
    name="names", ttl_seconds=100, codec=Codec(lambda text: f"text:{text}".encode(), _decode)
)


class _Source:
    """Counts how often it is asked."""

    def __init__(self, version: int = 1, value: str = "value") -> None:
        self.version = version
        self.value = value
        self.loads = 0

    def __call__(self) -> Versioned[str]:
        self.loads += 1
        return Versioned(self.version, self.value)


@pytest.fixture
def process(redis_url: str) -> Iterator[Callable[[], DogpileCache]]:
    """Make a cache as another process has one: with a memory and locks of its own."""
    caches: list[DogpileCache] = []

    def make() -> DogpileCache:
        caches.append(DogpileCache(max_entries=100, redis_url=redis_url, metrics=InMemoryMetrics(), timeout_seconds=5))
        return caches[-1]

    yield make
    for cache in caches:
        cache.close()


@pytest.fixture
def values(redis_url: str) -> Iterator[RedisValues]:
    """The shared layer alone."""
    values = RedisValues(redis_url, metrics=InMemoryMetrics(), timeout_seconds=5)
    yield values
    values.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A way to put anything there."""
    with redis.Redis.from_url(redis_url, socket_timeout=5) as client:
        yield client


# --- sharing ----------------------------------------------------------------------------------------------------------


def test_what_one_process_loaded_the_others_find(process: Callable[[], DogpileCache]) -> None:
    """Each keeps it in memory from then on; peek looks there only."""
    source = _Source()
    first, second = process(), process()
    first.get(NAMES, "k", source)
    before = second.peek(NAMES, "k")
    found = second.get(NAMES, "k", source)

    assert (before, found, second.peek(NAMES, "k"), source.loads) == (None, "value", "value", 1)


def test_concurrent_misses_in_all_processes_share_one_load(process: Callable[[], DogpileCache]) -> None:
    """Five processes of four threads each."""
    caches = [process() for _ in range(5)]
    callers = threading.Barrier(20)
    loads: list[int] = []

    def load() -> Versioned[str]:
        loads.append(1)
        return Versioned(1, "value")

    def call(cache: DogpileCache) -> str:
        callers.wait(30)
        return cache.get(NAMES, "k", load)

    with ThreadPoolExecutor(20) as pool:
        answers = [future.result(30) for future in [pool.submit(call, cache) for cache in caches * 4]]

    assert answers == ["value"] * 20
    assert len(loads) == 1


def test_the_lock_of_a_process_that_died_ends(process: Callable[[], DogpileCache], client: redis.Redis) -> None:
    """Whoever waits for it goes on when its time is over."""
    client.set(f"{KEY}:lock", "a process that is no more", px=50)
    source = _Source()

    assert process().get(NAMES, "k", source) == "value"
    assert source.loads == 1
    assert client.get(f"{KEY}:lock") is None


def test_a_value_ends_at_one_time_for_all(
    process: Callable[[], DogpileCache], client: redis.Redis, redis_url: str
) -> None:
    """Redis holds it no longer than it may live, and a process that finds it late keeps it for the rest only."""
    process().get(NAMES, "k", _Source())
    milliseconds = client.pttl(KEY)
    clock = FakeClock()

    def now() -> float:
        return clock.now().timestamp()

    values = RedisValues(redis_url, metrics=InMemoryMetrics(), timeout_seconds=5, now=now)
    values.store("names", "other", SharedValue(1, 100.0, b"text:x"))
    left = []
    for step in (0, 60, 39.5, 0.5):
        clock.advance(timedelta(seconds=step))
        found = values.find("names", "other")
        left.append(None if found is None else found.seconds_left)
    values.close()

    assert 89_000 < milliseconds <= 100_000
    assert left == [100.0, 40.0, 0.5, None]


# --- fences -----------------------------------------------------------------------------------------------------------


def test_every_order_of_stores_and_invalidations_ends_with_the_newest(values: RedisValues) -> None:
    """Three stores and two invalidations in all 120 orders: an older version never replaces a newer one."""

    def store(version: int) -> Callable[[str], None]:
        return lambda key: values.store("names", key, SharedValue(version, 100.0, str(version).encode()))

    def invalidate(version: int) -> Callable[[str], None]:
        return lambda key: values.invalidate("names", key, version, life_seconds=100)

    steps = [store(1), store(2), store(3), invalidate(2), invalidate(3)]
    for number, order in enumerate(itertools.permutations(steps)):
        invalidated = 0
        for step in order:
            step(str(number))
            invalidated = max(invalidated, {steps[3]: 2, steps[4]: 3}.get(step, 0))
            found = values.find("names", str(number))
            assert found is None or found.version >= invalidated, order
            assert found is None or found.payload == str(found.version).encode()
        found = values.find("names", str(number))
        assert found is not None, "the newest was stored, and no invalidation is above it"
        assert found.version == 3


def test_no_order_of_steps_leaves_a_stale_value(
    process: Callable[[], DogpileCache], values: RedisValues, client: redis.Redis
) -> None:
    """
    A load, a change that two processes hear of, a load whose lock has run out, and an eviction, a step at a time.

    In a sample of their 5,040 orders; in memory all of them are tried.
    """
    here, there = process(), process()
    with actors(3) as (loading, changing, storing):
        for number, order in enumerate(sampled_merges(3, 3, 2, 1, count=150, seed=4711)):
            key, primary, heard = f"k{number}", [1], [0]

            def read(primary: list[int] = primary) -> Versioned[str]:
                loading.pause()
                version = primary[0]
                loading.pause()
                return Versioned(version, str(version))

            def load(key: str = key, read: Callable[[], Versioned[str]] = read) -> None:
                here.get(NAMES, key, read)

            def change(key: str = key, primary: list[int] = primary, heard: list[int] = heard) -> None:
                primary[0] = 2
                changing.pause()
                here.invalidate(NAMES, key, 2)
                heard[0] = 2
                changing.pause()
                there.invalidate(NAMES, key, 2)

            def store(key: str = key, primary: list[int] = primary) -> None:
                version = primary[0]
                storing.pause()
                values.store("names", key, SharedValue(version, 100.0, f"text:{version}".encode()))

            loading.begin(load)
            changing.begin(change)
            storing.begin(store)
            for actor in order:
                if actor < 3:
                    (loading, changing, storing)[actor].step()
                else:
                    client.flushdb()
                kept = here.peek(NAMES, key)
                assert kept is None or int(kept) >= heard[0], order
            for each in (loading, changing, storing):
                each.finish()

            assert [cache.get(NAMES, key, lambda: Versioned(2, "2")) for cache in (here, there)] == ["2", "2"], order


def test_a_slow_load_of_another_process_does_not_bring_back_what_was_invalidated(
    process: Callable[[], DogpileCache],
) -> None:
    """It may not even have heard of the invalidation when it stores."""
    slow, quick, third = process(), process(), process()

    def load() -> Versioned[str]:
        quick.invalidate(NAMES, "k", 2)
        return Versioned(1, "stale")

    slow.get(NAMES, "k", load)
    fresh = _Source(version=2, value="fresh")

    assert third.get(NAMES, "k", fresh) == "fresh"
    assert fresh.loads == 1


def test_a_process_that_knows_better_does_not_believe_redis(
    process: Callable[[], DogpileCache], client: redis.Redis
) -> None:
    """The invalidation was lost there: the value of before is back, and refused by whoever was told."""
    told, other = process(), process()
    other.get(NAMES, "k", _Source(version=1, value="stale"))
    stale = client.get(KEY)
    told.invalidate(NAMES, "k", 2)
    client.set(KEY, stale if isinstance(stale, bytes) else b"", px=100_000)
    fresh = _Source(version=2, value="fresh")

    assert told.get(NAMES, "k", fresh) == "fresh"
    assert other.get(NAMES, "k", _Source()) == "stale"
    other.invalidate(NAMES, "k", 2)
    assert other.get(NAMES, "k", _Source()) == "fresh"


def test_after_a_clearing_nothing_of_before_is_believed(process: Callable[[], DogpileCache]) -> None:
    """What was invalidated meanwhile is unknown, so each process asks the source itself."""
    cache, other = process(), process()
    other.get(NAMES, "k", _Source(value="perhaps stale"))
    cache.get(NAMES, "k", _Source())
    cache.clear()
    source = _Source(value="true")

    assert cache.get(NAMES, "k", source) == "true"
    assert source.loads == 1


@pytest.mark.parametrize("version", [0, 2**53, 2**53 + 1, 2**63 - 1])
def test_versions_are_compared_exactly(values: RedisValues, version: int) -> None:
    """A script's numbers would lose the last digits of large ones."""
    values.store("names", "k", SharedValue(version, 100.0, b"kept"))
    if version:
        values.store("names", "k", SharedValue(version - 1, 100.0, b"older"))
        values.invalidate("names", "k", version - 1, life_seconds=100)
    values.invalidate("names", "k", version, life_seconds=100)
    found = values.find("names", "k")
    values.invalidate("names", "k", version + 1, life_seconds=100)

    assert found is not None
    assert (found.version, found.payload) == (version, b"kept")
    assert values.find("names", "k") is None


# --- what may be found there ------------------------------------------------------------------------------------------

_FAR = "999999999999999"


@pytest.mark.asvs("1.5.2")
@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00\xff\x00",
        b"value",
        b"us1:",
        b"us1:1:2:text:x",
        b"us1:" + b"9" * 20 + b":",
        b"us0:" + b"0" * 20 + b":" + _FAR.encode() + b":text:x",
        b"us1:" + b"0" * 20 + b":" + _FAR.encode() + b":",
        b"us1:" + b"0" * 20 + b":" + _FAR.encode() + b":an older schema",
        b"us1:" + b"0" * 20 + b":" + _FAR.encode() + b":\xff",
        b"us1:" + b"0" * 20 + b":" + b"0" * 15 + b":text:expired",
        b"x" * 1_000_000,
    ],
)
def test_garbage_is_a_miss_and_is_replaced(
    process: Callable[[], DogpileCache], client: redis.Redis, garbage: bytes
) -> None:
    """The next process finds the right value."""
    client.set(KEY, garbage)
    source = _Source()

    assert [process().get(NAMES, "k", source) for _ in range(2)] == ["value"] * 2
    assert source.loads == 1


@pytest.mark.parametrize("kind", ["list", "hash", "set"])
def test_a_value_of_another_type_is_a_miss_and_is_replaced(
    process: Callable[[], DogpileCache], client: redis.Redis, kind: str
) -> None:
    """It is no fault of Redis, so it is asked again at once."""
    match kind:
        case "list":
            client.rpush(KEY, "a")
        case "hash":
            client.hset(KEY, "a", "b")
        case _:
            client.sadd(KEY, "a")
    source = _Source()

    assert [process().get(NAMES, "k", source) for _ in range(2)] == ["value"] * 2
    assert source.loads == 1


def test_a_flush_costs_one_load(process: Callable[[], DogpileCache], client: redis.Redis) -> None:
    """Memory still serves; a new process loads, and shares again."""
    first = process()
    source = _Source()
    first.get(NAMES, "k", source)
    client.flushdb()

    assert [cache.get(NAMES, "k", source) for cache in (first, process(), process(), first)] == ["value"] * 4
    assert source.loads == 2


def test_a_flush_during_a_load_costs_nothing_but_the_lock(
    process: Callable[[], DogpileCache], client: redis.Redis
) -> None:
    """The lock is gone when it is to be given back."""

    def load() -> Versioned[str]:
        client.flushdb()
        return Versioned(1, "value")

    assert process().get(NAMES, "k", load) == "value"


@pytest.mark.asvs("16.5.2")
@pytest.mark.exclusive
def test_a_redis_that_dies_is_missed_by_nobody(redis_server: RedisServer, process: Callable[[], DogpileCache]) -> None:
    """Before, during and after: right answers; when it is back it is shared again."""
    first, second = process(), process()
    first.get(NAMES, "before", _Source())
    redis_server.kill9()
    during = [cache.get(NAMES, str(number), _Source()) for number in range(10) for cache in (first, second)]
    first.invalidate(NAMES, "before", 2)
    redis_server.start()
    source = _Source()
    keys = (f"after {number}" for number in itertools.count())
    for key in keys:  # the breaker lets one call through each second
        source.loads = 0
        first.get(NAMES, key, source)
        second.get(NAMES, key, source)
        if source.loads == 1:
            break
        threading.Event().wait(0.05)

    assert during == ["value"] * 20
    assert first.peek(NAMES, "before") is None


def test_what_has_no_codec_stays_in_the_process(process: Callable[[], DogpileCache], client: redis.Redis) -> None:
    """Each process loads it for itself, and neither value nor tombstone is written where others read."""
    private: Namespace[str] = Namespace(name="private", ttl_seconds=100, codec=None)
    first, second = process(), process()
    loads = [_Source(), _Source()]
    for cache, source in zip((first, second), loads, strict=True):
        assert [cache.get(private, "a", source) for _ in range(2)] == ["value"] * 2
    first.invalidate(private, "a", 2)
    first.get(private, "a", _Source(version=2))

    assert [source.loads for source in loads] == [1, 1]
    assert not [key for key in client.scan_iter("*") if b"private" in key]
