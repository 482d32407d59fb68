"""The cache in the memory of one process."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import redis

from userservice_core.errors import DeadlineExceededError
from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.caching.lru_backend import PatientMutex
from userservice_core.infrastructure.caching.redis_client import Breaker
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.ports.cache import Codec, Namespace, Versioned
from userservice_core.ports.context import deadline_after

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES: Namespace[str] = Namespace(name="names", ttl_seconds=100, codec=Codec(str.encode, bytes.decode))
OTHERS: Namespace[str] = Namespace(name="others", ttl_seconds=100, codec=Codec(str.encode, bytes.decode))


class _Time:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


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
def time() -> _Time:
    """The clock by which values expire."""
    return _Time()


@pytest.fixture
def cache(time: _Time) -> DogpileCache:
    """A cache of three values."""
    return DogpileCache(max_entries=3, redis_url=None, metrics=InMemoryMetrics(), monotonic=time)


def test_a_value_is_loaded_once(cache: DogpileCache) -> None:
    """Afterwards it is served, and peek finds it too; before, peek finds nothing and loads nothing."""
    source = _Source()
    before = cache.peek(NAMES, "k")

    assert [cache.get(NAMES, "k", source) for _ in range(3)] == ["value"] * 3
    assert (before, cache.peek(NAMES, "k"), source.loads) == (None, "value", 1)


def test_namespaces_and_keys_are_apart(cache: DogpileCache) -> None:
    """The same key elsewhere is another one, and no key reaches into another namespace."""
    cache.get(NAMES, "k", _Source(value="name"))

    assert cache.peek(OTHERS, "k") is None
    assert cache.peek(NAMES, "") is None
    assert cache.get(OTHERS, "k", _Source(value="other")) == "other"
    assert cache.peek(NAMES, "k") == "name"


def test_a_value_ends_with_its_time_however_often_it_is_read(cache: DogpileCache, time: _Time) -> None:
    """It lives for its time less up to a tenth, and reading does not prolong it."""
    source = _Source()
    for second in range(0, 90, 10):
        time.now = 1_000.0 + second
        cache.get(NAMES, "k", source)
    loads_before = source.loads
    time.now = 1_100.0

    assert cache.peek(NAMES, "k") is None
    cache.get(NAMES, "k", source)
    assert (loads_before, source.loads) == (1, 2)


def test_values_loaded_together_do_not_end_together(time: _Time) -> None:
    """So that they are not all loaded again at once."""
    cache = DogpileCache(max_entries=1_000, redis_url=None, metrics=InMemoryMetrics(), monotonic=time)
    keys = [str(number) for number in range(200)]
    for key in keys:
        cache.get(NAMES, key, _Source())
    time.now += 95

    assert 20 < sum(cache.peek(NAMES, key) is not None for key in keys) < 180


def test_a_failed_load_is_told_and_not_kept(cache: DogpileCache) -> None:
    """The next caller loads again."""

    def fail() -> Versioned[str]:
        raise LookupError

    with pytest.raises(LookupError):
        cache.get(NAMES, "k", fail)
    assert cache.get(NAMES, "k", _Source()) == "value"


def test_an_invalidation_drops_what_is_older(cache: DogpileCache) -> None:
    """A value of the version named, or a newer one, stays."""
    cache.get(NAMES, "older", _Source(version=4))
    cache.get(NAMES, "same", _Source(version=5))
    for key in ("older", "same", "unknown"):
        cache.invalidate(NAMES, key, 5)

    assert cache.peek(NAMES, "older") is None
    assert cache.peek(NAMES, "same") == "value"


def test_an_invalidation_of_an_unused_namespace_counts(cache: DogpileCache) -> None:
    """It may be the first that is heard of it."""
    cache.invalidate(NAMES, "k", 2)
    stale, fresh = _Source(version=1, value="stale"), _Source(version=2, value="fresh")

    assert cache.get(NAMES, "k", stale) == "stale"
    assert cache.peek(NAMES, "k") is None
    assert cache.get(NAMES, "k", fresh) == "fresh"
    assert cache.peek(NAMES, "k") == "fresh"


@pytest.mark.parametrize("overtakes", ["invalidate", "clear"])
def test_a_load_that_was_overtaken_is_not_kept(cache: DogpileCache, overtakes: str) -> None:
    """Its caller gets what was read, the next one what is true."""

    def load() -> Versioned[str]:
        if overtakes == "invalidate":
            cache.invalidate(NAMES, "k", 2)
        else:
            cache.clear()
        return Versioned(1, "stale")

    assert cache.get(NAMES, "k", load) == "stale"
    assert cache.peek(NAMES, "k") is None
    assert cache.get(NAMES, "k", _Source(version=2, value="fresh")) == "fresh"


def test_clearing_forgets_everything(cache: DogpileCache) -> None:
    """Of every namespace."""
    cache.get(NAMES, "k", _Source())
    cache.get(OTHERS, "k", _Source())
    cache.clear()

    assert (cache.peek(NAMES, "k"), cache.peek(OTHERS, "k")) == (None, None)


def test_memory_is_bounded_and_keeps_what_is_used(cache: DogpileCache) -> None:
    """The least recently used value goes."""
    for key in "abc":
        cache.get(NAMES, key, _Source())
    cache.peek(NAMES, "a")
    cache.get(OTHERS, "d", _Source())

    assert [key for key in "abc" if cache.peek(NAMES, key) is None] == ["b"]


# --- many threads -----------------------------------------------------------------------------------------------------


def test_concurrent_misses_share_one_load(cache: DogpileCache) -> None:
    """All get its value."""
    callers = threading.Barrier(21)
    go_on = threading.Event()
    loads: list[int] = []

    def load() -> Versioned[str]:
        loads.append(1)
        assert go_on.wait(30)
        return Versioned(1, "value")

    def call() -> str:
        callers.wait(30)
        return cache.get(NAMES, "k", load)

    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(call) for _ in range(20)]
        callers.wait(30)
        go_on.set()

        assert [future.result(30) for future in futures] == ["value"] * 20
    assert len(loads) == 1


def test_one_key_does_not_wait_for_another(cache: DogpileCache) -> None:
    """A slow load holds up its own key only, and nobody's peek."""
    loading, go_on = threading.Event(), threading.Event()

    def slow() -> Versioned[str]:
        loading.set()
        assert go_on.wait(30)
        return Versioned(1, "slow")

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(cache.get, NAMES, "slow", slow)
        assert loading.wait(30)
        quick, unknown = cache.get(NAMES, "quick", _Source()), cache.peek(NAMES, "slow")
        go_on.set()

        assert (quick, unknown, future.result(30)) == ("value", None, "slow")


