"""Ending a session: its row, and its access tokens everywhere."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from userservice_core.domain.events import SessionRevoked
from userservice_core.domain.revocations import Revocation, RevocationKind

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.ids import EventId
    from userservice_core.domain.sessions import Session
    from userservice_core.ports.unit_of_work import Transaction

LEEWAY: Final = timedelta(seconds=30)
"""Clock skew that verifiers allow; a revocation outlives the tokens it concerns by this much."""


def end_session(transaction: Transaction, session: Session, *, now: datetime, access_lifetime: timedelta) -> None:
    """
    End one session and refuse its access tokens everywhere; the caller holds the user's sign-in lock.

    By session and not by user: a token says in whole seconds when it was issued, so revoking a user's tokens issued
    before now would also refuse one issued later in the same second.
    """
    transaction.sessions.save(session.revoked(now=now))
    transaction.revocations.add(
        Revocation(
            kind=RevocationKind.SESSION,
            subject=str(session.id),
            not_before=now,
            expires_at=now + access_lifetime + LEEWAY,
        )
    )


def revoke_session(
    transaction: Transaction,
    session: Session,
    *,
    reason: str,
    event_id: EventId,
    now: datetime,
    access_lifetime: timedelta,
) -> None:
    """End one session as :func:`end_session` does, and tell of it: for any end but the sign-out of its owner."""
    end_session(transaction, session, now=now, access_lifetime=access_lifetime)
    transaction.record(
        SessionRevoked(id=event_id, occurred_at=now, user_id=session.user_id, session_id=session.id, reason=reason)
    )
