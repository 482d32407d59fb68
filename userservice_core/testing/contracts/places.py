"""What :mod:`userservice_core.ports.places` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from userservice_core.ports.places import TimeZones


class TimeZonesContract:
    """For :class:`~userservice_core.ports.places.TimeZones`."""

    @pytest.fixture
    def time_zones(self) -> TimeZones:
        """Any implementation."""
        raise NotImplementedError("override this fixture")

    @pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Asia/Calcutta"])
    def test_zones_of_the_database_are_known(self, time_zones: TimeZones, name: str) -> None:
        """Old names too, which devices still send."""
        assert name in time_zones.names()

    @pytest.mark.parametrize(
        "name", ["", "Berlin", "europe/berlin", "Europe/Berlin ", "../UTC", "posixrules", "localtime", "+02:00"]
    )
    def test_nothing_else_is_a_zone(self, time_zones: TimeZones, name: str) -> None:
        """Neither names in another case, nor files of the database that are no zones, nor offsets."""
        assert name not in time_zones.names()