def test_whoever_waits_for_a_load_keeps_their_deadline(cache: DogpileCache) -> None:
    """The load of somebody else does not use it up unnoticed."""
    loading, go_on = threading.Event(), threading.Event()

    def slow() -> Versioned[str]:
        loading.set()
        assert go_on.wait(30)
        return Versioned(1, "slow")

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(cache.get, NAMES, "k", slow)
        assert loading.wait(30)
        with deadline_after(0.01), pytest.raises(DeadlineExceededError):
            cache.get(NAMES, "k", _Source())
        go_on.set()

        assert future.result(30) == "slow"


def test_a_lock_is_not_waited_for_without_end() -> None:
    """Whoever gives up waiting goes on without it, and does not free it for others."""
    mutex = PatientMutex(timeout_seconds=0.01)
    assert mutex.acquire()

    with ThreadPoolExecutor(1) as pool:
        got = pool.submit(mutex.acquire).result(30)
        pool.submit(mutex.release).result(30)

    assert (got, mutex.locked()) == (False, True)
    mutex.release()
    assert (mutex.acquire(wait=False), mutex.acquire(wait=False)) == (True, False)


# --- without the shared layer it was promised -------------------------------------------------------------------------


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The URL of a server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture
def absent_server() -> str:
    """The URL of a server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.mark.parametrize("server", ["silent_server", "absent_server"])
def test_without_an_answer_from_redis_each_process_is_on_its_own(request: pytest.FixtureRequest, server: str) -> None:
    """Loads, hits and invalidations work; and after a few failures Redis is left alone for a while."""
    metrics = InMemoryMetrics()
    cache = DogpileCache(max_entries=100, redis_url=request.getfixturevalue(server), metrics=metrics)
    sources = [_Source() for _ in range(20)]
    for number, source in enumerate(sources):
        cache.get(NAMES, str(number), source)
        cache.get(NAMES, str(number), source)
        cache.invalidate(NAMES, str(number), 2)
    failures = metrics.counts["shared_cache", "failed"]
    cache.close()

    assert [source.loads for source in sources] == [1] * 20
    assert [cache.peek(NAMES, str(number)) for number in range(20)] == [None] * 20
    assert 3 <= failures <= 5


def test_the_shared_layer_can_be_asked_how_it_is(absent_server: str, cache: DogpileCache) -> None:
    """It fails where Redis is configured and away, and only there."""
    cache.ping()
    away = DogpileCache(max_entries=1, redis_url=absent_server, metrics=InMemoryMetrics())

    with pytest.raises(redis.ConnectionError):
        away.ping()


def test_a_breaker_lets_one_call_through_after_each_rest() -> None:
    """Three failures open it, one success closes it."""
    time = _Time()
    breaker = Breaker(failures=3, rest_seconds=1.0, monotonic=time)

    def fails() -> bool:
        admitted = breaker.admits()
        if admitted:
            breaker.failed()
        return admitted

    assert [fails() for _ in range(5)] == [True, True, True, False, False]
    time.now += 1
    assert [fails() for _ in range(3)] == [True, False, False]
    time.now += 1
    assert (breaker.admits(), breaker.admits()) == (True, False)
    breaker.succeeded()
    assert [breaker.admits() for _ in range(3)] == [True] * 3
