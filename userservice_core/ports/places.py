"""What the world agrees on: time zones, countries, and how addresses are written in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from userservice_core.domain.addresses import AddressFormat


class TimeZones(Protocol):
    """The database of time zones. Safe to use from many threads."""

    def names(self) -> Collection[str]:
        """Return every name of a zone in the IANA database, old names included; membership is told at once."""
        ...


class AddressFormats(Protocol):
    """How addresses are written in each country. Safe to use from many threads."""

    def find(self, country_code: str) -> AddressFormat | None:
        """Return the format of a country of ISO 3166-1 by its alpha-2 code in capitals; None if there is none."""
        ...
