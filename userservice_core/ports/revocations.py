"""Where it is written what every process must forget, and how a process knows."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import attrs

from userservice_core.domain.revocations import Revocation

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.domain.ids import ClientId, SessionId, UserId


@attrs.frozen(kw_only=True)
class RevocationBatch:
    """
    What one read of the log saw.

    Attributes:
        revocations: In the order they were written.
        read_at: The database's clock at the read; the next read starts from here, less an overlap.
    """

    revocations: tuple[Revocation, ...]
    read_at: datetime


class RevocationWriter(Protocol):
    """The revocations of one transaction."""

    def add(self, revocation: Revocation) -> None:
        """Write *revocation*; after commit every process learns of it within the promised bounds."""
        ...


class RevocationLog(Protocol):
    """Reads revocations from the primary."""

    def read_since(self, since: datetime | None) -> RevocationBatch:
        """
        Return what was written at or after *since* by the database's clock and has not expired; None: everything.

        A row carries the time its transaction began, so a reader goes back by more than the longest transaction.
        """
        ...

    def is_revoked(
        self,
        *,
        user_id: UserId | None,
        session_id: SessionId | None,
        key_id: str,
        issued_at: datetime,
        client_id: ClientId | None = None,
    ) -> bool:
        """
        Ask the primary about one token: whether it, its user or client, its key or its session was revoked.

        The token of a client names no user, and counts as a session of its own, whose id is the token's.
        """
        ...


class RevocationChecker(Protocol):
    """Tells whether a verified token still stands; mirrors the log in the process's memory. Safe for many threads."""

    def is_revoked(
        self,
        *,
        user_id: UserId | None,
        session_id: SessionId | None,
        key_id: str,
        issued_at: datetime,
        client_id: ClientId | None = None,
    ) -> bool:
        """
        Tell whether the token was revoked; may ask the primary where the mirror is too old to trust.

        Raises:
            RevocationsUnknownError: If the mirror is too old and the primary does not answer.
        """
        ...

    def peek(
        self,
        *,
        user_id: UserId | None,
        session_id: SessionId | None,
        key_id: str,
        issued_at: datetime,
        client_id: ClientId | None = None,
    ) -> bool | None:
        """Tell the same from memory alone, without blocking; None where the mirror is too old to trust."""
        ...

    def is_current(self) -> bool:
        """
        Tell whether caches hear of what they have to forget; never blocks.

        False where the mirror is too old to trust: then nothing cached says what anybody may do.
        """
        ...


class Signal(Protocol):
    """
    Wakes other processes early.

    Losing a signal costs time, never correctness: whoever listens also polls.
    """

    def notify(self, channel: str) -> None:
        """Wake the listeners of *channel*; returns at once, never raises, and calls close together count as one."""
        ...

    def listen(self, channel: str, callback: Callable[[], None]) -> Callable[[], None]:
        """
        Call *callback*, from another thread, soon after each notification; it must return quickly.

        Returns:
            A function that ends the subscription.
        """
        ...


OUTBOX_CHANNEL = "userservice_outbox"
REVOCATIONS_CHANNEL = "userservice_revocations"
