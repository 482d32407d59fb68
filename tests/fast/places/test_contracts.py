"""The tables of the world keep to their ports."""

from __future__ import annotations

import pytest

from userservice_core.infrastructure.places.address_formats import I18nAddressFormats
from userservice_core.infrastructure.places.time_zones import TzdataTimeZones
from userservice_core.testing.contracts.places import AddressFormatsContract, TimeZonesContract


class TestTimeZones(TimeZonesContract):
    """Those of the package `tzdata`."""

    @pytest.fixture
    def time_zones(self) -> TzdataTimeZones:
        """There is one."""
        return TzdataTimeZones()


class TestAddressFormats(AddressFormatsContract):
    """Those of ISO 3166 and Google."""

    @pytest.fixture
    def formats(self) -> I18nAddressFormats:
        """There is one."""
        return I18nAddressFormats()
