"""Sentinels that name another primary, slots that move to another node, nodes that are away, and TLS."""

from __future__ import annotations

import contextlib
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import redis
from redis.crc import key_slot

from tests.servers.certificates import Authority
from tests.servers.fixtures import started
from tests.servers.redis import RedisServer
from userservice_core.domain.rate_limits import Limit
from userservice_core.errors import UnavailableError
from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.caching.redis_client import connect
from userservice_core.infrastructure.caching.redis_limits import RedisRateLimiter
from userservice_core.infrastructure.caching.redis_positions import RedisPositions
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.ports.cache import Codec, Namespace, Versioned
from userservice_core.ports.consistency import Position
from userservice_core.ports.limits import Counter
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.samples import sample_event_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.redis import ClusterRedis, SentinelRedis

_PATIENCE: Final = 5.0


def _names() -> Namespace[str]:
    """Return a namespace that nobody has used."""
    return Namespace(name=f"n-{sample_event_id()}", ttl_seconds=100, codec=Codec(str.encode, bytes.decode))


class _Source:
    def __init__(self) -> None:
        self.loads = 0

    def __call__(self) -> Versioned[str]:
        self.loads += 1
        return Versioned(1, "value")


class _Processes:
    """Two processes that share: each has a memory of its own."""

    def __init__(self, url: str) -> None:
        self.names = _names()
        self.caches = [
            DogpileCache(max_entries=1_000, redis_url=url, metrics=InMemoryMetrics(), timeout_seconds=_PATIENCE)
            for _ in range(2)
        ]

    def read(self, key: str) -> int:
        """Have both read a key, and return how often it was loaded; an answer that is wrong fails the test."""
        source = _Source()
        assert [cache.get(self.names, key, source) for cache in self.caches] == ["value"] * 2
        return source.loads

    def share_again(self) -> bool:
        """Whether a key that nobody has read is loaded once for both; a breaker may have to rest before."""
        keys = itertools.count()
        return eventually(lambda: self.read(f"again {next(keys)}") == 1)

    def slot_of(self, key: str) -> int:
        return key_slot(f"userservice:cache:{{{self.names.name}:{key}}}".encode())

    def close(self) -> None:
        for cache in self.caches:
            cache.close()


@pytest.fixture
def processes() -> Iterator[Callable[[str], _Processes]]:
    """Start two that share what is at a URL."""
    with contextlib.ExitStack() as ended:

        def start(url: str) -> _Processes:
            each = _Processes(url)
            ended.callback(each.close)
            return each

        yield start


def _counter(times: int) -> Counter:
    return Counter(f"tests:{sample_event_id().hex}", Limit(times, 600))


# --- Sentinels --------------------------------------------------------------------------------------------------------


@pytest.mark.exclusive
def test_when_sentinels_name_another_primary_no_answer_changes(
    redis_sentinel: SentinelRedis, processes: Callable[[str], _Processes]
) -> None:
    """The primary is killed: until there is another one each process loads by itself, then they share again."""
    both = processes(redis_sentinel.url())
    counter = _counter(3)
    with contextlib.closing(RedisRateLimiter(redis_sentinel.url(), timeout_seconds=_PATIENCE)) as limiter:
        assert both.read("before") == 1
        before = redis_sentinel.primary()
        before.kill9()

        def is_promoted() -> bool:
            keys = itertools.count()
            both.read(f"during {next(keys)}")
            return redis_sentinel.primary() is not before

        assert eventually(is_promoted)
        assert both.share_again()
        assert eventually(lambda: _is_counted(limiter, counter))
        assert [limiter.hit([counter]) == 0.0 for _ in range(4)].count(True) == 2
        assert both.read("before") == 0
        redis_sentinel.start()

        assert both.share_again()


def _is_counted(limiter: RedisRateLimiter, counter: Counter) -> bool:
    try:
        return limiter.hit([counter]) == 0.0
    except UnavailableError:
        return False


