"""Events of others, as they come to the service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from tests.outbox_records import outbox_record
from userservice_core.domain.event_schemas import wire_name
from userservice_core.domain.events import ErasureRequested, NotificationBounced

if TYPE_CHECKING:
    from uuid import UUID

    from userservice_core.domain.events import Event
    from userservice_core.ports.publishing import OutboxRecord

PRIVACY_OFFICE = "https://privacy.example.com"


def received(kind: type[Event], key: str, data: dict[str, Any]) -> OutboxRecord:
    """Return an event of another service."""
    topic = f"userservice.{kind.topic}"
    # A number of its own: other producers count what they like.
    record = outbox_record(key, 7, topic=topic, payload=json.dumps(data).encode())
    return attrs.evolve(record, type=wire_name(kind), source=PRIVACY_OFFICE)


def bounce(email: str = "ada@example.com", kind: str = "permanent") -> OutboxRecord:
    """Say that a mail could not be delivered."""
    return received(NotificationBounced, email, {"email": email, "kind": kind})


def erasure_request(user_id: UUID | str) -> OutboxRecord:
    """Ask for the erasure of a user."""
    return received(ErasureRequested, str(user_id), {"userId": str(user_id)})
