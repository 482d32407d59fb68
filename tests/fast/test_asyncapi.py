"""The AsyncAPI document: it keeps the rules of the specification, and says what is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from docs import generate
from docs.asyncapi import DESCRIBED, PREFIX, asyncapi_document, written_asyncapi
from userservice_core.domain.event_schemas import schemas_by_type, wire_name
from userservice_core.domain.events import EVENT_TYPES, RECEIVED_TYPES, ReceivedTopic, Topic

DOCUMENT: Final = asyncapi_document()
MESSAGES: Final[dict[str, Any]] = DOCUMENT["components"]["messages"]
RULES: Final = json.loads((Path(__file__).parents[1] / "asyncapi" / "3.0.0.json").read_text(encoding="utf-8"))


def test_the_file_is_what_the_classes_say() -> None:
    """`make docs` renews it."""
    assert generate.ASYNCAPI.read_text(encoding="utf-8") == written_asyncapi()


def test_it_keeps_the_rules_of_asyncapi() -> None:
    """By the official schema of version 3.0.0, which refuses what it does not know."""
    validator = jsonschema.Draft7Validator(RULES)

    assert [error.message for error in validator.iter_errors(DOCUMENT)] == []
    assert list(validator.iter_errors({**DOCUMENT, "channel": {}})) != []
    assert list(validator.iter_errors({**DOCUMENT, "operations": {"publish": {"action": "publish"}}})) != []


def test_every_reference_leads_somewhere() -> None:
    """Within the document."""
    references = set(_references(DOCUMENT))

    assert len(references) > len(DESCRIBED)
    for reference in references:
        place = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def _references(node: Any) -> list[str]:  # noqa: ANN401 - JSON has no narrower type
    match node:
        case {"$ref": str(reference)}:
            return [reference]
        case dict():
            return [found for value in node.values() for found in _references(value)]
        case list():
            return [found for value in node for found in _references(value)]
        case _:
            return []


def test_channels_are_topics_and_messages_types() -> None:
    """Each event is in the channel of its topic."""
    said = {(channel["address"], name) for channel in DOCUMENT["channels"].values() for name in channel["messages"]}

    assert said == {(f"{PREFIX}{kind.topic}", wire_name(kind)) for kind in (*EVENT_TYPES, *RECEIVED_TYPES)}
    assert set(MESSAGES) == {name for _, name in said}
    assert {kind.topic for kind in DESCRIBED} == {*Topic, *ReceivedTopic}


def test_operations_say_who_writes_a_topic() -> None:
    """The service sends to its own, and receives from those of others; none is both."""
    operations = DOCUMENT["operations"].values()
    said = {(operation["channel"]["$ref"].rpartition("/")[2], operation["action"]) for operation in operations}

    assert said == {
        *((str(topic), "send") for topic in Topic),
        *((str(topic), "receive") for topic in ReceivedTopic),
    }
    assert len(operations) == len(DOCUMENT["channels"])


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_payloads_are_those_of_the_schema_files(name: str) -> None:
    """Word for word, but for what tells a file apart."""
    schema = schemas_by_type()[name]

    assert {"$schema": schema["$schema"], "$id": schema["$id"], **MESSAGES[name]["payload"]} == schema


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_examples_are_valid(name: str) -> None:
    """Value and headers, by what the document itself says of them."""
    message = MESSAGES[name]
    checker = jsonschema.Draft7Validator.FORMAT_CHECKER
    payloads = jsonschema.Draft7Validator(message["payload"], format_checker=checker)
    headers = jsonschema.Draft7Validator(
        {**message["headers"], "components": DOCUMENT["components"]}, format_checker=checker
    )

    assert message["examples"]
    for example in message["examples"]:
        payloads.validate(example["payload"])
        headers.validate(example["headers"])
        assert not headers.is_valid({**example["headers"], "ce_type": "userservice.other.v1"})
        is_received = any(wire_name(kind) == name for kind in RECEIVED_TYPES)
        assert headers.is_valid({**example["headers"], "ce_sequence": "0"}) is is_received
        for left_out in ("ce_id", "ce_source") if is_received else ("ce_id", "ce_source", "ce_time"):
            assert not headers.is_valid(
                {header: value for header, value in example["headers"].items() if header != left_out}
            )
