"""The JSON Schemas of the events' data, and what else there is to know of a type, made from the event classes."""

from __future__ import annotations

import enum
import inspect
import types
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs

from userservice_core.domain.event_data import camel_case, event_data
from userservice_core.domain.events import EVENT_TYPES, PERSONAL, PERSONAL_EVERYWHERE, RECEIVED_TYPES, Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_SCALARS: Final[Mapping[type, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    UUID: {"type": "string", "format": "uuid"},
    datetime: {"type": "string", "format": "date-time"},
}


def wire_name(kind: type[Event]) -> str:
    """Return the CloudEvents `type` of a class."""
    return f"userservice.{kind.type}.v{kind.schema_version}"


def key_of(kind: type[Event]) -> str:
    """Say what the events of a class are keyed by, such as `the user's id`."""
    text = (inspect.getdoc(kind.key) or "").rstrip(".")
    return f"{text[:1].lower()}{text[1:]}"


def schemas_by_type() -> dict[str, Schema]:
    """
    Return the schema (JSON Schema 2020-12) of each CloudEvents `type`, whether it is published or taken from others.

    Classes of one type are its alternatives.
    """
    schemas: dict[str, Schema] = {}
    for name in dict.fromkeys(map(wire_name, (*EVENT_TYPES, *RECEIVED_TYPES))):
        kinds = [kind for kind in (*EVENT_TYPES, *RECEIVED_TYPES) if wire_name(kind) == name]
        head = {"$schema": _DIALECT, "$id": f"urn:userservice:event:{name}"}
        shapes = [_shape(kind) for kind in kinds]
        schemas[name] = {**head, **shapes[0]} if len(shapes) == 1 else {**head, "anyOf": shapes}
    return schemas


def data_members(kind: type[Event]) -> Iterable[tuple[str, Any, Any]]:
    """Yield name on the wire, type and default (`attrs.NOTHING` for none) of each member of an event's data."""
    hints = get_type_hints(kind)
    blank = object.__new__(kind)
    for field in attrs.fields(kind):
        object.__setattr__(blank, field.name, None)
    data = [field for field in attrs.fields(kind) if field.name not in {"id", "occurred_at"}]
    for name, field in zip(event_data(blank), data, strict=True):
        yield name, hints[field.name], field.default


def personal_members(kind: type[Event]) -> dict[str, str]:
    """Return what each personal member of an event's data is needed for, by its name on the wire."""
    reasons = (
        (field.name, field.metadata.get(PERSONAL, PERSONAL_EVERYWHERE.get(field.name))) for field in attrs.fields(kind)
    )
    return {camel_case(name): why for name, why in reasons if why is not None}


def _shape(kind: type[Event]) -> Schema:
    members = list(data_members(kind))
    return {
        "title": kind.__name__,
        "description": (inspect.getdoc(kind) or "").partition("\n")[0],
        "type": "object",
        "properties": {
            name: _schema_of(annotation) | ({} if default is attrs.NOTHING else {"default": default})
            for name, annotation, default in members
        },
        "required": [name for name, _, default in members if default is attrs.NOTHING],
    }


def _schema_of(annotation: Any) -> Schema:  # noqa: ANN401 - whatever a class is annotated with
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__supertype__"):
        return _schema_of(annotation.__supertype__)
    if origin in {Union, types.UnionType}:
        parts = [{"type": "null"} if part is type(None) else _schema_of(part) for part in arguments]
        return {"anyOf": parts}
    if origin is tuple:
        return {"type": "array", "items": _schema_of(arguments[0])}
    if issubclass(annotation, enum.Enum):
        # Known values, and not all there will ever be: a value that is added breaks no consumer.
        return {"type": "string", "examples": [member.value for member in annotation]}
    return dict(_SCALARS[annotation])
