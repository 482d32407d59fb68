"""Postal addresses: what each country asks of them, and which ones are a user's defaults."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs
import phonenumbers

from userservice_core.domain.address_kinds import AddressType, DefaultKind
from userservice_core.domain.ids import AddressId, UserId
from userservice_core.domain.texts import text_faults
from userservice_core.errors import AddressNotFoundError, Fault, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_ADDRESSES: Final = 50
"""Of one user."""
MAX_LINE_CHARACTERS: Final = 255
MAX_CITY_CHARACTERS: Final = 100
MAX_STATE_CHARACTERS: Final = 100
MAX_POSTAL_CODE_CHARACTERS: Final = 20
MAX_CONTACT_NAME_CHARACTERS: Final = 200
MAX_CONTACT_PHONE_CHARACTERS: Final = 30
MAX_COMPANY_CHARACTERS: Final = 150
MAX_NOTES_CHARACTERS: Final = 500

READ_ONLY_MEMBERS: Final = ("id", "user_id")
"""Given as they are they mean nothing, so that what was read can be sent back; given otherwise they are refused."""


@attrs.frozen(kw_only=True)
class AddressFormat:
    """
    How addresses of one country are written.

    Attributes:
        needs_state: Whether an address is incomplete without a state or province.
        states: Names and codes of all of them, casefolded; empty where any text will do.
        needs_postal_code: Whether an address is incomplete without a postal code.
        postal_code_pattern: What all postal codes match as a whole, None where any text will do.
    """

    needs_state: bool = False
    states: frozenset[str] = frozenset()
    needs_postal_code: bool = False
    postal_code_pattern: str | None = None


@attrs.frozen(kw_only=True)
class Address:
    """
    A postal address of a user.

    Attributes:
        country_code: ISO 3166-1 alpha-2.
        contact_phone: As people of that country write it, or in international form.
        version: Backs the ETag; raised by one with every change.
    """

    id: AddressId
    user_id: UserId
    address_type: AddressType | None = None
    address_line1: str
    address_line2: str | None = None
    city: str
    state_or_province: str | None = None
    postal_code: str | None = None
    country_code: str
    contact_name: str | None = None
    contact_phone: str | None = None
    company_name: str | None = None
    additional_notes: str | None = None
    is_default_shipping: bool = False
    is_default_billing: bool = False
    version: int = 1

    def replaced(self, values: Mapping[str, Any]) -> Address:
        """Return the address that consists of *values*, or this one if they say the same."""
        edited = Address(id=self.id, user_id=self.user_id, version=self.version, **values)
        return self if edited == self else attrs.evolve(edited, version=self.version + 1)

    def is_default(self, kind: DefaultKind) -> bool:
        """Tell whether this is the user's default of *kind*."""
        return self.is_default_shipping if kind is DefaultKind.SHIPPING else self.is_default_billing

    def as_default(self, kinds: Iterable[DefaultKind]) -> Address:
        """Return this address as the default of *kinds*, and of what it was the default for."""
        return self._with_defaults(dict.fromkeys(kinds, True))

    def without_default(self, kinds: Iterable[DefaultKind]) -> Address:
        """Return this address, no longer the default of *kinds*."""
        return self._with_defaults(dict.fromkeys(kinds, False))

    def changed_members(self, before: Address) -> tuple[str, ...]:
        """Return the names of the members in which this differs from *before*."""
        return tuple(
            field.name
            for field in attrs.fields(Address)
            if field.name != "version" and getattr(self, field.name) != getattr(before, field.name)
        )

    def faults(self, form: AddressFormat | None) -> Iterator[Fault]:
        """
        Yield everything that is wrong with the address.

        Args:
            form: How addresses of its country are written; None if there is no such country.
        """
        yield from self._faults_of_texts()
        if form is None:
            yield Fault(("countryCode",), "invalid-country", "Use a country code in capitals, such as DE (ISO 3166-1).")
        else:
            yield from self._faults_of_state(form)
            yield from self._faults_of_postal_code(form)
        if self.contact_phone is not None and not _is_phone(self.contact_phone, self.country_code):
            message = "Use a telephone number of the country, or one in international form."
            yield Fault(("contactPhone",), "invalid-phone", message)

    def _with_defaults(self, states: Mapping[DefaultKind, bool]) -> Address:
        changes: dict[str, Any] = {
            f"is_default_{kind}": state for kind, state in states.items() if self.is_default(kind) != state
        }
        return attrs.evolve(self, version=self.version + 1, **changes) if changes else self

    def _faults_of_texts(self) -> Iterator[Fault]:
        yield from text_faults("addressLine1", self.address_line1, max_characters=MAX_LINE_CHARACTERS)
        yield from text_faults("addressLine2", self.address_line2, max_characters=MAX_LINE_CHARACTERS)
        yield from text_faults("city", self.city, max_characters=MAX_CITY_CHARACTERS)
        yield from text_faults("stateOrProvince", self.state_or_province, max_characters=MAX_STATE_CHARACTERS)
        yield from text_faults("postalCode", self.postal_code, max_characters=MAX_POSTAL_CODE_CHARACTERS)
        yield from text_faults("contactName", self.contact_name, max_characters=MAX_CONTACT_NAME_CHARACTERS)
        yield from text_faults("contactPhone", self.contact_phone, max_characters=MAX_CONTACT_PHONE_CHARACTERS)
        yield from text_faults("companyName", self.company_name, max_characters=MAX_COMPANY_CHARACTERS)
        yield from text_faults(
            "additionalNotes", self.additional_notes, max_characters=MAX_NOTES_CHARACTERS, several_lines=True
        )

    def _faults_of_state(self, form: AddressFormat) -> Iterator[Fault]:
        if self.state_or_province is None:
            if form.needs_state:
                yield Fault(("stateOrProvince",), "required", "Addresses of this country need a state or province.")
        elif form.states and self.state_or_province.casefold() not in form.states:
            yield Fault(("stateOrProvince",), "invalid-state", "This country has no such state or province.")

    def _faults_of_postal_code(self, form: AddressFormat) -> Iterator[Fault]:
        if self.postal_code is None:
            if form.needs_postal_code:
                yield Fault(("postalCode",), "required", "Addresses of this country need a postal code.")
        elif not _is_postal_code(self.postal_code, form.postal_code_pattern):
            yield Fault(("postalCode",), "invalid-postal-code", "Postal codes of this country look different.")


