"""Every event that is published is one that a consumer takes."""

from __future__ import annotations

from typing import get_type_hints

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from userservice_core.domain.event_data import event_data, wire_type
from userservice_core.domain.events import EVENT_TYPES, Event
from userservice_core.infrastructure.messaging.known_events import fault_of


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
@settings(max_examples=10)
@given(data=st.data())
def test_what_is_published_is_known(kind: type[Event], data: st.DataObject) -> None:
    """With more members too, since versions grow."""
    hints = get_type_hints(kind)
    event = kind(**{field.name: data.draw(st.from_type(hints[field.name])) for field in attrs.fields(kind)})
    published = msgspec.json.decode(msgspec.json.encode(event_data(event)))

    assert fault_of(wire_type(event), {**published, "new": 1}) is None


@pytest.mark.asvs("1.5.2")
@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
def test_what_lacks_its_members_is_told(kind: type[Event]) -> None:
    """Unless all of them may be missing."""
    members = [field for field in attrs.fields(kind) if field.name not in {"id", "occurred_at"}]
    event_type = f"userservice.{kind.type}.v{kind.schema_version}"

    assert (fault_of(event_type, {}) is not None) == any(field.default is attrs.NOTHING for field in members)
    assert fault_of(event_type, [1]) is not None


def test_the_values_of_an_enumeration_may_grow() -> None:
    """A consumer of today takes the events of tomorrow."""
    data = {"userId": "01890a5d-ac96-774b-bcce-b302099a8057", "addressId": None, "previousAddressId": None}

    assert fault_of("userservice.address.default_changed.v1", {**data, "kind": "new kind"}) is None
    assert fault_of("userservice.address.default_changed.v1", {**data, "kind": 1}) is not None


def test_the_events_of_others_are_not_judged() -> None:
    """They are handled as they are."""
    assert fault_of("example.thing.happened.v1", [1]) is None
