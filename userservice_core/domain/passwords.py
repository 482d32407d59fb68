"""The rules a new password must meet (NIST SP 800-63B §3.1.1.2): long, not common, no composition rules."""

from __future__ import annotations

import unicodedata
from collections.abc import Container
from typing import TYPE_CHECKING

import attrs

from userservice_core.errors import Fault

if TYPE_CHECKING:
    from userservice_core.domain.emails import EmailAddress
    from userservice_core.domain.profiles import UserProfile

MAX_PASSWORD_CHARACTERS = 128
MAX_PASSWORD_BYTES = 1_024
LEAST_MIN_CHARACTERS = 8
MAX_REMEMBERED = 10
"""So many hashes at most are compared with one new password, which takes as long as so many sign-ins."""

NOT_ISSUED = Fault(("newPassword",), "password-not-issued", "Change the password once you are signed in.")
"""Why a password that its owner chose is not replaced at a sign-in."""


def normalise_password(password: str) -> str:
    """Return *password* in NFC, so that one phrase typed on two keyboards is one password."""
    return unicodedata.normalize("NFC", password)


def spellings(password: str) -> tuple[bytes, ...]:
    """
    Return what a stored hash may have been made of, first *password* as typed, then in NFC where that differs.

    New hashes are made in NFC; other systems hashed what they got.
    """
    encoded = (text.encode(errors="surrogatepass") for text in (password, normalise_password(password)))
    return tuple(dict.fromkeys(encoded))


@attrs.frozen(kw_only=True)
class PasswordPolicy:
    """
    What a new password must satisfy.

    Attributes:
        min_characters: Length in characters after NFC; never below 8.
        blocked: Common passwords, casefolded, compared with the whole password.
        service_words: What an attacker would try first for anybody here, such as the service's name.
        remembered: How many passwords before the present one are refused, too.
    """

    min_characters: int = attrs.field(default=15, validator=attrs.validators.ge(LEAST_MIN_CHARACTERS))
    blocked: Container[str] = frozenset()
    service_words: tuple[str, ...] = ()
    remembered: int = attrs.field(default=0, validator=[attrs.validators.ge(0), attrs.validators.le(MAX_REMEMBERED)])

    def faults(self, password: str, *, context: tuple[str, ...] = (), field: str = "password") -> tuple[Fault, ...]:
        """
        List every rule that *password* breaks.

        Args:
            password: As typed.
            context: Words an attacker would try first for this account, as :func:`known_words` returns them; compared,
                regardless of case, with the whole password, as are those of the service.
            field: The member of the input to blame.
        """
        normal = normalise_password(password)
        found = []
        if len(normal) < self.min_characters:
            found.append(
                ("password-too-short", f"Use at least {self.min_characters} characters; a sentence works well.")
            )
        if len(normal) > MAX_PASSWORD_CHARACTERS or len(normal.encode()) > MAX_PASSWORD_BYTES:
            limit = f"Use at most {MAX_PASSWORD_CHARACTERS} characters and {MAX_PASSWORD_BYTES} bytes in UTF-8."
            found.append(("password-too-long", limit))
        folded = normal.casefold()
        if folded in self.blocked:
            found.append(("password-too-common", "This password is on lists that attackers try first. Choose another."))
        if folded in {normalise_password(word).casefold() for word in (*context, *self.service_words)}:
            found.append(
                ("password-too-obvious", "This password repeats what is known of the account. Choose another.")
            )
        return tuple(Fault((field,), code, message) for code, message in found)

    def change_faults(self, new: str, *, current: str, context: tuple[str, ...] = ()) -> tuple[Fault, ...]:
        """List every rule that *new* breaks in the place of *current*."""
        faults = self.faults(new, context=context, field="newPassword")
        if normalise_password(new) == normalise_password(current):
            faults += (Fault(("newPassword",), "password-unchanged", "This is the current password. Choose another."),)
        return faults


def reused(field: str) -> Fault:
    """Return what is wrong with the password in *field*, which the account had before."""
    return Fault((field,), "password-reused", "This password was used here before. Choose another.")


def breached(field: str) -> Fault:
    """Return what is wrong with the password in *field*, which was found in leaked data."""
    message = "This password was found in data that leaked elsewhere. Choose another."
    return Fault((field,), "password-breached", message)


def known_words(email: EmailAddress, profile: UserProfile | None = None) -> tuple[str, ...]:
    """Return what an address and a profile give away to whoever guesses a password."""
    local, _, domain = email.key.partition("@")
    words = [email.address, email.key, local, domain]
    if profile is not None:
        names = [name for name in (profile.first_name, profile.last_name) if name]
        words += [name for name in (profile.display_name, profile.phone_number) if name]
        words += [separator.join(order) for separator in ("", " ", ".") for order in (names, names[::-1])]
    return tuple(words)
