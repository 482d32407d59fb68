"""Who is let in: decided by the wait that is to be expected, as it is measured, and not by how many are waiting."""

from __future__ import annotations

from typing import Final

from userservice_core.errors import OverloadedError

WEIGHT_OF_THE_LAST: Final = 1 / 8
"""Of the last piece of work in the moving mean: what Jacobson and Karels took for round trips (RFC 6298 section 2)."""

_WEIGHT_IN_WHAT_IS_USUAL: Final = 1 / 64

ADMITTED_SHARE: Final = 0.75
"""
Of the longest wait up to which somebody is let in.

The rest is for what the estimate is wrong by: who was let in and waits longer than promised is refused late.
"""

LONGEST_RETRY_SECONDS: Final = 30.0
"""What is told at the most; whoever is told that comes between half of it and all of it."""

_GOLDEN_RATIO: Final = 0.618_033_988_749_895

PACE_OF_RETURNS: Final = 0.9
"""Of the time that a piece of work takes: a few more are told to come than there is time for, so that none is idle."""


class Admission:
    """
    The arithmetic of one queue in front of some threads; whoever uses it has one lock around all calls.

    - Nobody waits while a thread is free, so whoever comes then is let in.
    - Else the wait to be expected is that of those in front and one more, at the mean of the last ones' time; past its
      bound, or past so many waiting, whoever comes is refused.
    - Whose turn comes after the bound is refused as well: they were let in by a mean that did not hold, and a queue
      that stands serves everybody too late (RFC 8289, section 3). A burst that is over in time is let through.
    - While all threads have been busy for longer than the bound with none of them done, no mean says anything, and all
      are refused.

    Whoever is refused is told when it will be their turn if those who were refused before come in turn, too.
    """

    def __init__(self, *, threads: int, queue: int, longest_wait_seconds: float) -> None:
        """Begin with nobody there; *longest_wait_seconds* is the bound."""
        self._threads = threads
        self._queue = queue
        self._longest_wait_seconds = longest_wait_seconds
        self._spread = 0.0
        self._at_work = 0
        self._waiting = 0
        self._work_seconds = 0.0
        self._usual_seconds = 0.0
        self._moved_at = 0.0
        self._returns_until = 0.0

    def expected_wait_seconds(self) -> float:
        """Return how long whoever comes now is going to wait."""
        if self._at_work + self._waiting < self._threads:
            return 0.0
        return (self._waiting + 1) * self._work_seconds / self._threads

    def come(self, now: float) -> None:
        """
        Let somebody in to wait, whom :meth:`begin` or :meth:`leave` is called for later.

        Raises:
            OverloadedError: If they would wait for too long, or too many do.
        """
        if self._at_work + self._waiting < self._threads:
            self._waiting += 1
            return
        is_full = self._at_work + self._waiting >= self._threads + self._queue
        is_slow = self.expected_wait_seconds() > ADMITTED_SHARE * self._longest_wait_seconds
        stands = self._at_work >= self._threads and now - self._moved_at > self._longest_wait_seconds
        if is_full or is_slow or stands:
            raise self.refusal(now)
        self._waiting += 1

    def begin(self, now: float, *, since: float) -> None:
        """
        Take somebody from among those waiting, who came at *since*; :meth:`end` is called for them later.

        Raises:
            OverloadedError: If they have waited for too long; they are gone then.
        """
        self._waiting -= 1
        if self.is_late(now, since=since):
            raise self.refusal(now)
        self._at_work += 1
        self._moved_at = now

    def end(self, now: float, *, began: float) -> None:
        """Learn from a piece of work that is done."""
        self._at_work -= 1
        self._moved_at = now
        taken = max(now - began, 0.0)
        if self._work_seconds == 0.0:
            self._work_seconds = self._usual_seconds = taken
        else:
            self._work_seconds += WEIGHT_OF_THE_LAST * (taken - self._work_seconds)
            self._usual_seconds += _WEIGHT_IN_WHAT_IS_USUAL * (taken - self._usual_seconds)

    def leave(self) -> None:
        """Take away somebody who does not wait any longer."""
        self._waiting -= 1

    def is_late(self, now: float, *, since: float) -> bool:
        """Tell whether who came at *since* is not to be served any more."""
        return now - since > self._longest_wait_seconds

    def refusal(self, now: float) -> OverloadedError:
        """Return what somebody is refused with, which tells them when to come back."""
        # To take in a great many at once slows the work down for that moment, in which they are told when to come back.
        step = PACE_OF_RETURNS * min(self._work_seconds, self._usual_seconds) / self._threads
        earliest = now + self.expected_wait_seconds()
        latest = now + LONGEST_RETRY_SECONDS
        self._returns_until = max(self._returns_until, earliest) + step
        if self._returns_until > latest:
            self._returns_until = latest
            seconds = LONGEST_RETRY_SECONDS * (1 - self._next_of_spread() / 2)
        else:
            seconds = self._returns_until - now
        # Whole seconds are all that the header can tell: rounded up or down in turn, they are right on the average.
        return OverloadedError(retry_after_seconds=max(1, int(seconds + self._next_of_spread())))

    def _next_of_spread(self) -> float:
        """Return a number of [0, 1), each far from the last ones (Weyl 1916), for what many are not to do at once."""
        self._spread = (self._spread + _GOLDEN_RATIO) % 1
        return self._spread
