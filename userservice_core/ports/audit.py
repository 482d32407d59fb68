"""The audit log: written with the change it tells of, and never changed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol
from uuid import UUID

import attrs

from userservice_core.domain.audit import AuditAction, AuditEntry, Outcome, SubjectKind
from userservice_core.domain.sessions import Origin

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId
    from userservice_core.domain.lists import Page, PageRequest


@attrs.frozen(kw_only=True)
class AuditRecord:
    """
    An entry as it was written.

    Attributes:
        entry: Without values where the details were erased.
        request_id: Of the call that did it, empty outside a request.
        origin: Where that call came from; empty where that was erased.
        is_erased: Whether the details were erased.
    """

    entry: AuditEntry
    request_id: str = ""
    origin: Origin = attrs.field(factory=Origin)
    is_erased: bool = False


@attrs.frozen(kw_only=True)
class AuditFilter:
    """
    Which entries are wanted; None takes all.

    Attributes:
        actor_id: Done by this user or client.
        actions: One of these.
        subject_kind: About something of this kind.
        subject_id: About this.
        own: Not what somebody else was refused to do to the subject.
        after: From this moment on.
        before: Earlier than this moment.
    """

    actor_id: UUID | None = None
    actions: tuple[AuditAction, ...] | None = None
    subject_kind: SubjectKind | None = None
    subject_id: UUID | None = None
    own: Literal[True] | None = None
    outcome: Outcome | None = None
    after: datetime | None = None
    before: datetime | None = None


class AuditLog(Protocol):
    """The log within a transaction."""

    def add(self, entry: AuditEntry) -> None:
        """
        Write *entry* with the request id and the origin of the present call, if and only if the transaction commits.

        Nobody can change or remove it afterwards. Details about a user who does not exist (any more) are not kept.

        Raises:
            AlreadyExistsError: At commit, if there is an entry of this id and time.
        """
        ...

    def erase_details(self, user_id: UserId) -> None:
        """
        Erase the values and origins of all entries about a user, and the origins of what they did to others.

        It takes effect after all else that the transaction writes, details of its own entries about the user included.
        """
        ...


AUDIT_SORTS: Final = ("at",)
"""What the log can be sorted by."""


class AuditReader(Protocol):
    """Reads the log on the primary. Safe to use from many threads."""

    def list_page(self, wanted: AuditFilter, request: PageRequest) -> Page[AuditRecord]:
        """
        Return a page of the log, sorted by one of :data:`AUDIT_SORTS`, in one statement.

        A second statement is needed for the total of a page past the last one, and where the total is an estimate.

        Raises:
            DeadlineExceededError: If the call's deadline passed.
        """
        ...
