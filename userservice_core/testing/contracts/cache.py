"""What :mod:`userservice_core.ports.cache` promises."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs
import pytest

from userservice_core.ports.cache import Codec, Namespace, Versioned
from userservice_core.ports.context import BeyondMemoryError, CallContext, call_context
from userservice_core.testing.contracts.races import PATIENCE_SECONDS, eventually, race
from userservice_core.testing.samples import sample_event_id

if TYPE_CHECKING:
    from userservice_core.ports.cache import Cache


def _namespace(*, ttl_seconds: float = 60.0) -> Namespace[str]:
    """Return a namespace that no other test has used."""
    return Namespace(name=f"n-{sample_event_id()}", ttl_seconds=ttl_seconds, codec=Codec(str.encode, bytes.decode))


@attrs.define
class _Source:
    """What is cached, and how often it was asked for."""

    value: str = "value"
    version: int = 1
    loads: int = 0

    def load(self) -> Versioned[str]:
        self.loads += 1
        return Versioned(self.version, self.value)


@attrs.define
class _SlowSource:
    """One whose load waits in its midst until the test lets it go on."""

    value: str = "value"
    version: int = 1
    loads: int = 0
    began: threading.Event = attrs.field(factory=threading.Event)
    go_on: threading.Event = attrs.field(factory=threading.Event)

    def load(self) -> Versioned[str]:
        self.loads += 1
        read = Versioned(self.version, self.value)
        self.began.set()
        assert self.go_on.wait(PATIENCE_SECONDS)
        return read


class CacheContract:
    """For :class:`~userservice_core.ports.cache.Cache`."""

    @pytest.fixture
    def cache(self) -> Cache:
        """One with room for a hundred values."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def names(self) -> Namespace[str]:
        """A namespace that nobody has used."""
        return _namespace()

    def test_a_value_is_loaded_once(self, cache: Cache, names: Namespace[str]) -> None:
        """Then it comes from the cache."""
        source = _Source()

        assert [cache.get(names, "k", source.load) for _ in range(3)] == ["value"] * 3
        assert source.loads == 1

    def test_a_call_that_may_not_wait_gets_what_is_there(self, cache: Cache, names: Namespace[str]) -> None:
        """And loads nothing."""
        source = _Source()
        with call_context(CallContext(may_wait=False)), pytest.raises(BeyondMemoryError):
            cache.get(names, "k", source.load)
        assert source.loads == 0
        cache.get(names, "k", source.load)

        with call_context(CallContext(may_wait=False)):
            assert cache.get(names, "k", source.load) == "value"

    def test_namespaces_and_keys_are_apart(self, cache: Cache, names: Namespace[str]) -> None:
        """Each value is its own."""
        other = _namespace()

        for namespace, key, value in ((names, "k", "a"), (names, "K", "b"), (names, "", "c"), (other, "k", "d")):
            assert cache.get(namespace, key, _Source(value).load) == value

    def test_what_a_load_raises_is_told_and_not_kept(self, cache: Cache, names: Namespace[str]) -> None:
        """The next one loads again."""

        def fail() -> Versioned[str]:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            cache.get(names, "k", fail)
        assert cache.peek(names, "k") is None
        assert cache.get(names, "k", _Source().load) == "value"

    def test_a_peek_looks_into_memory_alone(self, cache: Cache, names: Namespace[str]) -> None:
        """And returns at once while another thread loads."""
        slow = _SlowSource()
        with ThreadPoolExecutor(1) as threads:
            loading = threads.submit(cache.get, names, "k", slow.load)
            assert slow.began.wait(PATIENCE_SECONDS)

            assert cache.peek(names, "k") is None

            slow.go_on.set()
            loading.result(PATIENCE_SECONDS)
        assert cache.peek(names, "k") == "value"

    def test_no_value_is_served_past_its_time(self, cache: Cache) -> None:
        """However often it is read."""
        names, source = _namespace(ttl_seconds=0.2), _Source()
        before = time.monotonic()
        cache.get(names, "k", source.load)
        after = time.monotonic()

        def has_ended() -> bool:
            asked_at = time.monotonic()
            if cache.peek(names, "k") is None:
                return True
            assert asked_at <= after + 0.2
            return False

        eventually(has_ended)
        assert time.monotonic() >= before + 0.9 * 0.2
        source.value = "new"
        assert eventually(lambda: cache.get(names, "k", source.load) == "new")

    def test_an_invalidation_refuses_what_is_older(self, cache: Cache, names: Namespace[str]) -> None:
        """A value of the version named or a later one stays."""
        source = _Source("old", version=5)
        cache.get(names, "k", source.load)

        cache.invalidate(names, "k", 5)
        assert cache.peek(names, "k") == "old"
        cache.invalidate(names, "k", 6)
        assert cache.peek(names, "k") is None

        source.value, source.version = "new", 6
        assert cache.get(names, "k", source.load) == "new"
        assert cache.get(names, "k", source.load) == "new"
        assert source.loads == 2

    def test_an_invalidation_concerns_its_key(self, cache: Cache, names: Namespace[str]) -> None:
        """Others stay."""
        other = _namespace()
        for namespace, key in ((names, "k"), (names, "other"), (other, "k")):
            cache.get(namespace, key, _Source().load)

        cache.invalidate(names, "k", 2)

        assert cache.peek(names, "k") is None
        assert cache.peek(names, "other") == "value"
        assert cache.peek(other, "k") == "value"

    def test_an_invalidation_comes_before_its_value(self, cache: Cache, names: Namespace[str]) -> None:
        """What is loaded later with a lower version, from data that lags, is not kept."""
        cache.invalidate(names, "k", 3)
        cache.get(names, "k", _Source("old", version=2).load)

        assert cache.peek(names, "k") is None
        assert cache.get(names, "k", _Source("new", version=3).load) == "new"
        assert cache.peek(names, "k") == "new"

    def test_invalidations_may_come_in_any_order(self, cache: Cache, names: Namespace[str]) -> None:
        """The highest one stands."""
        cache.invalidate(names, "k", 9)
        cache.invalidate(names, "k", 3)

        cache.get(names, "k", _Source("old", version=8).load)

        assert cache.peek(names, "k") is None

    @pytest.mark.parametrize("how", ["invalidate", "clear"])
    def test_a_load_that_was_overtaken_is_not_kept(self, cache: Cache, names: Namespace[str], how: str) -> None:
        """It began before and ended after: whoever asks next loads anew."""
        slow = _SlowSource("old", version=1)
        with ThreadPoolExecutor(1) as threads:
            loading = threads.submit(cache.get, names, "k", slow.load)
            assert slow.began.wait(PATIENCE_SECONDS)
            if how == "invalidate":
                cache.invalidate(names, "k", 2)
            else:
                cache.clear()
            slow.go_on.set()
            loading.result(PATIENCE_SECONDS)

        assert cache.peek(names, "k") is None

    def test_clearing_forgets_everything(self, cache: Cache, names: Namespace[str]) -> None:
        """In this process's memory; what was invalidated stays refused."""
        cache.get(names, "a", _Source().load)
        cache.invalidate(names, "b", 5)

        cache.clear()

        assert cache.peek(names, "a") is None
        cache.get(names, "b", _Source("old", version=4).load)
        assert cache.peek(names, "b") is None

    def test_concurrent_misses_share_one_load(self, cache: Cache, names: Namespace[str]) -> None:
        """All get what it returned."""
        slow = _SlowSource()
        with ThreadPoolExecutor(6) as threads:
            asked = [threads.submit(cache.get, names, "k", slow.load) for _ in range(6)]
            assert slow.began.wait(PATIENCE_SECONDS)
            slow.go_on.set()

            assert [each.result(PATIENCE_SECONDS) for each in asked] == ["value"] * 6
        assert slow.loads == 1

    def test_keys_do_not_wait_for_each_other(self, cache: Cache, names: Namespace[str]) -> None:
        """A slow load delays its own key only."""
        slow = _SlowSource()
        with ThreadPoolExecutor(1) as threads:
            loading = threads.submit(cache.get, names, "slow", slow.load)
            assert slow.began.wait(PATIENCE_SECONDS)

            assert cache.get(names, "quick", _Source().load) == "value"

            slow.go_on.set()
            loading.result(PATIENCE_SECONDS)

    def test_no_outdated_value_is_served_under_load(self, cache: Cache, names: Namespace[str]) -> None:
        """Whatever the order of loads and invalidations: after one, nobody gets less than it says."""
        version = version_known = 1

        def load() -> Versioned[str]:
            read = version
            time.sleep(0.001)
            return Versioned(read, str(read))

        done = threading.Event()

        def read_on() -> None:
            while not done.is_set():
                least = version_known
                found = cache.get(names, "k", load)
                assert int(found) >= least

        def change() -> None:
            nonlocal version, version_known
            try:
                for _ in range(30):
                    version += 1
                    cache.invalidate(names, "k", version)
                    version_known = version
                    time.sleep(0.002)
            finally:
                done.set()

        assert race([change, read_on, read_on, read_on]) == [None] * 4
