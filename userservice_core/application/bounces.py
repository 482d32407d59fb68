"""What follows from a mail that could not be delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.domain.audit import SYSTEM, AuditAction, AuditEntry, Subject
from userservice_core.domain.events import BounceKind, UserUpdated
from userservice_core.domain.ids import AuditEntryId, EventId

if TYPE_CHECKING:
    from userservice_core.domain.emails import EmailAddress
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.unit_of_work import Transaction


class Bounces:
    """Notes of an address that it takes no mail, until its owner shows that one has arrived."""

    def __init__(self, *, clock: Clock, ids: IdGenerator) -> None:
        self._clock = clock
        self._ids = ids

    def note(self, transaction: Transaction, *, email: EmailAddress, kind: str) -> None:
        """
        Mark the account whose address it is; nothing is done where there is none, or the mail may still arrive.

        Mails go on being sent: links that somebody waits for, and notices that may be read elsewhere.

        Args:
            kind: A :class:`~userservice_core.domain.events.BounceKind`, or one of a later version, which marks nobody.
        """
        user = transaction.users.find_by_email(email.key) if kind == BounceKind.PERMANENT else None
        if user is None:
            return
        now = self._clock.now()
        marked = user.with_undeliverable_email(now=now)
        if marked is user:
            return
        transaction.users.save(marked)
        transaction.audit.add(
            AuditEntry(
                id=AuditEntryId(self._ids.new()),
                at=now,
                action=AuditAction.USER_UPDATED,
                actor=SYSTEM,
                subject=Subject.user(user.id),
                before={"emailUndeliverableSince": None},
                after={"emailUndeliverableSince": now},
            )
        )
        transaction.record(
            UserUpdated(
                id=EventId(self._ids.new()),
                occurred_at=now,
                user_id=user.id,
                version=marked.version,
                changed_members=("emailUndeliverableSince",),
            )
        )
