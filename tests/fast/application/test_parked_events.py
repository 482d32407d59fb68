"""What could not be published is seen, tried again, or given up, and the audit log says by whom and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from userservice_core.domain.audit import SYSTEM, AuditAction, Subject
from userservice_core.errors import NotFoundError
from userservice_core.ports.publishing import Delivery

if TYPE_CHECKING:
    from tests.fast.application.conftest import World
    from userservice_core.ports.publishing import OutboxRecord


def _parked_registration(world: World) -> OutboxRecord:
    """Register somebody, and let the bus refuse the event of it for good."""
    world.register()
    world.installed.publisher.failing = lambda record: Delivery(record, "refused", retriable=False)
    world.installed.relay.wave()
    world.installed.publisher.failing = lambda _: None
    (event,) = world.use_cases.parked_events.list_parked(limit=10)
    return event.record


def test_a_retried_event_is_published(world: World) -> None:
    """The entry is about its user, and says what was wrong."""
    record = _parked_registration(world)
    world.installed.relay.wave()
    before = len(world.installed.publisher.published)

    world.use_cases.parked_events.retry(actor=SYSTEM, position=record.position)
    world.installed.relay.wave()

    assert [record] == world.installed.publisher.published[before:]
    assert world.use_cases.parked_events.list_parked(limit=10) == ()
    entry = world.installed.store.rows.audit[-1].entry
    assert (entry.action, entry.actor, str(entry.subject.id) if entry.subject else "") == (
        AuditAction.EVENT_RETRIED,
        SYSTEM,
        record.key,
    )
    assert (entry.after["eventId"], entry.after["cause"]) == (str(record.id), "refused")


def test_an_event_that_fails_again_is_set_aside_again(world: World) -> None:
    """Under the same position, so its key still waits for it."""
    record = _parked_registration(world)
    world.installed.publisher.failing = lambda each: Delivery(each, "refused again", retriable=False)

    world.use_cases.parked_events.retry(actor=SYSTEM, position=record.position)
    world.installed.relay.wave()

    (event,) = world.use_cases.parked_events.list_parked(limit=10)
    assert (event.record, event.cause) == (record, "refused again")


def test_a_dropped_event_is_never_published(world: World) -> None:
    """The reason is in the log; what is not set aside cannot be decided about."""
    record = _parked_registration(world)

    world.use_cases.parked_events.drop(actor=SYSTEM, position=record.position, reason="read by hand")
    world.installed.relay.wave()

    assert record not in world.installed.publisher.published
    entry = world.installed.store.rows.audit[-1].entry
    assert (entry.action, entry.after["reason"]) == (AuditAction.EVENT_DROPPED, "read by hand")
    assert isinstance(entry.subject, Subject)
    written = len(world.installed.store.rows.audit)
    with pytest.raises(NotFoundError):
        world.use_cases.parked_events.retry(actor=SYSTEM, position=record.position)
    with pytest.raises(NotFoundError):
        world.use_cases.parked_events.drop(actor=SYSTEM, position=record.position, reason="again")
    assert written == len(world.installed.store.rows.audit)
