"""Reading the audit log: all of it for those who may, and for each user what concerns their own account."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.domain.audit import Actor, ActorKind, AuditAction, Outcome, SubjectKind
from userservice_core.domain.ids import AuditEntryId
from userservice_core.domain.sessions import Origin
from userservice_core.ports.audit import AuditFilter

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId
    from userservice_core.domain.lists import Page, PageRequest
    from userservice_core.ports.audit import AuditReader, AuditRecord

OWN_ACTIONS: Final = tuple(action for action in AuditAction if action.value.startswith(("auth.", "user.")))
"""What a user's own activity consists of: all that is done to accounts, and to their sessions."""


class Doer(enum.StrEnum):
    """Who did something to an account, as its owner is told: others remain unnamed."""

    YOU = "you"
    ADMINISTRATOR = "administrator"
    CLIENT = "client"
    SYSTEM = "system"
    ANONYMOUS = "anonymous"


@attrs.frozen(kw_only=True)
class Activity:
    """
    Something that happened to one's own account.

    Attributes:
        reason: Code of what refused it; None for what succeeded.
        changed: Names of what changed.
        origin: Where the owner, or somebody who did not show who they are, did it from; empty for what others did.
    """

    id: AuditEntryId
    at: datetime
    action: str
    by: Doer
    outcome: Outcome
    reason: str | None
    changed: tuple[str, ...]
    origin: Origin

    @classmethod
    def of(cls, record: AuditRecord, *, user_id: UserId) -> Activity:
        """Leave out of *record* what its subject, the user, must not see of others."""
        entry = record.entry
        by = _doer(entry.actor, user_id)
        return cls(
            id=entry.id,
            at=entry.at,
            action=entry.action,
            by=by,
            outcome=entry.outcome,
            reason=entry.reason,
            changed=entry.changed,
            origin=record.origin if by in {Doer.YOU, Doer.ANONYMOUS} else Origin(),
        )


class AuditTrail:
    """Nobody changes the log here; use cases write into it."""

    def __init__(self, *, log: AuditReader) -> None:
        self._log = log

    def list_page(self, *, wanted: AuditFilter, request: PageRequest) -> Page[AuditRecord]:
        """Return a page of the log, by time."""
        return self._log.list_page(wanted, request)

    def activity(self, *, user_id: UserId, request: PageRequest) -> Page[Activity]:
        """
        Return a page of what happened to a user's account, by time.

        What others tried to do to it and were refused did not happen to it, and is not shown.
        """
        wanted = own_activity(user_id)
        return self._log.list_page(wanted, request).showing(lambda record: Activity.of(record, user_id=user_id))


def own_activity(user_id: UserId) -> AuditFilter:
    """Return what selects a user's own activity."""
    return AuditFilter(subject_kind=SubjectKind.USER, subject_id=user_id, actions=OWN_ACTIONS, own=True)


def _doer(actor: Actor, user_id: UserId) -> Doer:
    match actor.kind:
        case ActorKind.USER:
            return Doer.YOU if actor.id == user_id else Doer.ADMINISTRATOR
        case ActorKind.CLIENT:
            return Doer.CLIENT
        case ActorKind.SYSTEM:
            return Doer.SYSTEM
        case ActorKind.ANONYMOUS:
            return Doer.ANONYMOUS
