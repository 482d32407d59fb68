"""The strategies draw what the domain takes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import RFC_4122

import msgspec
from hypothesis import given

from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.event_data import event_data, wire_type
from userservice_core.domain.passwords import LEAST_MIN_CHARACTERS, PasswordPolicy
from userservice_core.testing import strategies

if TYPE_CHECKING:
    from userservice_core.domain.events import Event
    from userservice_core.domain.sessions import Session
    from userservice_core.domain.users import User


@given(strategies.emails())
def test_a_drawn_address_is_its_own_key(email: EmailAddress) -> None:
    """Parsed again, it is the same; so is its key, which stands for itself."""
    assert EmailAddress.parse(email.address) == email
    assert EmailAddress.parse(email.key).key == email.key


@given(strategies.passwords())
def test_a_drawn_password_is_long_enough(password: str) -> None:
    """And short enough, unless NFC makes it shorter or longer than it was drawn."""
    faults = PasswordPolicy(min_characters=LEAST_MIN_CHARACTERS).faults(password)

    assert {fault.code for fault in faults} <= {"password-too-short", "password-too-long"}


@given(strategies.users(), strategies.events())
def test_drawn_values_can_be_written_as_json(user: User, event: Event) -> None:
    """And read as they were."""
    assert msgspec.json.decode(msgspec.json.encode(user.attributes)) == user.attributes
    data = event_data(event)
    assert msgspec.json.decode(msgspec.json.encode(data)) == data
    assert wire_type(event).startswith("userservice.")
    assert user.id.version == 7
    assert user.id.variant == RFC_4122


@given(strategies.sessions())
def test_a_drawn_session_is_in_order(session: Session) -> None:
    """It is used after it began, and ends after that."""
    assert session.created_at <= session.last_used_at < session.expires_at <= session.absolute_expires_at
    assert (session.generation == 0) == (session.previous_hash is None)
