"""Redis that stands still, is full, is emptied again and again, or holds garbage: no answer changes."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

from tests.servers.fixtures import started
from tests.servers.redis import RedisServer
from userservice_core.domain.rate_limits import Limit
from userservice_core.errors import UnavailableError
from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.caching.redis_limits import RedisRateLimiter
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.ports.cache import Codec, Namespace, Versioned
from userservice_core.ports.limits import Counter
from userservice_core.testing.contracts.races import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

NAMES: Final = Namespace[str](name="names", ttl_seconds=100, codec=Codec(str.encode, bytes.decode))
BRIEF: Final = Namespace[str](name="brief", ttl_seconds=0.02, codec=Codec(str.encode, bytes.decode))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that nobody else needs."""
    redis_server = RedisServer(tmp_path_factory.mktemp("faults"))
    started(redis_server.start)
    yield redis_server
    redis_server.stop()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    """A way to do anything to it, which is undone."""
    with server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def process(server: RedisServer) -> Iterator[Callable[..., DogpileCache]]:
    """Make a cache as another process has one."""
    with contextlib.ExitStack() as ended:

        def make(*, timeout_seconds: float = 5, metrics: InMemoryMetrics | None = None) -> DogpileCache:
            cache = DogpileCache(
                max_entries=1_000,
                redis_url=server.url(),
                metrics=metrics or InMemoryMetrics(),
                timeout_seconds=timeout_seconds,
            )
            ended.callback(cache.close)
            return cache

        yield make


def _loads_of(caches: list[DogpileCache], key: str) -> int:
    """Have each read a key, and return how often it was loaded."""
    loads: list[int] = []

    def load() -> Versioned[str]:
        loads.append(1)
        return Versioned(1, "value")

    assert [cache.get(NAMES, key, load) for cache in caches] == ["value"] * len(caches)
    return len(loads)


def _share_again(caches: list[DogpileCache]) -> bool:
    keys = itertools.count()
    return eventually(lambda: _loads_of(caches, f"again {next(keys)}") == 1)


def test_a_redis_that_stands_still_is_soon_asked_no_more(
    server: RedisServer, client: redis.Redis, process: Callable[..., DogpileCache]
) -> None:
    """It takes connections, and those that there are stay open; it answers nothing until it goes on."""
    metrics = InMemoryMetrics()
    caches = [process(timeout_seconds=0.05, metrics=metrics) for _ in range(2)]
    assert eventually(lambda: _share_again(caches))
    stopped = server.process
    assert stopped is not None
    with contextlib.closing(RedisRateLimiter(server.url())) as limiter:
        stopped.suspend()
        try:
            before = metrics.counts["shared_cache", "failed"]
            assert [_loads_of(caches, str(number)) for number in range(50)] == [2] * 50
            failed = metrics.counts["shared_cache", "failed"] - before
            with pytest.raises(UnavailableError):
                limiter.hit([Counter("tests:still", Limit(1, 60))])
        finally:
            stopped.resume()

    # Three in a row by each, and one for each second that all of this takes; without a breaker it is 300.
    assert 6 <= failed <= 30
    assert client.ping()
    assert _share_again(caches)


def test_a_redis_that_is_full_shares_no_more(
    server: RedisServer, client: redis.Redis, process: Callable[..., DogpileCache]
) -> None:
    """It refuses what is written; what it has is still read, unless it is outdated."""
    metrics = InMemoryMetrics()
    first, second, third = (process(metrics=metrics) for _ in range(3))
    assert _loads_of([first], "before") == 1
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    try:
        assert _loads_of([second], "before") == 0
        assert [_loads_of([first, second], str(number)) for number in range(10)] == [2] * 10
        # The tombstone is refused as well; whoever is told knows better than Redis.
        for cache in (first, second, third):
            cache.invalidate(NAMES, "before", 2)
        answers = {cache.get(NAMES, "before", lambda: Versioned(2, "new")) for cache in (first, second, third)}
        with (
            contextlib.closing(RedisRateLimiter(server.url(), timeout_seconds=5)) as limiter,
            pytest.raises(UnavailableError),
        ):
            limiter.hit([Counter("tests:full", Limit(1, 60))])
    finally:
        client.config_set("maxmemory", "0")

    assert answers == {"new"}
    assert metrics.counts["shared_cache", "refused"] > 0
    assert metrics.counts["shared_cache", "failed"] == 0
    assert _share_again([first, second])


def test_a_lock_that_does_not_end_is_nobodys(client: redis.Redis, process: Callable[..., DogpileCache]) -> None:
    """Garbage in its place is taken over at once, whatever its type."""
    client.set("userservice:cache:{names:a}:lock", "garbage")
    client.rpush("userservice:cache:{names:b}:lock", "garbage")
    client.set("userservice:cache:{names:c}:lock", "garbage", ex=86_400)
    caches = [process(), process()]

    assert [_loads_of(caches, key) for key in "abc"] == [1, 1, 1]
    assert client.exists(*(f"userservice:cache:{{names:{key}}}:lock" for key in "abc")) == 0


def _harms(server: RedisServer, keys: list[str], done: threading.Event) -> int:
    """Empty it and put garbage into it until it is *done*; return how often."""
    chance = random.Random(2)  # noqa: S311 - it is to be the same again
    version = b"us1:" + b"0" * 20
    with server.client() as client:
        for number in itertools.count():
            if done.is_set():
                return number
            name = f"userservice:cache:{{brief:{chance.choice(keys)}}}{chance.choice(('', ':lock'))}"
            match chance.randrange(4):
                case 0:
                    client.flushall()
                case 1:
                    with client.pipeline(transaction=True) as pipe:
                        pipe.delete(name).rpush(name, "another type").execute()
                case 2:
                    client.set(name, chance.randbytes(30))
                case _:
                    # An older layout, and a payload of another schema.
                    client.set(
                        name, chance.choice((b"us0:" + b"9" * 20 + b":99999", version + b":" + b"9" * 15 + b":\xff"))
                    )
    raise AssertionError


def test_under_load_nothing_that_happens_to_redis_changes_an_answer(
    server: RedisServer, process: Callable[..., DogpileCache]
) -> None:
    """
    Four processes read what is changed all the time, while Redis is emptied and filled with garbage.

    Nobody gets less than what was invalidated before they asked.
    """
    caches = [process() for _ in range(4)]
    keys = [str(number) for number in range(5)]
    truth = dict.fromkeys(keys, 1)
    known = [dict.fromkeys(keys, 1) for _ in caches]
    done = threading.Event()

    def read(number: int) -> int:
        for reads in itertools.count():
            if done.is_set():
                return reads
            key = keys[reads % len(keys)]
            least = known[number][key]
            assert int(caches[number].get(BRIEF, key, lambda: _version_of(truth, key))) >= least  # noqa: B023 - called at once
        raise AssertionError

    def change() -> None:
        for number in range(300):
            key = keys[number % len(keys)]
            truth[key] += 1
            for cache, told in zip(caches, known, strict=True):
                cache.invalidate(BRIEF, key, truth[key])
                told[key] = truth[key]

    with ThreadPoolExecutor(5) as threads:
        readers = [threads.submit(read, number) for number in range(4)]
        harming = threads.submit(_harms, server, keys, done)
        try:
            change()
        finally:
            done.set()
        reads = [reader.result(30) for reader in readers]

    assert min(reads) > len(keys)
    assert harming.result(30) > 20


def _version_of(truth: dict[str, int], key: str) -> Versioned[str]:
    version = truth[key]
    return Versioned(version, str(version))
