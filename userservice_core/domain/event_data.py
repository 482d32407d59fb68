"""How an event is written for its consumers: the CloudEvents type, and the data as JSON-ready values in camelCase."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

if TYPE_CHECKING:
    from userservice_core.domain.events import Event

MAX_DATA_BYTES = 256 * 1024
"""Of JSON in UTF-8: what a bus with its usual settings (1 MiB a record) takes with room for headers and framing."""

_ENVELOPE_MEMBERS = frozenset({"id", "occurred_at"})


def wire_type(event: Event) -> str:
    """Return the CloudEvents `type` of *event*, such as `userservice.user.registered.v1`."""
    return f"userservice.{event.type}.v{event.schema_version}"


def event_data(event: Event) -> dict[str, Any]:
    """Return the members of *event* that make its data; id and time travel in the envelope."""
    members = (field.name for field in attrs.fields(type(event)) if field.name not in _ENVELOPE_MEMBERS)
    return {camel_case(member): _plain(getattr(event, member)) for member in members}


def camel_case(member: str) -> str:
    """Return the name on the wire of a member."""
    first, *others = member.split("_")
    return first + "".join(word.capitalize() for word in others)


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    match value:
        case enum.Enum():
            return _plain(value.value)
        case UUID():
            return str(value)
        case tuple():
            return [_plain(item) for item in value]
        case None | str() | bool() | int() | float():
            return value
        case _:
            raise TypeError(f"An event cannot hold a {type(value).__name__}")
