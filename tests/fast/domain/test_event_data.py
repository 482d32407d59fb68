"""How events are written for their consumers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import attrs
import pytest

from userservice_core.domain.event_data import event_data, wire_type
from userservice_core.domain.events import (
    EVENT_TYPES,
    Event,
    LoggedIn,
    LoggedOut,
    NotificationKind,
    NotificationRequested,
)
from userservice_core.domain.ids import EventId, SessionId, UserId
from userservice_core.ports.publishing import LANES, lane_of

_NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_EVENT_ID = EventId(UUID(int=1))
_USER_ID = UserId(UUID(int=2))
_SESSION_ID = SessionId(UUID(int=3))


def test_data_holds_the_members_in_camel_case_and_ids_as_text() -> None:
    """The envelope's members, id and time, are not repeated in the data."""
    event = LoggedIn(
        id=_EVENT_ID,
        occurred_at=_NOW,
        user_id=_USER_ID,
        session_id=_SESSION_ID,
        amr=("pwd", "otp"),
        ip="192.0.2.1",
        user_agent=None,
    )

    assert event_data(event) == {
        "userId": "00000000-0000-0000-0000-000000000002",
        "sessionId": "00000000-0000-0000-0000-000000000003",
        "amr": ["pwd", "otp"],
        "ip": "192.0.2.1",
        "userAgent": None,
    }


def test_data_can_be_written_as_json() -> None:
    """Ids within tuples and members of enumerations become what JSON knows."""
    ended = LoggedOut(id=_EVENT_ID, occurred_at=_NOW, user_id=_USER_ID, session_ids=(_SESSION_ID,))
    mail = NotificationRequested(
        id=_EVENT_ID, occurred_at=_NOW, user_id=_USER_ID, kind=NotificationKind.VERIFY_EMAIL, to="a@example.org"
    )

    assert json.loads(json.dumps(event_data(ended)))["sessionIds"] == [str(_SESSION_ID)]
    assert type(event_data(mail)["kind"]) is str


def test_data_refuses_what_json_does_not_know() -> None:
    """An event with a member of another kind fails where it is written, not at its consumers."""

    @attrs.frozen(kw_only=True)
    class Odd(Event):
        type = "odd"
        member: object

    with pytest.raises(TypeError, match="set"):
        event_data(Odd(id=_EVENT_ID, occurred_at=_NOW, member={1}))


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_wire_type_carries_the_version_of_its_schema(event_type: type[Event]) -> None:
    """Consumers choose by it, so that a new version is a new type."""
    event = object.__new__(event_type)

    assert wire_type(event) == f"userservice.{event_type.type}.v1"


@pytest.mark.parametrize(
    ("topic", "key", "lane"),
    [
        ("userservice.users", "00000000-0000-0000-0000-000000000002", 13),
        ("userservice.auth", "00000000-0000-0000-0000-000000000002", 30),
        ("userservice.auth", "", 5),
    ],
)
def test_lanes_are_what_they_always_were(topic: str, key: str, lane: int) -> None:
    """Records of before an upgrade wait in the lanes that their key has after it."""
    assert lane_of(topic, key) == lane


def test_keys_spread_over_all_lanes() -> None:
    """No lane stays idle, and topic and key cannot be confused at their border."""
    assert {lane_of("t", str(number)) for number in range(10 * LANES)} == set(range(LANES))
    assert lane_of("ab", "c") != lane_of("a", "bc")
