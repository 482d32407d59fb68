"""Where the answers of calls that carry a key are kept, in the transactions of what they did."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import attrs

from userservice_core.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


@attrs.frozen(kw_only=True)
class CallId:
    """
    What a key names.

    Attributes:
        owner_id: Whose call it is; for calls of nobody in particular an id made of the key, so that rows spread.
        digest: SHA-256 of the key and of what it is for.
    """

    owner_id: UUID
    digest: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Claim:
    """
    A call that is to take effect once.

    Attributes:
        now: What has expired by then counts as absent.
        expires_at: Until when its answer is kept.
    """

    call_id: CallId
    now: datetime
    expires_at: datetime


class AnsweredBeforeError(Exception):
    """
    The call took effect before: within its transaction the committed answer was found.

    Not one of the service's errors, so that no use case takes it for a refusal.

    Attributes:
        answer: As it was kept.
    """

    def __init__(self, answer: str) -> None:
        super().__init__("The call was answered before.")
        self.answer = answer


class UndoneError(DatabaseUnavailableError):
    """Nothing of the call remains, through no fault of its own: at once, it may succeed."""


class JoinedTransaction(Protocol):
    """The one transaction of a call."""

    def keep(self, answer: str) -> None:
        """Store *answer* with the commit; without any, the next call with the key begins anew."""
        ...


class JoiningUnitOfWork(Protocol):
    """Makes one transaction of all that a call runs. Safe to use from many threads."""

    def joined(self, claim: Claim) -> AbstractContextManager[JoinedTransaction]:
        """
        Make one transaction of all that :meth:`UnitOfWork.run` runs in this thread within the block.

        The first one takes *claim* before anything else. Each is sent when it is run, so whatever rule it breaks is
        told there, and what it did alone is undone; all are committed at the end of the block. If the block raises,
        nothing of them is. A block that runs none and keeps an answer has a transaction for that alone.

        Between the first transaction and the end of the block, whatever this thread reads is read as the call has left
        it so far, and is provisional (:func:`~userservice_core.ports.context.reads_are_provisional`). Nothing is
        written then but by transactions.

        Raises:
            AnsweredBeforeError: From the first transaction, or the end of the block, if the claim has an answer.
            IdempotencyKeyInUseError: From there too, if another call holds the claim for longer than could be waited.
            OutcomeUnknownError: From the end of the block, as from :meth:`UnitOfWork.run`.
            UndoneError: If the server rolled it back, as after a deadlock, or the connection broke before the commit;
                a moment has passed, in which whoever was in the way may have ended.
            DatabaseUnavailableError: As from :meth:`UnitOfWork.run`.
        """
        ...


class AnswerStore(Protocol):
    """Reads and drops answers, on the primary."""

    def find(self, call_id: CallId, *, now: datetime) -> str | None:
        """Return the answer that is committed and has not expired, or None."""
        ...

    def remove_expired(self, *, now: datetime, limit: int) -> int:
        """Drop at most *limit* answers that have expired, the oldest first, and return how many; waits for nobody."""
        ...
