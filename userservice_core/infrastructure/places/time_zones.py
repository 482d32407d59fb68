"""The time zone database as the package `tzdata` has it, so that machines with other files know the same names."""

from __future__ import annotations

import functools
import importlib.resources


class TzdataTimeZones:
    """A :class:`~userservice_core.ports.places.TimeZones`."""

    def names(self) -> frozenset[str]:
        return _names()


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(importlib.resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())
