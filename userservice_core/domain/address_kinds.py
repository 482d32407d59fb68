"""What an address is for; apart from the rules of addresses, since consumers of events need no tables of telephones."""

from __future__ import annotations

import enum


class AddressType(enum.StrEnum):
    """What an address is to its owner."""

    SHIPPING = "shipping"
    BILLING = "billing"
    HOME = "home"
    WORK = "work"


class DefaultKind(enum.StrEnum):
    """What an address can be the default for."""

    SHIPPING = "shipping"
    BILLING = "billing"
