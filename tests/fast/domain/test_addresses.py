"""What an address may say, and how defaults move."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import attrs
import pytest

from userservice_core.domain.address_kinds import DefaultKind
from userservice_core.domain.addresses import Address, chosen_kinds, displaced_by, find_default
from userservice_core.domain.ids import AddressId, UserId
from userservice_core.errors import InvalidInputError
from userservice_core.infrastructure.places.address_formats import I18nAddressFormats

_BERLIN: Final = Address(
    id=AddressId(UUID(int=1)),
    user_id=UserId(UUID(int=2)),
    address_line1="Unter den Linden 77",
    city="Berlin",
    postal_code="10117",
    country_code="DE",
)
_FORMATS: Final = I18nAddressFormats()


def _faults(**values: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - each member has its type
    address = attrs.evolve(_BERLIN, **values)
    return [(str(fault.field[0]), fault.code) for fault in address.faults(_FORMATS.find(address.country_code))]


def _in(country_code: str, state: str | None, postal_code: str | None) -> dict[str, Any]:
    return {"country_code": country_code, "state_or_province": state, "postal_code": postal_code}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"address_line1": "x" * 255, "address_line2": "x" * 255, "city": "x" * 100},
        {"contact_name": "x" * 200, "company_name": "x" * 150, "additional_notes": "\n" * 499 + "x"},
        {"contact_phone": "030 2093-0"},
        {"contact_phone": "+1 (514) 872-0311 ext. 7"},
        _in("DE", "Berlin, or what people call it", "10117"),
        _in("US", "CA", "94105"),
        _in("US", "california", "94105-1234"),
        _in("US", "US-CA", "94105"),
        _in("CA", "Québec", "h2y 1a1"),
        _in("MX", "JAL", "44100"),
        _in("JP", "東京都", "100-0001"),
        _in("JP", "Tokyo", "1000001"),
        _in("GB", None, "SW1A 1AA"),
        _in("IE", None, None),
        _in("HK", "Kowloon", None),
        _in("SY", None, None),
    ],
    ids=str,
)
def test_what_keeps_to_the_rules_is_taken(values: dict[str, Any]) -> None:
    """Up to each limit, and as people of each country write it."""
    assert _faults(**values) == []


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"address_line1": "x" * 256}, ("addressLine1", "too-long")),
        ({"address_line1": " "}, ("addressLine1", "blank")),
        ({"address_line2": "a\nb"}, ("addressLine2", "invalid-character")),
        ({"city": "x" * 101}, ("city", "too-long")),
        ({"state_or_province": "x" * 101}, ("stateOrProvince", "too-long")),
        ({"postal_code": "1" * 21}, ("postalCode", "too-long")),
        ({"contact_name": "x" * 201}, ("contactName", "too-long")),
        ({"contact_phone": "1" * 31}, ("contactPhone", "too-long")),
        ({"contact_phone": "call me"}, ("contactPhone", "invalid-phone")),
        ({"company_name": "x" * 151}, ("companyName", "too-long")),
        ({"additional_notes": "x" * 501}, ("additionalNotes", "too-long")),
        ({"country_code": "de"}, ("countryCode", "invalid-country")),
        ({"country_code": "GERMANY"}, ("countryCode", "invalid-country")),
        (_in("DE", None, None), ("postalCode", "required")),
        (_in("DE", None, "1011"), ("postalCode", "invalid-postal-code")),
        (_in("DE", None, "١٠١١٧"), ("postalCode", "invalid-postal-code")),
        (_in("DE", None, "10117\t"), ("postalCode", "invalid-character")),
        (_in("US", None, "94105"), ("stateOrProvince", "required")),
        (_in("US", "Bavaria", "94105"), ("stateOrProvince", "invalid-state")),
        (_in("US", "CA", "9410"), ("postalCode", "invalid-postal-code")),
        (_in("GB", None, "SW1A 1AA, or so"), ("postalCode", "invalid-postal-code")),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_breaks_a_rule_is_refused(values: dict[str, Any], fault: tuple[str, str]) -> None:
    """Just past each limit, and what another country would write."""
    assert fault in _faults(**values)


def test_a_default_takes_the_place_of_others() -> None:
    """Of its kinds alone; those that lose nothing are left as they are."""
    shipping = attrs.evolve(_BERLIN, id=AddressId(UUID(int=3))).as_default([DefaultKind.SHIPPING])
    both = attrs.evolve(_BERLIN, id=AddressId(UUID(int=4))).as_default(DefaultKind)
    new = _BERLIN.as_default([DefaultKind.SHIPPING])

    (lost,) = displaced_by(new, (_BERLIN, both))
    assert (lost.is_default_shipping, lost.is_default_billing, lost.version) == (False, True, both.version + 1)
    assert displaced_by(new, (shipping, new)) == (shipping.without_default(DefaultKind),)
    assert displaced_by(_BERLIN, (shipping, both)) == ()
    assert find_default((_BERLIN, both), DefaultKind.BILLING) == both.id
    assert find_default((_BERLIN, shipping), DefaultKind.BILLING) is None


def test_what_is_so_already_is_no_change() -> None:
    """The version tells changes."""
    default = _BERLIN.as_default(DefaultKind)

    assert default is default.as_default([DefaultKind.BILLING])
    assert _BERLIN is _BERLIN.without_default(DefaultKind)
    assert _BERLIN is _BERLIN.replaced(
        {
            "address_line1": "Unter den Linden 77",
            "city": "Berlin",
            "postal_code": "10117",
            "country_code": "DE",
        }
    )


@pytest.mark.parametrize(
    ("choices", "fault"),
    [
        ({}, ((), "required")),
        ({DefaultKind.SHIPPING: True, DefaultKind.BILLING: False}, (("billing",), "invalid-type")),
    ],
    ids=str,
)
def test_a_default_is_chosen_and_not_given_up(
    choices: dict[DefaultKind, bool], fault: tuple[tuple[str, ...], str]
) -> None:
    """Another address is to be chosen instead; choosing nothing is a slip."""
    with pytest.raises(InvalidInputError) as caught:
        chosen_kinds(choices)

    assert [(found.field, found.code) for found in caught.value.faults] == [fault]