def find_address(addresses: Iterable[Address], address_id: AddressId) -> Address:
    """
    Return the one of *addresses* that has the id.

    Raises:
        AddressNotFoundError: If none has.
    """
    for address in addresses:
        if address.id == address_id:
            return address
    raise AddressNotFoundError


def find_default(addresses: Iterable[Address], kind: DefaultKind) -> AddressId | None:
    """Return the id of the one of *addresses* that is the default of *kind*, None where none is."""
    return next((address.id for address in addresses if address.is_default(kind)), None)


def chosen_kinds(choices: Mapping[DefaultKind, bool]) -> frozenset[DefaultKind]:
    """
    Return the kinds of default that an address is to become.

    Raises:
        InvalidInputError: If there is none, or one is said to be false: a default is given up by choosing another one.
    """
    faults = tuple(
        Fault((kind.value,), "invalid-type", "Send true, or leave it out.")
        for kind, is_chosen in choices.items()
        if not is_chosen
    )
    if not choices:
        faults = (Fault((), "required", "Say what the address is to be the default for: shipping, billing or both."),)
    if faults:
        raise InvalidInputError(faults)
    return frozenset(choices)


def displaced_by(address: Address, addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Return those of *addresses* that *address* takes a default from, each without it and in its next version."""
    kinds = [kind for kind in DefaultKind if address.is_default(kind)]
    others = ((other, other.without_default(kinds)) for other in addresses if other.id != address.id)
    return tuple(after for before, after in others if after != before)


def _is_postal_code(text: str, pattern: str | None) -> bool:
    # What is too long is refused for that, and not compared with a pattern made for what is short.
    return pattern is None or len(text) > MAX_POSTAL_CODE_CHARACTERS or _matches(pattern, text)


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.IGNORECASE | re.ASCII) is not None


def _is_phone(text: str, country_code: str) -> bool:
    if len(text) > MAX_CONTACT_PHONE_CHARACTERS:
        return True
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(text, country_code))
    except phonenumbers.NumberParseException:
        return False
