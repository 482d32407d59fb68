"""
The JSON Schemas of the events' data, made from the event classes.

A published schema only grows: a member that is added has a default in its class, since events that were published
before lack it. Whatever else changes makes a new version of the type.
"""

from __future__ import annotations

import enum
import inspect
import json
import types
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs

from userservice_core.domain.event_data import event_data
from userservice_core.domain.events import EVENT_TYPES, Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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


def schema_file(kind: type[Event]) -> str:
    """Return the name of the file that describes a class."""
    return f"{wire_name(kind)}.schema.json"


def event_schemas() -> dict[str, Schema]:
    """Return the schema of each type by the name of its file; classes of one type are its alternatives."""
    schemas: dict[str, Schema] = {}
    for name in dict.fromkeys(map(schema_file, EVENT_TYPES)):
        kinds = [kind for kind in EVENT_TYPES if schema_file(kind) == name]
        head = {"$schema": _DIALECT, "$id": f"urn:userservice:event:{wire_name(kinds[0])}"}
        shapes = [_shape(kind) for kind in kinds]
        schemas[name] = {**head, **shapes[0]} if len(shapes) == 1 else {**head, "anyOf": shapes}
    return schemas


def written(schema: Schema) -> str:
    """Return *schema* as its file holds it."""
    return f"{json.dumps(schema, indent=2)}\n"


def data_members(kind: type[Event]) -> Iterable[tuple[str, Any, Any]]:
    """Yield name on the wire, type and default (`attrs.NOTHING` for none) of each member of an event's data."""
    hints = get_type_hints(kind)
    blank = object.__new__(kind)
    for field in attrs.fields(kind):
        object.__setattr__(blank, field.name, None)
    data = [field for field in attrs.fields(kind) if field.name not in {"id", "occurred_at"}]
    for name, field in zip(event_data(blank), data, strict=True):
        yield name, hints[field.name], field.default


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


# --- growing ----------------------------------------------------------------------------------------------------------


def breaking_changes(published: Schema, present: Schema) -> Iterator[str]:
    """Yield what a consumer of *published* could not bear in *present*, one line each."""
    before, after = _alternatives(published), _alternatives(present)
    for title in before.keys() - after.keys():
        yield f"{title} is gone"
    for title in before.keys() & after.keys():
        yield from (f"{title}: {change}" for change in _changes_of_shape(before[title], after[title]))


def _alternatives(schema: Schema) -> dict[str, Schema]:
    return {shape["title"]: shape for shape in schema.get("anyOf", [schema])}


def _changes_of_shape(before: Schema, after: Schema) -> Iterator[str]:
    for name, member in before["properties"].items():
        if name not in after["properties"]:
            yield f"{name} is gone"
        elif _without_examples(member) != _without_examples(after["properties"][name]):
            yield f"{name} has another type"
    for name in sorted(set(after["required"]) - set(before["required"])):
        yield f"{name} has no default, and events that are published already lack it"
    for name in sorted(set(before["required"]) & after["properties"].keys() - set(after["required"])):
        yield f"{name} may be missing now"


def _without_examples(member: Schema) -> Schema:
    return {name: value for name, value in member.items() if name != "examples"}
