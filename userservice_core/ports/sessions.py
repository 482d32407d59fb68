"""Where sessions live."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import attrs

from userservice_core.domain.ids import SessionId, UserId
from userservice_core.domain.sessions import Origin, Session
from userservice_core.domain.users import User


@attrs.frozen(kw_only=True)
class Rotation:
    """
    The one change a refresh makes.

    Attributes:
        generation: Of the token presented; the session moves to the next one.
        secret_hash: SHA-256 of the secret presented.
        next_hash: SHA-256 of its successor's secret.
    """

    user_id: UserId
    session_id: SessionId
    generation: int
    secret_hash: bytes = attrs.field(repr=False)
    next_hash: bytes = attrs.field(repr=False)
    now: datetime


@attrs.frozen(kw_only=True)
class SessionOfUser:
    """A session and the user it belongs to, read together."""

    session: Session
    user: User


class SessionStore(Protocol):
    """Sessions outside a transaction, always on the primary."""

    def rotate(self, rotation: Rotation) -> SessionOfUser | None:
        """
        Move the session to its next refresh token: one statement, one commit, one row, no event.

        Happens only if the token presented is the current one, the session is open and the user is live. The session
        may rest from now on as long as it might before: `expires_at` becomes now + (`expires_at` - `last_used_at`),
        capped by its absolute end.

        Returns:
            The session as it is now and its user; None where a condition does not hold, and then nothing changed.
        """
        ...

    def find(self, user_id: UserId, session_id: SessionId) -> SessionOfUser | None:
        """Return the session, ended ones included, or None."""
        ...

    def list_open(self, user_id: UserId, *, now: datetime) -> tuple[Session, ...]:
        """
        Return the user's sessions that can be used at *now*, most recently used first; nothing is locked.

        Raises:
            UserNotFoundError: If no user has this id.
        """
        ...


class SessionRepository(Protocol):
    """The sessions of one transaction. Whoever adds or ends sessions holds the user's sign-in lock."""

    def get(self, user_id: UserId, session_id: SessionId) -> Session:
        """
        Return the latest committed session and lock its row.

        Raises:
            SessionNotFoundError: If the user has no such session.
        """
        ...

    def list_open(self, user_id: UserId, *, now: datetime) -> tuple[Session, ...]:
        """Return the sessions that can be used at *now*, most recently used first."""
        ...

    def list_origins(self, user_id: UserId, *, limit: int) -> tuple[Origin, ...]:
        """Return where the latest sessions began, ended ones included, latest first; nothing is locked."""
        ...

    def add(self, session: Session) -> None:
        """Store a new session."""
        ...

    def save(self, session: Session) -> None:
        """Store that a session was ended, or that its user proved who they are again; nothing else is written."""
        ...
