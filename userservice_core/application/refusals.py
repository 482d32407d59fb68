"""What somebody tried who may not; nothing was changed, so it is written by itself."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from userservice_core.domain.audit import AuditEntry, Outcome
from userservice_core.domain.ids import AuditEntryId

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.audit import Actor, AuditAction, Subject
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.unit_of_work import UnitOfWork

QUIET_PERIOD: Final = timedelta(minutes=1)
"""For how long no second refusal of one caller and operation is written."""
MAX_REMEMBERED: Final = 10_000
"""Pairs of caller and operation; the one that was written the longest ago is forgotten first."""


class Refusals:
    """Writes refusals into the audit log, and not so many that a caller could fill it. Safe for many threads."""

    def __init__(self, *, uow: UnitOfWork, clock: Clock, ids: IdGenerator, metrics: Metrics) -> None:
        self._uow = uow
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._written: OrderedDict[tuple[Actor, str], datetime] = OrderedDict()
        self._lock = threading.Lock()

    def record(
        self, *, actor: Actor, operation: str, action: AuditAction, subject: Subject | None, reason: str
    ) -> None:
        """
        Write that *actor* was refused, unless this process wrote that of the same operation a moment ago.

        Args:
            actor: Who tried.
            operation: What they called.
            action: What it would have done.
            subject: To what.
            reason: Code of the error that they were answered with.

        Raises:
            UserServiceError: If it could not be written; it is tried again at the next refusal.
        """
        now = self._clock.now()
        pair = (actor, operation)
        if not self._is_due(pair, now):
            self._metrics.count("audit_refusal", outcome="skipped")
            return
        entry = AuditEntry(
            id=AuditEntryId(self._ids.new()),
            at=now,
            action=action,
            actor=actor,
            subject=subject,
            outcome=Outcome.REFUSED,
            reason=reason,
            after={"operation": operation},
            changed=(),
        )
        try:
            self._uow.run(lambda transaction: transaction.audit.add(entry))
        except Exception:
            with self._lock:
                self._written.pop(pair, None)
            raise
        self._metrics.count("audit_refusal", outcome="written")

    def _is_due(self, pair: tuple[Actor, str], now: datetime) -> bool:
        """Tell whether the pair's turn has come, and take it."""
        with self._lock:
            last = self._written.get(pair)
            if last is not None and now - last < QUIET_PERIOD:
                return False
            self._written[pair] = now
            self._written.move_to_end(pair)
            if len(self._written) > MAX_REMEMBERED:
                self._written.popitem(last=False)
            return True
