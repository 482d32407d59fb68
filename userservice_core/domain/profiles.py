"""The profile: what people say of themselves, and how they want to be addressed."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs
import langcodes
import phonenumbers

from userservice_core.domain.editing import merge_patch
from userservice_core.domain.ids import UserId
from userservice_core.domain.json_objects import JsonObject, are_equal, object_faults
from userservice_core.domain.texts import text_faults
from userservice_core.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

MAX_NAME_CHARACTERS: Final = 100
MAX_GENDER_CHARACTERS: Final = 50
MAX_BIO_CHARACTERS: Final = 500
MAX_URL_CHARACTERS: Final = 2_048
MAX_LANGUAGE_CHARACTERS: Final = 100
MAX_AGE_YEARS: Final = 120

_HTTPS_URL: Final = re.compile(r"https://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_E164: Final = re.compile(r"\+[1-9][0-9]{1,14}")
READ_ONLY_MEMBERS: Final = ("user_id", "phone_verified")
"""Given as they are they mean nothing, so that what was read can be sent back; given otherwise they are refused."""

_OBJECTS: Final = ("preferences", "communication_preferences")


@attrs.frozen(kw_only=True)
class UserProfile:
    """
    What a user says of themselves; everybody has a profile from the start, with nothing in it.

    Attributes:
        phone_number: In E.164.
        phone_verified: Whether somebody proved that the number is theirs; lost with a change of the number.
        gender: In the user's own words.
        language: BCP 47 tag, spelled as given.
        timezone: Name in the IANA time zone database.
        preferences: The applications' own, of any shape.
        communication_preferences: As above, about what to send and where.
        version: Backs the ETag; 0 until something is written, then raised by one with every change.
    """

    user_id: UserId
    first_name: str | None = None
    last_name: str | None = None
    display_name: str | None = None
    phone_number: str | None = None
    phone_verified: bool = False
    date_of_birth: date | None = None
    gender: str | None = None
    profile_picture_url: str | None = None
    bio: str | None = None
    language: str | None = None
    timezone: str | None = None
    preferences: JsonObject = attrs.field(factory=dict)
    communication_preferences: JsonObject = attrs.field(factory=dict)
    version: int = 0

    @property
    def shown_name(self) -> str | None:
        """What to call the user; None where they say nothing of it."""
        return self.display_name or " ".join(filter(None, (self.first_name, self.last_name))) or None

    def replaced(self, values: Mapping[str, Any]) -> UserProfile:
        """Return the profile that consists of *values*, members by name; those not given become empty."""
        return self._with(attrs.evolve(UserProfile(user_id=self.user_id), **values))

    def patched(self, patch: Mapping[str, Any]) -> UserProfile:
        """Return the profile with the members that *patch* gives; its objects are merged into ours (RFC 7396)."""
        values: dict[str, Any] = {
            name: merge_patch(getattr(self, name), value) or {} if name in _OBJECTS else value
            for name, value in patch.items()
        }
        return self._with(attrs.evolve(self, **values))

    def changed_members(self, before: UserProfile) -> tuple[str, ...]:
        """Return the names of the members in which this differs from *before*."""
        return tuple(
            field.name
            for field in attrs.fields(UserProfile)
            if field.name != "version" and not are_equal(getattr(self, field.name), getattr(before, field.name))
        )

    def faults(self, *, today: date, timezones: Container[str]) -> Iterator[Fault]:
        """
        Yield everything that is wrong with what the owner may write.

        Args:
            today: The present day, in UTC.
            timezones: The names in the database of time zones.
        """
        yield from self.faults_of_texts()
        yield from self._faults_of_values(today)
        if self.timezone is not None and self.timezone not in timezones:
            yield Fault(("timezone",), "invalid-timezone", "Use an IANA time zone such as Europe/Berlin.")

    def _with(self, edited: UserProfile) -> UserProfile:
        """Return *edited* as the next version of this profile, or this one if they say the same."""
        is_verified = self.phone_verified and edited.phone_number == self.phone_number
        edited = attrs.evolve(edited, phone_verified=is_verified, version=self.version)
        return attrs.evolve(edited, version=self.version + 1) if edited.changed_members(self) else self

    def faults_of_texts(self) -> Iterator[Fault]:
        """Yield what is wrong with the texts, which can be told of them alone."""
        yield from text_faults("firstName", self.first_name, max_characters=MAX_NAME_CHARACTERS)
        yield from text_faults("lastName", self.last_name, max_characters=MAX_NAME_CHARACTERS)
        yield from text_faults("displayName", self.display_name, max_characters=MAX_NAME_CHARACTERS)
        yield from text_faults("gender", self.gender, max_characters=MAX_GENDER_CHARACTERS)
        yield from text_faults("bio", self.bio, max_characters=MAX_BIO_CHARACTERS, several_lines=True)

    def _faults_of_values(self, today: date) -> Iterator[Fault]:
        if self.phone_number is not None and not _is_e164(self.phone_number):
            yield Fault(("phoneNumber",), "invalid-phone", "Use the international form, such as +442079460958.")
        if self.date_of_birth is not None:
            yield from _faults_of_birth(self.date_of_birth, today)
        if self.profile_picture_url is not None and not _is_https_url(self.profile_picture_url):
            message = f"Use an address that begins with https:// and has at most {MAX_URL_CHARACTERS} characters."
            yield Fault(("profilePictureUrl",), "invalid-url", message)
        if self.language is not None and not _is_language(self.language):
            yield Fault(("language",), "invalid-language", "Use a language tag such as en or pt-BR (BCP 47).")
        yield from object_faults("preferences", self.preferences)
        yield from object_faults("communicationPreferences", self.communication_preferences)


def _is_e164(text: str) -> bool:
    """
    Tell whether *text* can be a telephone number somewhere.

    Whether the number is assigned is not asked: countries open new ranges faster than tables of them are renewed.
    """
    if not _E164.fullmatch(text):
        return False
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(text, None))
    except phonenumbers.NumberParseException:
        return False


def _faults_of_birth(born_on: date, today: date) -> Iterator[Fault]:
    if born_on > today:
        yield Fault(("dateOfBirth",), "date-in-future", "A birth date is not in the future.")
    elif (born_on.year, born_on.month, born_on.day) < (today.year - MAX_AGE_YEARS, today.month, today.day):
        yield Fault(("dateOfBirth",), "date-too-early", f"A birth date is at most {MAX_AGE_YEARS} years ago.")


def _is_https_url(text: str) -> bool:
    if len(text) > MAX_URL_CHARACTERS or not _HTTPS_URL.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        has_good_port = parts.port != 0
    except ValueError:
        return False
    # A name and a password in an address would be shown to whoever looks at the picture.
    return bool(parts.hostname) and has_good_port and "@" not in parts.netloc


def _is_language(text: str) -> bool:
    is_plain = len(text) <= MAX_LANGUAGE_CHARACTERS and "_" not in text
    return is_plain and langcodes.tag_is_valid(text)
