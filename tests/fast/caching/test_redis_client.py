"""Redis that is away, in whichever arrangement."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Final

import pytest
import redis

from userservice_core.domain.rate_limits import Limit
from userservice_core.errors import UnavailableError
from userservice_core.infrastructure.caching.dogpile_cache import HITS_A_COUNT, DogpileCache
from userservice_core.infrastructure.caching.redis_client import connect
from userservice_core.infrastructure.caching.redis_limits import RedisRateLimiter
from userservice_core.infrastructure.caching.redis_positions import RedisPositions
from userservice_core.infrastructure.memory.limits import InMemoryRateLimiter
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.infrastructure.system.fallback_limiter import FallbackRateLimiter
from userservice_core.ports.cache import Codec, Namespace, Versioned
from userservice_core.ports.consistency import Position
from userservice_core.ports.limits import Counter
from userservice_core.testing.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES: Final = Namespace[str](name="names", ttl_seconds=100, codec=Codec(str.encode, bytes.decode))
_FORMS: Final = ("redis://{0}/0", "redis+sentinel://{0},{1},{2}/main", "redis+cluster://{0},{1},{2}")


@pytest.fixture(params=["silent", "absent"])
def hosts(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """Three servers that take connections and say nothing, or are not there."""
    with ExitStack() as opened:
        servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        for server in servers:
            opened.enter_context(server)
        if request.param == "absent":
            opened.close()
            addresses = tuple("127.0.0.1:9" for _ in servers)
        else:
            addresses = tuple(f"127.0.0.1:{server.getsockname()[1]}" for server in servers)
        yield addresses


@pytest.mark.parametrize("form", _FORMS)
def test_without_an_answer_everybody_is_on_their_own(hosts: tuple[str, ...], form: str) -> None:
    """The cache loads, the limiter and the memory of positions say so; after a few failures nobody is asked."""
    url = form.format(*hosts)
    metrics = InMemoryMetrics()
    loads = []

    def load() -> Versioned[str]:
        loads.append(1)
        return Versioned(1, "value")

    with closing(DogpileCache(max_entries=100, redis_url=url, metrics=metrics)) as cache:
        for number in range(20):
            assert [cache.get(NAMES, str(number), load) for _ in range(2)] == ["value"] * 2
            cache.invalidate(NAMES, str(number), 2)
            assert cache.peek(NAMES, str(number)) is None
        with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
            cache.ping()
    counter = Counter("tests:away", Limit(2, 600))
    with closing(RedisRateLimiter(url)) as limiter:
        with pytest.raises(UnavailableError):
            limiter.hit([counter])
        with pytest.raises(UnavailableError):
            limiter.take_back([counter])
        falling_back = FallbackRateLimiter(limiter, InMemoryRateLimiter(FakeClock()), metrics=metrics)
        assert [falling_back.hit([counter]) == 0.0 for _ in range(5)] == [True, True, False, False, False]
    with closing(RedisPositions(url, life_seconds=60, metrics=metrics)) as positions:
        positions.remember("somebody", Position(1, 1, 1))
        with pytest.raises(UnavailableError):
            positions.recall("somebody")

    assert len(loads) == 20
    # Three in a row, and one for each second that all of this takes.
    assert 3 <= metrics.counts["shared_cache", "failed"] <= 10


@pytest.mark.parametrize("form", _FORMS)
def test_nobody_is_asked_before_the_first_command(hosts: tuple[str, ...], form: str) -> None:
    """A process begins to serve whether there is a cache or not."""
    with closing(connect(form.format(*hosts))) as client, pytest.raises((redis.RedisError, OSError)):
        client.get("a")


def test_hits_are_counted_by_the_hundred() -> None:
    """Exactly, and by what is cached; loads one by one."""
    metrics = InMemoryMetrics()
    others = Namespace[str](name="others", ttl_seconds=100, codec=Codec(str.encode, bytes.decode))
    cache = DogpileCache(max_entries=10, redis_url=None, metrics=metrics)
    for _ in range(3 * HITS_A_COUNT):
        cache.get(NAMES, "k", lambda: Versioned(1, "value"))
    before = metrics.counts["cache_hit", "names"]
    cache.get(NAMES, "k", lambda: Versioned(1, "value"))
    cache.get(others, "k", lambda: Versioned(1, "value"))

    assert (before, metrics.counts["cache_hit", "names"]) == (2 * HITS_A_COUNT, 3 * HITS_A_COUNT)
    assert metrics.counts["cache_hit", "others"] == 0
    assert (metrics.counts["cache_load", "names"], metrics.counts["cache_load", "others"]) == (1, 1)
