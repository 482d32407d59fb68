"""Members that a client may send back as it got them, and may not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from userservice_core.errors import Fault, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable


def require_unchanged(sent: msgspec.Struct, shown: msgspec.Struct, names: Iterable[str]) -> None:
    """
    Check that members are left out of *sent* or are as in *shown*, so that what was read can be sent back.

    Raises:
        InvalidInputError: Naming each that is different.
    """
    wire_names = {field.name: field.encode_name for field in msgspec.structs.fields(sent)}
    faults = tuple(
        Fault((wire_names[name],), "read-only", "This member cannot be changed here.")
        for name in names
        if getattr(sent, name) is not msgspec.UNSET and getattr(sent, name) != getattr(shown, name)
    )
    if faults:
        raise InvalidInputError(faults)
