"""The shape of the data of the user service's own events, so that one with another shape is not handled."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, get_type_hints

import attrs
import msgspec

from userservice_core.domain.event_data import camel_case
from userservice_core.domain.events import EVENT_TYPES

_ENVELOPE_MEMBERS: Final = frozenset({"id", "occurred_at"})
_CLASSES: Final = {f"userservice.{known.type}.v{known.schema_version}": known for known in EVENT_TYPES}


def known_data(event_type: str) -> type[msgspec.Struct] | None:
    """Return what the data of *event_type* can be converted to; None for a type that is not the service's own."""
    known = _CLASSES.get(event_type)
    return None if known is None else _struct_of(event_type)


@cache
def _struct_of(event_type: str) -> type[msgspec.Struct]:
    """Return a class with the members of the data; more members than these are let pass, since versions only grow."""
    event_class = _CLASSES[event_type]
    hints = get_type_hints(event_class)
    members: list[tuple[str, Any]] = [
        (field.name, hints[field.name])
        for field in attrs.fields(event_class)
        if field.name not in _ENVELOPE_MEMBERS and field.init
    ]
    return msgspec.defstruct(event_class.__name__, members, rename=camel_case, frozen=True)
