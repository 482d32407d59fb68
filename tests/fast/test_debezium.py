"""The outbox is laid out for Debezium's Outbox Event Router, and the page about it configures what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import JSON, Text, Uuid

from docs.asyncapi import asyncapi_document
from tests.outbox_records import outbox_record
from userservice_core.domain.events import Topic
from userservice_core.infrastructure.messaging.cloudevents import headers_of
from userservice_core.infrastructure.postgres.tables import outbox

_PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "publish-with-debezium.md"
_ROUTER: Final = "transforms.outbox."

# `table.field.event.id`, `route.by.field`, `table.field.event.key`, and `table.field.event.payload`, as the router has
# them where nothing is set.
_DEFAULT_COLUMNS: Final = {"id": Uuid, "aggregatetype": Text, "aggregateid": Text, "payload": JSON}


@pytest.fixture(scope="module")
def configuration() -> dict[str, str]:
    """What the page tells to configure."""
    (block,) = re.findall(r"^```json\n(.*?)^```", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    loaded: dict[str, str] = json.loads(block)
    return loaded


def test_the_columns_have_the_names_that_the_router_expects() -> None:
    """With types that it takes, and always a value."""
    for name, kind in _DEFAULT_COLUMNS.items():
        assert isinstance(outbox.c[name].type, kind)
        assert not outbox.c[name].nullable


def test_the_router_is_told_nothing_else(configuration: dict[str, str]) -> None:
    """Only where events go to and which headers they get: no name of a column is needed."""
    told = {name.removeprefix(_ROUTER) for name in configuration if name.startswith(_ROUTER)}

    assert told == {"type", "route.topic.replacement", "table.fields.additional.placement"}
    assert configuration[f"{_ROUTER}route.topic.replacement"] == "${routedByValue}"


def test_headers_are_those_of_the_relay(configuration: dict[str, str]) -> None:
    """From columns that exist, and two that never change."""
    placed = [each.split(":") for each in configuration[f"{_ROUTER}table.fields.additional.placement"].split(",")]
    fixed = {
        configuration[f"transforms.{name}.header"]: configuration[f"transforms.{name}.value.literal"]
        for name in ("specversion", "contentType")
    }
    headers = dict(headers_of(outbox_record("a", 1)))

    assert {column for column, *_ in placed} - set(outbox.c.keys()) == set()
    assert {where for _, where, _ in placed} == {"header"}
    named = {header for *_, header in placed} | set(fixed)
    assert named - {"ce_traceparent"} == set(headers) - {"ce_traceparent"}
    assert {name: headers[name].decode() for name in fixed} == fixed


def test_mails_are_left_out(configuration: dict[str, str]) -> None:
    """By the topic that they are routed to; no other topic is."""
    is_mail = re.compile(configuration["predicates.isMail.pattern"])
    addresses = [channel["address"] for channel in asyncapi_document()["channels"].values()]

    assert [address for address in addresses if is_mail.fullmatch(address)] == [f"userservice.{Topic.NOTIFICATIONS}"]
