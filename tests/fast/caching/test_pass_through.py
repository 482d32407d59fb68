"""No cache answers as a cache would that never holds anything."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from userservice_core.application.access import ROLE_MAP
from userservice_core.domain.roles import RoleMap
from userservice_core.infrastructure.caching.pass_through import PassThroughCache
from userservice_core.ports.cache import Versioned

if TYPE_CHECKING:
    from userservice_core.ports.cache import Cache


def test_each_answer_is_a_load() -> None:
    """Whatever happened before, and nothing is held in between."""
    cache: Cache = PassThroughCache()
    epochs = itertools.count(1)

    def load() -> Versioned[RoleMap]:
        epoch = next(epochs)
        return Versioned(epoch, RoleMap(epoch, {}))

    loaded = [cache.get(ROLE_MAP, "", load).epoch for _ in range(2)]
    cache.invalidate(ROLE_MAP, "", 9)
    cache.clear()

    assert loaded == [1, 2]
    assert cache.peek(ROLE_MAP, "") is None
