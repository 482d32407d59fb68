"""The published schemas of events: they describe what is published, and only grow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_type_hints

import attrs
import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docs import generate
from docs.event_schemas import breaking_changes, event_schemas, schema_file, written
from userservice_core.domain.event_data import event_data
from userservice_core.domain.events import EVENT_TYPES, RECEIVED_TYPES, Event

if TYPE_CHECKING:
    from pathlib import Path

    from userservice_core.domain.event_schemas import Schema

VALIDATORS = {
    name: jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    for name, schema in event_schemas().items()
}
SHAPE: Schema = {
    "title": "UserGreeted",
    "type": "object",
    "properties": {"userId": {"type": "string"}, "kind": {"type": "string", "examples": ["loud"]}},
    "required": ["userId", "kind"],
}


def with_members(required: list[str] | None = None, **members: Schema | None) -> Schema:
    """Return the shape with members changed, or removed where they are None."""
    properties = {name: member for name, member in {**SHAPE["properties"], **members}.items() if member is not None}
    return {**SHAPE, "properties": properties, "required": SHAPE["required"] if required is None else required}


def test_the_files_are_what_the_classes_say() -> None:
    """After a change of an event, `make docs` renews its schema, or says why it must not."""
    files = {file.name: file.read_text(encoding="utf-8") for file in generate.SCHEMAS.iterdir()}

    assert files == {name: written(schema) for name, schema in event_schemas().items()}


@pytest.mark.parametrize("name", sorted(event_schemas()))
def test_a_schema_is_one(name: str) -> None:
    """It keeps the rules of its dialect."""
    jsonschema.Draft202012Validator.check_schema(event_schemas()[name])


@pytest.mark.parametrize("kind", [*EVENT_TYPES, *RECEIVED_TYPES], ids=lambda kind: kind.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_whatever_is_published_is_as_its_schema_says(kind: type[Event], data: st.DataObject) -> None:
    """Any event of a class, written as the outbox writes it, is valid."""
    hints = get_type_hints(kind)
    members = {field.name: st.from_type(hints[field.name]) for field in attrs.fields(kind)}
    event = data.draw(st.builds(kind, **members))

    payload = json.loads(msgspec.json.encode(event_data(event)))

    VALIDATORS[schema_file(kind)].validate(payload)


@pytest.mark.parametrize(
    "present",
    [
        SHAPE,
        with_members(volume={"type": "integer"}),
        with_members(kind={"type": "string", "examples": ["loud", "soft"]}),
        {"anyOf": [SHAPE, {**SHAPE, "title": "AnotherGreeted"}]},
    ],
)
def test_a_published_schema_may_grow(present: Schema) -> None:
    """By members that may be missing, known values, and further alternatives."""
    assert list(breaking_changes(SHAPE, present)) == []


@pytest.mark.parametrize(
    ("present", "change"),
    [
        (with_members(kind=None, required=["userId"]), "UserGreeted: kind is gone"),
        (with_members(kind={"type": "integer"}), "UserGreeted: kind has another type"),
        (with_members(required=["userId"]), "UserGreeted: kind may be missing now"),
        (
            with_members(volume={"type": "integer"}, required=["userId", "kind", "volume"]),
            "UserGreeted: volume has no default, and events that are published already lack it",
        ),
        ({**SHAPE, "title": "Greeted"}, "UserGreeted is gone"),
        (with_members(kind={"type": "string", "enum": ["loud"]}), "UserGreeted: kind has another type"),
        (with_members(kind={"type": "string", "maxLength": 5}), "UserGreeted: kind has another type"),
        (
            with_members(kind={"anyOf": [{"type": "string"}, {"type": "null"}]}),
            "UserGreeted: kind has another type",
        ),
    ],
)
def test_any_other_change_takes_a_new_version(present: Schema, change: str) -> None:
    """What a consumer of the published schema could not bear is named."""
    assert list(breaking_changes(SHAPE, present)) == [change]


def test_a_change_that_breaks_consumers_is_not_written(tmp_path: Path) -> None:
    """The file stays as it was, whatever else could be renewed."""
    name, schema = next(iter(event_schemas().items()))
    published: dict[str, Any] = {**schema, "properties": {**schema["properties"], "nickname": {"type": "string"}}}
    (tmp_path / name).write_text(written(published), encoding="utf-8")

    with pytest.raises(SystemExit, match="nickname is gone"):
        generate.renew_schemas(tmp_path)

    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == written(published)
