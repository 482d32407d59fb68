"""
What keeps an outdated value out of a cache: which versions of which keys may be kept.

A load takes time. If an invalidation arrives while it is under way, the load may have read what the invalidation is
about, so its result must not be kept. Three rules see to that, and each does for a case the others do not cover:

* a load remembers the *generation* of its namespace when it begins, and any invalidation makes a new one;
* an invalidation leaves a *tombstone* with the least version its key may have, which also refuses values of a shared
  cache that the invalidation has not reached;
* tombstones are bounded; dropping one early raises the *floor* of the whole namespace to its version.

Nothing older than the longest life of a value can be around, so tombstones and floors end after that.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

MAX_TOMBSTONES: Final = 10_000


@attrs.frozen
class _Bound:
    """The least version that may be kept, and until when (monotonic) that has to be remembered."""

    version: int
    until: float


_UNBOUNDED: Final = _Bound(version=-1, until=float("inf"))


class NamespaceFence:
    """
    The fence of one namespace. Not safe for many threads: whoever keeps the values holds one lock over both.

    Args:
        longest_life_seconds: Of a value of this namespace, in whichever cache.
    """

    def __init__(self, *, longest_life_seconds: float, max_tombstones: int = MAX_TOMBSTONES) -> None:
        self.generation = 0
        self._longest_life_seconds = longest_life_seconds
        self._max_tombstones = max_tombstones
        self._tombstones: OrderedDict[str, _Bound] = OrderedDict()
        self._floor = _UNBOUNDED
        self._distrusts_shared_until = float("-inf")

    def admits(self, key: str, version: int, *, now: float) -> bool:
        """Tell whether a value of *version* may be kept and served."""
        return all(version >= bound.version for bound in self._bounds(key) if now < bound.until)

    def trusts_shared(self, *, now: float) -> bool:
        """Tell whether values that other processes have stored may be used."""
        return now >= self._distrusts_shared_until

    def invalidate(self, key: str, version: int, *, now: float) -> bool:
        """
        Refuse values of *key* below *version*.

        Returns:
            False where that was refused already, so that an invalidation heard again costs no load under way.
        """
        before = self._tombstones.get(key)
        if before is not None and before.version >= version and now < before.until:
            return False
        self.generation += 1
        self._tombstones[key] = _Bound(version, now + self._longest_life_seconds)
        self._tombstones.move_to_end(key)
        while len(self._tombstones) > self._max_tombstones:
            _, dropped = self._tombstones.popitem(last=False)
            self._raise_floor(dropped, now=now)
        return True

    def forget_all(self, *, now: float) -> None:
        """Stop every load under way from being kept, and use nothing that was shared until now."""
        self.generation += 1
        self._distrusts_shared_until = now + self._longest_life_seconds

    def _bounds(self, key: str) -> tuple[_Bound, ...]:
        tombstone = self._tombstones.get(key)
        return (self._floor,) if tombstone is None else (self._floor, tombstone)

    def _raise_floor(self, dropped: _Bound, *, now: float) -> None:
        if now >= dropped.until:
            return
        if now >= self._floor.until or self._floor is _UNBOUNDED:
            self._floor = dropped
        else:
            version = max(self._floor.version, dropped.version)
            self._floor = _Bound(version, max(self._floor.until, dropped.until))
