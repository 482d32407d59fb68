"""This process's copy of the revocations, and what it does when the copy may be out of date."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import structlog

from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.errors import RevocationsUnknownError, UserServiceError
from userservice_core.ports.context import deadline_after
from userservice_core.ports.revocations import REVOCATIONS_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from userservice_core.domain.ids import ClientId, SessionId, UserId
    from userservice_core.ports.clock import Clock
    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.revocations import RevocationLog, Signal

_log = structlog.get_logger("userservice.revocations")

POLL_SECONDS = 1.0
MAX_AGE_SECONDS = 5.0
OVERLAP = timedelta(seconds=30)
"""How far back each read reaches: longer than the longest transaction, whose rows appear with the time it began."""

_READ_TIMEOUT_SECONDS = 2.0
_LEAST_PAUSE_SECONDS = 0.01
"""Between two reads, however often the reader is woken: a burst of revocations is read in a few strides."""

_PAUSE_OF_A_READ = 10
"""
How much longer than a read the pause after it is. Each read returns all that the overlap holds: where many end at once,
reading that as often as there is something new would take more of the processor than what ends them.
"""

_MOST_PAUSE_SECONDS = 0.2

_CLOCK_MARGIN = timedelta(minutes=1)
"""Rows expire by the database's clock; this machine's may be ahead of it."""

_KINDS_OF_CACHES = frozenset({RevocationKind.ROLE_MAP, RevocationKind.USER_ACCESS, RevocationKind.SETTINGS})


class RevocationMirror:
    """
    Implements :class:`~userservice_core.ports.revocations.RevocationChecker` by a mirror of the log.

    One thread reads the log at least each second, and at once when it is notified. While the last good read is younger
    than five seconds, memory decides; after that the primary is asked about each token.
    """

    def __init__(
        self,
        log: RevocationLog,
        signal: Signal | None,
        clock: Clock,
        *,
        on_revocation: Callable[[Revocation], None],
        on_gap: Callable[[], None],
        metrics: Metrics | None = None,
        poll_seconds: float = POLL_SECONDS,
        max_age_seconds: float = MAX_AGE_SECONDS,
    ) -> None:
        """
        Prepare; nothing is read before :meth:`start`.

        Args:
            log: Where revocations are written.
            signal: Wakes the reader early; None to only poll.
            clock: For forgetting what has expired.
            on_revocation: Told once of each row that others than the mirror act on: of roles, of a user's access, of
                settings, of a key. One that raises is told again with the next read.
            on_gap: Told after the log could not be read for longer than the mirror may be old.
            metrics: Counts reads that failed, and gaps.
            poll_seconds: Between two reads.
            max_age_seconds: Since the last good read, after which memory is not trusted.
        """
        self._log = log
        self._signal = signal
        self._clock = clock
        self._on_revocation = on_revocation
        self._on_gap = on_gap
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._max_age_seconds = max_age_seconds
        # One thread writes; a look-up of another one is a single step, so it needs no lock.
        self._revoked: dict[tuple[RevocationKind, str], Revocation] = {}
        self._forwarded: dict[tuple[RevocationKind, str], Revocation] = {}
        self._read_at: datetime | None = None
        self._good_until = float("-inf")
        self._failing = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="userservice-revocations", daemon=True)
        self._unlisten: Callable[[], None] | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the log was read at least once."""
        return self._read_at is not None

    def start(self) -> None:
        """Begin to read; returns at once."""
        if self._signal is not None:
            self._unlisten = self._signal.listen(REVOCATIONS_CHANNEL, self._wake.set)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._wake.set()
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        if self._thread.is_alive():
            self._thread.join()

    def is_revoked(
        self,
        *,
        user_id: UserId | None,
        session_id: SessionId | None,
        key_id: str,
        issued_at: datetime,
        client_id: ClientId | None = None,
    ) -> bool:
        known = self.peek(
            user_id=user_id, session_id=session_id, key_id=key_id, issued_at=issued_at, client_id=client_id
        )
        if known is not None:
            return known
        try:
            return self._log.is_revoked(
                user_id=user_id, session_id=session_id, key_id=key_id, issued_at=issued_at, client_id=client_id
            )
        except UserServiceError as error:
            raise RevocationsUnknownError from error

    def peek(
        self,
        *,
        user_id: UserId | None,
        session_id: SessionId | None,
        key_id: str,
        issued_at: datetime,
        client_id: ClientId | None = None,
    ) -> bool | None:
        if not self.is_current():
            return None
        revoked = self._revoked
        if (RevocationKind.SESSION, str(session_id)) in revoked or (RevocationKind.KEY, key_id) in revoked:
            return True
        if client_id is None:
            of_subject = revoked.get((RevocationKind.USER, str(user_id)))
        else:
            of_subject = revoked.get((RevocationKind.CLIENT, str(client_id)))
        return of_subject is not None and issued_at < of_subject.not_before

    def is_current(self) -> bool:
        return time.monotonic() <= self._good_until

    def _run(self) -> None:
        next_read_at = 0.0
        while not self._stop.wait(max(0.0, next_read_at - time.monotonic())):
            self._wake.clear()
            began = time.monotonic()
            try:
                self._read()
            except Exception as error:  # noqa: BLE001 - a reader that ended would leave the process without revocations
                self._note_failure(error)
            ended = time.monotonic()
            pause = max(_LEAST_PAUSE_SECONDS, _PAUSE_OF_A_READ * (ended - began))
            next_read_at = ended + min(pause, _MOST_PAUSE_SECONDS)
            # Not read yet: the process is not ready, so it tries again soon.
            self._wake.wait(self._poll_seconds if self.is_loaded else self._poll_seconds / 20)

    def _read(self) -> None:
        began = time.monotonic()
        # After a failure everything is read again: the next primary's clock need not agree with the last one's.
        since = None if self._read_at is None or self._failing else self._read_at - OVERLAP
        with deadline_after(_READ_TIMEOUT_SECONDS):
            batch = self._log.read_since(since)
        if self.is_loaded and began > self._good_until:
            self._on_gap()
            self._count("gap")
        for revocation in batch.revocations:
            self._take(revocation)
        for known in (self._revoked, self._forwarded):
            self._forget_expired(known)
        self._read_at = batch.read_at
        # What was committed before the read began is in it, so the age counts from there.
        self._good_until = began + self._max_age_seconds
        if self._failing:
            self._failing = False
            _log.info("revocations are read again")

    def _count(self, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.count("revocations_read", outcome=outcome)

    def _note_failure(self, error: Exception) -> None:
        self._count("failed")
        if not self._failing:
            self._failing = True
            _log.warning(
                "revocations cannot be read", error=error.code if isinstance(error, UserServiceError) else repr(error)
            )

    def _take(self, revocation: Revocation) -> None:
        key = (revocation.kind, revocation.subject)
        if revocation.kind in _KINDS_OF_CACHES or revocation.kind is RevocationKind.KEY:
            told = self._forwarded.get(key)
            if told is None or told.version < revocation.version:
                self._on_revocation(revocation)
            self._forwarded[key] = _merged(told, revocation)
        if revocation.kind not in _KINDS_OF_CACHES:
            self._revoked[key] = _merged(self._revoked.get(key), revocation)

    def _forget_expired(self, known: dict[tuple[RevocationKind, str], Revocation]) -> None:
        now = self._clock.now() - _CLOCK_MARGIN
        for key in [key for key, revocation in known.items() if revocation.expires_at <= now]:
            del known[key]


def _merged(before: Revocation | None, after: Revocation) -> Revocation:
    """Return what forbids as much as both do, for as long as either does."""
    if before is None:
        return after
    return attrs.evolve(
        after,
        not_before=max(before.not_before, after.not_before),
        version=max(before.version, after.version),
        expires_at=max(before.expires_at, after.expires_at),
    )


class PrimaryRevocationChecker:
    """
    Implements :class:`~userservice_core.ports.revocations.RevocationChecker` by asking the primary each time.

    For platforms that freeze a process between requests: a mirror would be out of date at each thaw.
    """

    def __init__(self, log: RevocationLog) -> None:
        self._log = log

    def is_revoked(
        self,
        *,
        user_id: UserId | None,
        session_id: SessionId | None,
        key_id: str,
        issued_at: datetime,
        client_id: ClientId | None = None,
    ) -> bool:
        try:
            return self._log.is_revoked(
                user_id=user_id, session_id=session_id, key_id=key_id, issued_at=issued_at, client_id=client_id
            )
        except UserServiceError as error:
            raise RevocationsUnknownError from error

    def peek(
        self,
        *,
        user_id: UserId | None,
        session_id: SessionId | None,
        key_id: str,
        issued_at: datetime,
        client_id: ClientId | None = None,
    ) -> bool | None:
        del user_id, session_id, key_id, issued_at, client_id
        return None

    def is_current(self) -> bool:
        # There is no copy that could be out of date; whoever caches beside it is told by other means, or does not.
        return True
