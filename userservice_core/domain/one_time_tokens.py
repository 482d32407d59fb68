"""Mailed tokens: single use, bound to a purpose and to the address they were sent to, stored only as a hash."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import Final

import attrs

from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.ids import UserId


class TokenPurpose(enum.StrEnum):
    """What presenting the token does."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a name, and no password
    CHANGE_EMAIL = "change_email"
    UNDO_EMAIL_CHANGE = "undo_email_change"
    INVITE = "invite"
    """Does what a reset of the password does, for an account that has none yet."""
    RESTORE_ACCOUNT = "restore_account"
    REACTIVATE_ACCOUNT = "reactivate_account"
    MFA_CHALLENGE = "mfa_challenge"
    """Never mailed: whoever gave the right password holds it, until they give the second factor."""


KEPT_BESIDE_NEWER: Final = frozenset({TokenPurpose.UNDO_EMAIL_CHANGE})
"""
Purposes of which several tokens may be good at once.

They outlast what ends other tokens, too, apart from what ends the use of the account: whoever took it over could
otherwise be rid of them by changing the address or the password once more.
"""

CHOOSE_PASSWORD: Final = frozenset({TokenPurpose.RESET_PASSWORD, TokenPurpose.INVITE})
"""Purposes that let the owner of the account choose a password."""

LIFETIMES: dict[TokenPurpose, timedelta] = {
    TokenPurpose.VERIFY_EMAIL: timedelta(hours=24),
    TokenPurpose.RESET_PASSWORD: timedelta(hours=1),
    TokenPurpose.CHANGE_EMAIL: timedelta(hours=24),
    TokenPurpose.UNDO_EMAIL_CHANGE: timedelta(days=7),
    TokenPurpose.INVITE: timedelta(hours=72),
    TokenPurpose.RESTORE_ACCOUNT: timedelta(days=30),
    TokenPurpose.REACTIVATE_ACCOUNT: timedelta(hours=24),
    TokenPurpose.MFA_CHALLENGE: timedelta(minutes=5),
}


@attrs.frozen(kw_only=True)
class OneTimeToken:
    """
    The stored half of a mailed token.

    Attributes:
        digest: SHA-256 of the token, 32 bytes.
        email_key: Key of the address it was sent to; the token ends when the user's address changes.
        address: That address as it was written, None where it was not kept.
        used_at: When it was used up, or ended by a newer one of its purpose.
        failures: Wrong codes that were given with it, where it takes one.
    """

    digest: bytes = attrs.field(repr=False)
    user_id: UserId
    email_key: str
    purpose: TokenPurpose
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    address: str | None = None
    failures: int = 0

    @classmethod
    def issue(
        cls,
        *,
        digest: bytes,
        user_id: UserId,
        email_key: str,
        purpose: TokenPurpose,
        now: datetime,
        address: str | None = None,
    ) -> OneTimeToken:
        """Make a token that is good from *now* for the lifetime of its purpose."""
        return cls(
            digest=digest,
            user_id=user_id,
            email_key=email_key,
            address=address,
            purpose=purpose,
            created_at=now,
            expires_at=now + LIFETIMES[purpose],
        )

    def is_good_for(self, purpose: TokenPurpose, *, email_key: str, now: datetime) -> bool:
        """Tell whether the token can be used for *purpose* by the holder of the address at *now*."""
        return (self.purpose, self.email_key) == (purpose, email_key) and self.is_open(now=now)

    def is_open(self, *, now: datetime) -> bool:
        """Tell whether the token can be used at all at *now*."""
        return self.used_at is None and now < self.expires_at

    @property
    def email(self) -> EmailAddress:
        """The address that it was sent to."""
        return EmailAddress(self.address or self.email_key, self.email_key)

    def used(self, *, now: datetime) -> OneTimeToken:
        """Use the token up."""
        return attrs.evolve(self, used_at=now)

    def failed(self, *, now: datetime, allowed: int) -> OneTimeToken:
        """Count a wrong code that was given with it; the last of so many that are *allowed* uses it up."""
        failures = self.failures + 1
        return attrs.evolve(self, failures=failures, used_at=now if failures >= allowed else None)
