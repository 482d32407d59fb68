"""The fence: whatever the order of loads and invalidations, nothing outdated stays in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from dogpile.cache.api import CachedValue

from tests.interleavings import merges
from userservice_core.infrastructure.caching.fence import NamespaceFence
from userservice_core.infrastructure.caching.lru_backend import Entry, LruBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMESPACE = "n"
KEY = "k"
LIFE = 100.0


@attrs.define
class _World:
    """A primary, a replica that lags behind it, a cache, and what was invalidated so far."""

    cache: LruBackend = attrs.field(factory=lambda: LruBackend({"max_entries": 10, "monotonic": lambda: 0.0}))
    primary: int = 1
    replica: int = 1
    invalidated: int = 0

    def __attrs_post_init__(self) -> None:
        self.cache.require_namespace(NAMESPACE, longest_life_seconds=LIFE)

    def loader(self, source: str) -> Iterator[None]:
        generation = self.cache.generation_of(NAMESPACE)
        yield
        version: int = getattr(self, source)
        yield
        entry = Entry(NAMESPACE, KEY, generation, version, LIFE, f"value {version}")
        self.cache.set(LruBackend.key_of(NAMESPACE, KEY), CachedValue(entry, {}))
        yield

    def writer(self) -> Iterator[None]:
        for version in (2, 3):
            self.primary = version
            yield
            self.cache.invalidate(NAMESPACE, KEY, version)
            self.invalidated = version
            yield

    def replication(self) -> Iterator[None]:
        for version in (2, 3):
            self.replica = min(version, self.primary)
            yield

    def clearing(self) -> Iterator[None]:
        """The network was cut for so long that nobody knows what was invalidated."""
        self.cache.forget_all()
        self.invalidated = self.primary
        yield

    def eviction(self) -> Iterator[None]:
        """Others are used and invalidated more lately, so that the value has to go, and then its tombstone."""
        for number in range(10):
            self.other_entry(f"other {number}")
        yield
        self.cache.invalidate(NAMESPACE, "other", 1)
        yield

    def other_entry(self, key: str) -> None:
        entry = Entry(NAMESPACE, key, self.cache.generation_of(NAMESPACE), 9, LIFE, "other")
        self.cache.set(LruBackend.key_of(NAMESPACE, key), CachedValue(entry, {}))

    def cached_version(self) -> int | None:
        found = self.cache.get(LruBackend.key_of(NAMESPACE, KEY))
        return found.payload.version if isinstance(found, CachedValue) else None


def _assert_never_stale(actors_of: Callable[[_World], list[Iterator[None]]], lengths: tuple[int, ...]) -> int:
    """Step through all merges; at no point does the cache hold what was invalidated before."""
    orders = tuple(merges(*lengths))
    for merge in orders:
        world = _World()
        actors = actors_of(world)
        for number in merge:
            next(actors[number])
            cached = world.cached_version()
            assert cached is None or cached >= world.invalidated, merge
    return len(orders)


def test_no_order_of_two_loads_and_two_invalidations_leaves_a_stale_value() -> None:
    """All 4,200 of them, reading from the primary."""
    orders = _assert_never_stale(
        lambda world: [world.loader("primary"), world.loader("primary"), world.writer()], (3, 3, 4)
    )

    assert orders == 4_200


def test_a_replica_that_lags_leaves_no_stale_value() -> None:
    """A load that begins after the invalidation may read from before it."""
    orders = _assert_never_stale(
        lambda world: [world.loader("replica"), world.writer(), world.replication()], (3, 4, 2)
    )

    assert orders == 1_260


def test_what_is_evicted_does_not_come_back_outdated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is room for one tombstone, so that the one of the key goes with the next."""
    monkeypatch.setattr(NamespaceFence.__init__, "__kwdefaults__", {"max_tombstones": 1})

    orders = _assert_never_stale(
        lambda world: [world.loader("replica"), world.writer(), world.eviction(), world.replication()], (3, 4, 2, 1)
    )

    assert orders == 12_600


