"""E-mail addresses: what was typed, and the key under which two spellings are the same mailbox."""

from __future__ import annotations

import unicodedata
from typing import Final

import attrs

from userservice_core.errors import Fault, InvalidInputError

MAX_EMAIL_OCTETS = 254
"""RFC 5321 §4.5.3.1.3 allows a path of 256 octets, angle brackets included."""

_ACE_PREFIX: Final = "xn--"
"""Of a label that stands for one in Unicode (RFC 5890 §2.3.2.1)."""

_WRITTEN_TOGETHER: Final = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
)


@attrs.frozen
class EmailAddress:
    """
    An address as its owner typed it, with its key.

    Attributes:
        address: For display and for sending; surrounding white space removed, otherwise untouched.
        key: NFKC and casefold of the local part, ``@``, and the UTS-46 A-label of the domain. Equal keys are the same
            account; dots and plus-tags are part of the address and are kept.
    """

    address: str
    key: str

    @property
    def is_mixed_script(self) -> bool:
        """
        Whether a part of the address has letters of scripts that are not written together (UTS 39 §5.1).

        Such an address may be made to look like another one: a Cyrillic letter among Latin ones. The local part and
        each label of the domain are judged by themselves, and Chinese, Japanese and Korean as whole systems of writing,
        which Latin letters may go with.
        """
        if self.key.isascii() and _ACE_PREFIX not in self.key:
            return False  # all of its letters are Latin
        local_part, _, domain = self.key.partition("@")
        return any(_is_mixed(part) for part in (local_part, *(_u_label(label) for label in domain.split("."))))

    @classmethod
    def parse(cls, text: str, *, field: str = "email") -> EmailAddress:
        """
        Check *text* and derive its key; the one function for register, login, reset, change and import.

        Raises:
            InvalidInputError: If *text* is not an address that mail can be sent to, or is over 254 octets.
        """
        # Within, since the base install lacks it: there users are read and not registered.
        import idna
        from email_validator import EmailNotValidError, validate_email

        address = text.strip()
        try:
            validated = validate_email(address, check_deliverability=False, allow_quoted_local=False)
            key = f"{_fold(validated.local_part)}@{_a_label(validated.domain)}"
        except (EmailNotValidError, idna.IDNAError, UnicodeError) as error:
            fault = Fault((field,), "invalid-email", f"This is not a usable e-mail address: {error}")
            raise InvalidInputError((fault,)) from error
        if max(len(address.encode()), len(key.encode())) > MAX_EMAIL_OCTETS:
            fault = Fault((field,), "invalid-email", f"An e-mail address has at most {MAX_EMAIL_OCTETS} octets.")
            raise InvalidInputError((fault,))
        return cls(address=address, key=key)


def search_keys(part: str) -> tuple[str, ...]:
    """
    Return how a part of an address may stand in the keys of those that have it.

    That is as it is for a local part, and with its labels as A-labels for a domain. Of a label in Unicode all has to be
    there: the A-label of its beginning is not the beginning of its A-label.
    """
    text = part.strip()
    local_part, at, domain = text.rpartition("@")
    as_domain = f"{_fold(local_part)}{at}{'.'.join(map(_searched_label, domain.split('.')))}"
    return tuple(dict.fromkeys((_fold(text), as_domain)))


def _searched_label(label: str) -> str:
    import idna

    if label.isascii():
        return label.lower()
    try:
        return _a_label(label)
    except idna.IDNAError:
        return _fold(label)


def _is_mixed(text: str) -> bool:
    # The name of a letter begins with its script; this is the property of Unicode without a table of our own.
    scripts = {unicodedata.name(letter, "?").split()[0] for letter in text if unicodedata.category(letter)[0] == "L"}
    return len(scripts) > 1 and not any(scripts <= together for together in _WRITTEN_TOGETHER)


def _u_label(label: str) -> str:
    import idna

    try:
        return idna.ulabel(label)
    except idna.IDNAError:
        return label


def _fold(local_part: str) -> str:
    """Fold twice: casefold can leave a form that NFKC would still change."""
    folded = unicodedata.normalize("NFKC", local_part).casefold()
    return unicodedata.normalize("NFKC", folded).casefold()


def _a_label(domain: str) -> str:
    import idna

    return idna.encode(domain, uts46=True).decode("ascii")
