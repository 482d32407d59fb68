"""The tables of the world keep to their ports."""

from __future__ import annotations

import pytest

from userservice_core.infrastructure.places.time_zones import TzdataTimeZones
from userservice_core.testing.contracts.places import TimeZonesContract


class TestTimeZones(TimeZonesContract):
    """Those of the package `tzdata`."""

    @pytest.fixture
    def time_zones(self) -> TzdataTimeZones:
        """There is one."""
        return TzdataTimeZones()