def test_a_load_under_way_does_not_outlive_the_clearing() -> None:
    """Nothing read before the gap was noticed is kept after it."""
    orders = _assert_never_stale(
        lambda world: [world.loader("primary"), world.loader("primary"), world.clearing(), world.writer()],
        (3, 3, 1, 2),
    )

    assert orders == 5_040


def test_the_enumeration_would_find_a_fence_that_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the fence the same merges do leave stale values, so the tests above test something."""
    monkeypatch.setattr(NamespaceFence, "admits", lambda *_, **__: True)
    monkeypatch.setattr(LruBackend, "generation_of", lambda *_: -1)
    monkeypatch.setattr(NamespaceFence, "generation", property(lambda _: -1, lambda *_: None), raising=False)

    with pytest.raises(AssertionError):
        _assert_never_stale(lambda world: [world.loader("primary"), world.loader("primary"), world.writer()], (3, 3, 4))


# --- the rules one by one ---------------------------------------------------------------------------------------------


def test_an_invalidation_refuses_older_versions_of_its_key_only() -> None:
    """The version itself and newer ones pass, and other keys are not concerned."""
    fence = NamespaceFence(longest_life_seconds=LIFE)
    fence.invalidate("a", 5, now=0)

    assert [fence.admits("a", version, now=1) for version in (4, 5, 6)] == [False, True, True]
    assert fence.admits("b", 0, now=1)


def test_an_invalidation_heard_again_disturbs_nobody() -> None:
    """Overlapping reads of the log repeat it; a load under way is not lost to that."""
    fence = NamespaceFence(longest_life_seconds=LIFE)

    assert fence.invalidate("a", 5, now=0)
    generation = fence.generation
    assert not fence.invalidate("a", 5, now=1)
    assert not fence.invalidate("a", 4, now=1)
    assert fence.generation == generation
    assert fence.invalidate("a", 6, now=1)
    assert fence.generation != generation


def test_a_tombstone_that_has_to_go_leaves_the_floor() -> None:
    """Past the bound the whole namespace refuses what the dropped tombstone refused; too much, never too little."""
    fence = NamespaceFence(longest_life_seconds=LIFE, max_tombstones=2)
    for number, key in enumerate("abc"):
        fence.invalidate(key, 10 + number, now=number)

    assert [fence.admits("a", version, now=3) for version in (9, 10)] == [False, True]
    assert [fence.admits("unrelated", version, now=3) for version in (9, 10)] == [False, True]


def test_floor_and_tombstones_end_with_the_longest_life_of_a_value() -> None:
    """Nothing older can be around then, and nobody is kept from caching for good."""
    fence = NamespaceFence(longest_life_seconds=LIFE, max_tombstones=1)
    fence.invalidate("a", 10, now=0)
    fence.invalidate("b", 20, now=50)

    assert not fence.admits("a", 9, now=99)
    assert fence.admits("a", 9, now=100)
    assert not fence.admits("b", 19, now=149)
    assert fence.admits("b", 19, now=150)


def test_a_floor_keeps_the_strictest_of_what_was_dropped() -> None:
    """Also where a lower version is dropped later."""
    fence = NamespaceFence(longest_life_seconds=LIFE, max_tombstones=1)
    fence.invalidate("a", 30, now=0)
    fence.invalidate("b", 10, now=10)
    fence.invalidate("c", 5, now=20)

    assert not fence.admits("d", 29, now=105)
    assert fence.admits("d", 29, now=110)


def test_what_others_stored_is_not_used_after_a_clearing() -> None:
    """The shared cache may hold what the unknown invalidations were about, for as long as a value lives."""
    fence = NamespaceFence(longest_life_seconds=LIFE)
    fence.forget_all(now=0)

    assert not fence.trusts_shared(now=99)
    assert fence.trusts_shared(now=100)
