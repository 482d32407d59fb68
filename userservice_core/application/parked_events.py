"""Events that could not be published and were set aside: to see them, to try them again, to give them up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from userservice_core.domain.audit import Actor, AuditAction, AuditEntry, Subject, SubjectKind
from userservice_core.domain.ids import AuditEntryId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.publishing import OutboxRecord, ParkedEvent, ParkedEventReader
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

_KINDS: Final = {"role": SubjectKind.ROLE, "permission": SubjectKind.PERMISSION}


class ParkedEvents:
    """
    Deciding about events that were set aside.

    Each decision is one transaction with its entry in the audit log, so an event is in the outbox, set aside, or given
    up, and never two of these.
    """

    def __init__(self, *, uow: UnitOfWork, parked: ParkedEventReader, clock: Clock, ids: IdGenerator) -> None:
        self._uow = uow
        self._parked = parked
        self._clock = clock
        self._ids = ids

    def list_parked(self, *, after: int = 0, limit: int) -> tuple[ParkedEvent, ...]:
        """Return *limit* events at most, the oldest first, of those with a greater position than *after*."""
        return self._parked.list_parked(after=after, limit=limit)

    def retry(self, *, actor: Actor, position: int) -> ParkedEvent:
        """
        Let relays try an event again: it goes before all later ones of its key, which wait for it.

        If it cannot be published this time either, it is set aside again.

        Raises:
            NotFoundError: If no event of this position is set aside.
        """

        def work(transaction: Transaction) -> ParkedEvent:
            event = transaction.parked_events.get(position)
            transaction.parked_events.put_back(event)
            transaction.audit.add(self._entry(AuditAction.EVENT_RETRIED, actor, event, {"cause": event.cause}))
            return event

        return self._uow.run(work)

    def drop(self, *, actor: Actor, position: int, reason: str) -> ParkedEvent:
        """
        Give an event up for good; later ones of its key go on, and consumers see a gap in their sequence.

        Args:
            actor: Who does it.
            position: Of the event.
            reason: Why, for the audit log.

        Raises:
            NotFoundError: If no event of this position is set aside.
        """

        def work(transaction: Transaction) -> ParkedEvent:
            event = transaction.parked_events.get(position)
            transaction.parked_events.drop(event)
            told = {"cause": event.cause, "reason": reason}
            transaction.audit.add(self._entry(AuditAction.EVENT_DROPPED, actor, event, told))
            return event

        return self._uow.run(work)

    def _entry(self, action: AuditAction, actor: Actor, event: ParkedEvent, told: Mapping[str, str]) -> AuditEntry:
        record = event.record
        about = {"eventId": record.id, "type": record.type, "topic": record.topic, "sequence": record.sequence}
        return AuditEntry(
            id=AuditEntryId(self._ids.new()),
            at=self._clock.now(),
            action=action,
            actor=actor,
            subject=_subject(record),
            after={**about, **told},
            changed=(),
        )


def _subject(record: OutboxRecord) -> Subject | None:
    """Return whom or what an event is about; None for a failed sign-in to no account, whose subject is no id."""
    try:
        subject_id = UUID(record.subject)
    except ValueError:
        return None
    _, aggregate, *_ = record.type.split(".")
    return Subject(_KINDS.get(aggregate, SubjectKind.USER), subject_id)
