"""What a user signs in with, and the state of their sign-ins, which is kept apart from the user."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import attrs

from userservice_core.domain.ids import UserId
from userservice_core.domain.users import User

LOCKED_FOR_GOOD: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of a lock that time does not end."""


@attrs.frozen(kw_only=True)
class Credential:
    """
    The stored form of a password.

    Attributes:
        password_hash: In PHC string format (``$argon2id$v=19$m=…``).
        changed_at: When the owner last chose a password; replacing an outdated hash of the same password keeps it.
        must_change: Whether the password was issued, not chosen, and has to be replaced before the first sign-in.
        former_hashes: Of the passwords before, the newest first; kept only where they are not to be used again.
    """

    user_id: UserId
    password_hash: str = attrs.field(repr=False)
    changed_at: datetime
    must_change: bool = False
    former_hashes: tuple[str, ...] = attrs.field(default=(), repr=False)


@attrs.frozen(kw_only=True)
class LoginState:
    """
    The outcome of recent sign-ins.

    Its row is apart from the user's so that strangers' failures neither contend for that row nor bump its version.
    It is also the lock that orders sign-ins against whatever ends sessions: both take it first.
    """

    user_id: UserId
    last_login_at: datetime | None = None
    failed_attempts: int = 0
    locked_until: datetime | None = None

    def failed(self) -> LoginState:
        """Count one wrong password."""
        return attrs.evolve(self, failed_attempts=self.failed_attempts + 1)

    def locked(self) -> LoginState:
        """Let nobody in by the password alone, until a known device signs in or a new one is chosen."""
        return attrs.evolve(self, locked_until=LOCKED_FOR_GOOD)

    def is_locked(self, *, now: datetime) -> bool:
        """Tell whether the password alone does not suffice."""
        return self.locked_until is not None and now < self.locked_until

    def unlocked(self) -> LoginState:
        """Forget the failures, and the lock that they brought."""
        return attrs.evolve(self, failed_attempts=0, locked_until=None)

    def signed_in(self, *, now: datetime) -> LoginState:
        """Record a sign-in; consecutive failures start again from zero."""
        return attrs.evolve(self, last_login_at=now, failed_attempts=0, locked_until=None)


@attrs.frozen(kw_only=True)
class SignIn:
    """All that deciding about a sign-in needs; `credential` is None for an account without a password."""

    user: User
    credential: Credential | None
    state: LoginState


@attrs.frozen
class UserOverview:
    """A user as administrators see them."""

    user: User
    state: LoginState
