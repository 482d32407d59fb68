"""Records of the outbox, as transactions leave them there."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import uuid_utils.compat as uuid_utils

from userservice_core.ports.publishing import LANES, OutboxRecord, lane_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

OCCURRED_AT: Final = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
USERS: Final = "userservice.users"


def outbox_record(
    key: str = "a",
    sequence: int | None = 1,
    *,
    topic: str = USERS,
    position: int = 0,
    payload: bytes = b'{"n": 1}',
    event_id: UUID | None = None,
    traceparent: str | None = None,
) -> OutboxRecord:
    """Return a record; its position counts only where it is not the store that numbers it."""
    return OutboxRecord(
        position=position,
        id=event_id or uuid_utils.uuid7(),
        lane=lane_of(topic, key),
        topic=topic,
        key=key,
        type="userservice.user.registered.v1",
        source="/userservice",
        subject=key,
        occurred_at=OCCURRED_AT,
        sequence=sequence,
        traceparent=traceparent,
        payload=payload,
    )


def keys_of_one_lane(count: int, *, topic: str = USERS) -> list[str]:
    """Return keys that share a lane."""
    keys = (str(number) for number in itertools.count())
    return list(itertools.islice((key for key in keys if lane_of(topic, key) == LANES - 1), count))


def sequences_of(records: Iterable[OutboxRecord], key: str) -> list[int | None]:
    """Return the numbers of the events of *key*, in the order of *records*."""
    return [record.sequence for record in records if record.key == key]
