"""Rows that are of no use any more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from datetime import datetime

TOKENS_KEPT_FOR: Final = timedelta(days=7)
"""How long a mailed token is kept after its end, so that opening its link again tells the truth."""

REVOCATIONS_KEPT_FOR: Final = timedelta(hours=1)
"""How long a revocation is kept after the last token it concerns has expired: room for clocks that differ."""


class PurgeLease(Protocol):
    """
    Says who purges, so that instances do not all look for the same rows at once.

    It is a courtesy and no lock: a holder that froze goes on beside the next one, and what they do is safe for that.
    Times are the database's. Safe to be called by several processes at once.
    """

    def take(self, *, holder: str, seconds: float, rest_seconds: float = 0.0) -> bool:
        """
        Hold the lease for *seconds* from now, also where *holder* holds it already.

        Returns:
            False where somebody else holds it, or where nobody does and a whole run ended less than *rest_seconds* ago.
        """
        ...

    def give_back(self, *, holder: str, is_done: bool) -> None:
        """End holding the lease, if *holder* does; *is_done* notes that a whole run has ended now."""
        ...


class ExpiredRows(Protocol):
    """Removes what has expired. Safe to be called by several processes at once; rows that others hold are left out."""

    def make_room(self) -> int:
        """
        Make the partitions that the coming months of the audit log go into, where there are partitions.

        Returns:
            How many were made; 0 when they are there, or somebody else is about it.
        """
        ...

    def remove_some(self, *, now: datetime, limit: int) -> int:
        """
        Remove expired sessions, mailed tokens and revocations, and counters of tries, at most *limit* of each kind.

        A session goes when it has reached its absolute end, whether it was ended before or not; a mailed token
        :data:`TOKENS_KEPT_FOR` after its end, and a revocation :data:`REVOCATIONS_KEPT_FOR` after its end.

        Returns:
            How many were removed; 0 when nothing is left to do.
        """
        ...

    def forget_passwords(self, *, remembered: int, limit: int) -> int:
        """
        Drop the hashes of former passwords past the newest *remembered* of an account, of at most *limit* accounts.

        Returns:
            Of how many accounts; 0 when nothing is left to do.
        """
        ...