def test_a_server_that_is_a_replica_by_now_is_none(redis_sentinel: SentinelRedis) -> None:
    """An address that leads to what was the primary before is no place to count; the next connection may lead on."""
    primary = redis_sentinel.primary()
    replica = next(server for server in redis_sentinel.data if server is not primary)
    with (
        contextlib.closing(RedisRateLimiter(replica.url(), timeout_seconds=_PATIENCE)) as limiter,
        pytest.raises(UnavailableError),
    ):
        limiter.hit([_counter(1)])


@pytest.mark.exclusive
def test_with_one_sentinel_left_the_primary_is_found(
    redis_sentinel: SentinelRedis, processes: Callable[[str], _Processes]
) -> None:
    """Each is asked in turn."""
    for sentinel in redis_sentinel.sentinels[:2]:
        sentinel.kill9()
    try:
        assert processes(redis_sentinel.url()).read("k") == 1
    finally:
        redis_sentinel.start()


# --- Cluster ----------------------------------------------------------------------------------------------------------


def test_the_keys_of_a_cluster_are_spread(redis_cluster: ClusterRedis, processes: Callable[[str], _Processes]) -> None:
    """Values and counters are at all nodes, and each is found again."""
    both = processes(redis_cluster.url())
    redis_cluster.flush()
    assert [both.read(str(number)) for number in range(30)] == [1] * 30
    values = redis_cluster.sizes()
    redis_cluster.flush()
    with contextlib.closing(RedisRateLimiter(redis_cluster.url(), timeout_seconds=_PATIENCE)) as limiter:
        counters = [_counter(1) for _ in range(30)]
        assert limiter.hit(counters) == 0.0
        assert all(limiter.hit([counter]) > 0 for counter in counters)
        limiter.take_back(counters[:10])
        assert [limiter.hit([counter]) == 0.0 for counter in counters] == [True] * 10 + [False] * 20

    assert min(values) > 0
    assert sum(values) == 30
    assert min(redis_cluster.sizes()) > 0


def test_a_slot_that_moves_takes_its_keys_along(
    redis_cluster: ClusterRedis, processes: Callable[[str], _Processes]
) -> None:
    """Whoever asks the node of before is sent on: nothing is loaded again, and every count goes on."""
    both = processes(redis_cluster.url())
    counter = _counter(3)
    with (
        contextlib.closing(RedisRateLimiter(redis_cluster.url(), timeout_seconds=_PATIENCE)) as limiter,
        contextlib.closing(
            RedisPositions(redis_cluster.url(), life_seconds=60, metrics=InMemoryMetrics(), timeout_seconds=_PATIENCE)
        ) as positions,
    ):
        source = _Source()
        both.caches[0].get(both.names, "k", source)
        both.caches[1].get(both.names, "another", _Source())
        writer = str(sample_event_id())
        positions.remember(writer, Position(1, 2, 3))
        assert limiter.hit([counter]) == 0.0
        for slot in (
            both.slot_of("k"),
            key_slot(f"userservice:limit:{counter.key}".encode()),
            key_slot(f"userservice:position:{writer}".encode()),
        ):
            owner = redis_cluster.owner_of(slot)
            redis_cluster.move(slot, to=next(node for node in redis_cluster.servers if node is not owner))

        assert both.caches[1].get(both.names, "k", source) == "value"
        assert source.loads == 1
        assert [limiter.hit([counter]) == 0.0 for _ in range(3)] == [True, True, False]
        assert positions.recall(writer) == Position(1, 2, 3)


def test_while_a_slot_moves_each_key_is_where_it_is(
    redis_cluster: ClusterRedis, processes: Callable[[str], _Processes]
) -> None:
    """One that has moved, or is new, is served there, the others here."""
    both = processes(redis_cluster.url())
    counter = _counter(2)
    slot = key_slot(f"userservice:limit:{counter.key}".encode())
    owner = redis_cluster.owner_of(slot)
    other = next(node for node in redis_cluster.servers if node is not owner)
    with contextlib.closing(RedisRateLimiter(redis_cluster.url(), timeout_seconds=_PATIENCE)) as limiter:
        redis_cluster.begin_to_move(slot, to=other)
        before = [limiter.hit([counter]) == 0.0 for _ in range(3)]
        with owner.client() as client:
            left_behind = client.execute_command("CLUSTER COUNTKEYSINSLOT", slot)
        redis_cluster.move(slot, to=other)

        assert before == [True, True, False]
        assert left_behind == 0
        assert limiter.hit([counter]) > 0
    assert both.read("k") == 1


