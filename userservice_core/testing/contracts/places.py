"""What :mod:`userservice_core.ports.places` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from userservice_core.ports.places import AddressFormats, TimeZones


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


class AddressFormatsContract:
    """For :class:`~userservice_core.ports.places.AddressFormats`."""

    @pytest.fixture
    def formats(self) -> AddressFormats:
        """Any implementation."""
        raise NotImplementedError("override this fixture")

    @pytest.mark.parametrize("code", ["US", "DE", "CN", "AX", "AQ", "SY"])
    def test_countries_of_the_standard_have_a_format(self, formats: AddressFormats, code: str) -> None:
        """Territories and contested ones too."""
        assert formats.find(code) is not None

    @pytest.mark.parametrize("code", ["", "us", "USA", "840", "XX", "ZZ", "EU", "UK", "U", "../"])
    def test_nothing_else_is_a_country(self, formats: AddressFormats, code: str) -> None:
        """Neither other codes of one, nor codes that are reserved for something else."""
        assert formats.find(code) is None

    def test_a_format_says_what_the_country_asks_for(self, formats: AddressFormats) -> None:
        """States under their names and codes, and what postal codes look like."""
        america, britain, hong_kong = (formats.find(code) for code in ("US", "GB", "HK"))

        assert america is not None
        assert (america.needs_state, america.needs_postal_code) == (True, True)
        assert {"ca", "us-ca", "california"} <= america.states
        assert britain is not None
        assert (britain.needs_state, britain.needs_postal_code, britain.states) == (False, True, frozenset())
        assert hong_kong is not None
        assert (hong_kong.needs_postal_code, hong_kong.postal_code_pattern) == (False, None)
