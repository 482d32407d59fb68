"""Members that a client may send back as it got them, and may not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from userservice_core.errors import Fault, InvalidInputError
from userservice_core.http.decoding import fields_of

if TYPE_CHECKING:
    from collections.abc import Iterable


def changes_of_read_only(sent: msgspec.Struct, shown: msgspec.Struct, names: Iterable[str]) -> tuple[Fault, ...]:
    """Refuse members of *sent* unless they are left out or as in *shown*, so that what was read can be sent back."""
    wire_names = {field.name: field.encode_name for field in fields_of(type(sent))}
    return tuple(
        Fault((wire_names[name],), "read-only", "This member cannot be changed here.")
        for name in names
        if getattr(sent, name) not in (msgspec.UNSET, getattr(shown, name))
    )


def require_unchanged(sent: msgspec.Struct, shown: msgspec.Struct, names: Iterable[str]) -> None:
    """
    Check that members are left out of *sent* or are as in *shown*.

    Raises:
        InvalidInputError: Naming each that is different.
    """
    if faults := changes_of_read_only(sent, shown, names):
        raise InvalidInputError(faults)
