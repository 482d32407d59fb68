"""The audit log: written with the change it tells of, and never changed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import attrs

from userservice_core.domain.audit import AuditAction, AuditEntry, Outcome, Subject
from userservice_core.domain.sessions import Origin

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId


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

    @property
    def position(self) -> AuditPosition:
        """Where the record stands in the log."""
        return AuditPosition(self.entry.at, self.entry.id)


@attrs.frozen(order=True)
class AuditPosition:
    """A place in the log: entries are in the order of their times, and those of one time in the order of their ids."""

    at: datetime
    id: UUID


@attrs.frozen(kw_only=True)
class AuditFilter:
    """
    Which entries are wanted; None takes all.

    Attributes:
        actor_id: Done by this user or client.
        actions: One of these.
        subject: About this.
        after: From this moment on.
        before: Earlier than this moment.
    """

    actor_id: UUID | None = None
    actions: tuple[AuditAction, ...] | None = None
    subject: Subject | None = None
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


class AuditReader(Protocol):
    """Reads the log, each question in one statement on the primary. Safe to use from many threads."""

    def read(
        self,
        wanted: AuditFilter,
        *,
        limit: int,
        beyond: AuditPosition | None = None,
        oldest_first: bool = False,
    ) -> tuple[AuditRecord, ...]:
        """
        Return entries, the newest first unless *oldest_first*.

        Args:
            wanted: Which.
            limit: How many at most.
            beyond: Only what follows this position in the order asked for.
            oldest_first: Whether to begin at the other end.

        Raises:
            DeadlineExceededError: If the call's deadline passed.
        """
        ...