@pytest.mark.exclusive
def test_a_node_that_is_away_costs_its_own_keys_only(
    redis_cluster: ClusterRedis, processes: Callable[[str], _Processes]
) -> None:
    """Where the cluster does without; where it does not, all of them; in either case every answer is right."""
    both = processes(redis_cluster.url())
    assert both.read("warm") == 1
    lost = redis_cluster.servers[2]
    slots = {str(number): both.slot_of(str(number)) for number in range(60)}
    at_lost = {key for key, slot in slots.items() if redis_cluster.owner_of(slot) is lost}
    redis_cluster.configure("cluster-require-full-coverage", "no")
    try:
        lost.kill9()
        loads = {key: both.read(key) for key in slots}
        redis_cluster.configure("cluster-require-full-coverage", "yes")
        assert eventually(lambda: redis_cluster.state() == "fail")
        of_none = {both.read(f"none {number}") for number in range(20)}
        with (
            contextlib.closing(RedisRateLimiter(redis_cluster.url(), timeout_seconds=_PATIENCE)) as limiter,
            pytest.raises(UnavailableError),
        ):
            limiter.hit([_counter(1) for _ in range(10)])
    finally:
        redis_cluster.start()

    assert at_lost
    assert {key for key, times in loads.items() if times != 1} == at_lost
    assert of_none == {2}
    assert both.share_again()
    assert {both.read(f"back {number}") for number in range(20)} == {1}


# --- TLS and passwords ------------------------------------------------------------------------------------------------


def _rights() -> list[str]:
    """Return what the documentation says that a user needs."""
    text = Path("docs/how-to/use-redis.md").read_text()
    (rights,) = re.findall(r"^user userservice on >password (.*)$", text, re.MULTILINE)
    return str(rights).split()


def test_over_tls_the_certificate_is_verified(tmp_path: Path, processes: Callable[[str], _Processes]) -> None:
    """By the authority that the address names; with a password, which may hold any sign."""
    certificate = Authority.create(tmp_path).issue("redis", host="127.0.0.1")
    Authority.create(tmp_path, name="other")
    port = RedisServer(tmp_path / "server").reserve_port("tls")
    options = (
        *("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)),
        *("--tls-ca-cert-file", str(tmp_path / "ca.pem"), "--tls-auth-clients", "no"),
        *("--user", "cache", "on", ">p@ss:w/rd", *_rights()),
    )
    server = RedisServer(tmp_path / "server", options=options)
    started(server.start)
    try:
        address = f"rediss://cache:p%40ss%3Aw%2Frd@127.0.0.1:{port}/0"
        assert processes(f"{address}?ssl_ca_certs={tmp_path}/ca.pem").read("k") == 1
        url = f"{address}?ssl_ca_certs={tmp_path}/ca.pem"
        with (
            contextlib.closing(RedisRateLimiter(url, timeout_seconds=_PATIENCE)) as limiter,
            contextlib.closing(
                RedisPositions(url, life_seconds=60, metrics=InMemoryMetrics(), timeout_seconds=_PATIENCE)
            ) as positions,
        ):
            counter = _counter(1)
            assert [limiter.hit([counter]) == 0.0 for _ in range(2)] == [True, False]
            limiter.take_back([counter])
            assert limiter.hit([counter]) == 0.0
            positions.remember("somebody", Position(1, 2, 3))
            assert positions.recall("somebody") == Position(1, 2, 3)
        for url in (address, f"{address}?ssl_ca_certs={tmp_path}/other.pem", address.replace("127.0.0.1", "localhost")):
            stranger = connect(url, timeout_seconds=_PATIENCE)
            with contextlib.closing(stranger), pytest.raises(redis.ConnectionError, match=r"(?i)certificate"):
                stranger.ping()
        wrong = connect(f"{address.replace('p%40ss', 'other')}?ssl_ca_certs={tmp_path}/ca.pem", timeout_seconds=5)
        with contextlib.closing(wrong), pytest.raises(redis.AuthenticationError):
            wrong.ping()
    finally:
        server.stop()
