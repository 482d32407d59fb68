"""
The files of the events' schemas, and how they may change.

A published schema only grows: a member that is added has a default in its class, since events that were published
before lack it. Whatever else changes makes a new version of the type.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from userservice_core.domain.event_schemas import Schema, schemas_by_type, wire_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.domain.events import Event


def schema_file(kind: type[Event]) -> str:
    """Return the name of the file that describes a class."""
    return _file_of(wire_name(kind))


def _file_of(name: str) -> str:
    return f"{name}.schema.json"


def event_schemas() -> dict[str, Schema]:
    """Return the schema of each type by the name of its file."""
    return {_file_of(name): schema for name, schema in schemas_by_type().items()}


def written(schema: Schema) -> str:
    """Return *schema* as its file holds it."""
    return f"{json.dumps(schema, indent=2)}\n"


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
