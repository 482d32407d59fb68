"""The second factor: one-time passwords of an authenticator (RFC 6238), and codes for whoever has lost it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

import attrs

from userservice_core.domain.ids import UserId
from userservice_core.errors import Fault

SETUP_LIFETIME: Final = timedelta(minutes=15)
"""How long a secret that was shown may wait for the first code made with it."""

MAX_WRONG_CODES: Final = 10
WRONG_CODES_WINDOW: Final = timedelta(hours=1)
"""So many wrong codes, in so long, may be tried for one user, wherever they are asked for."""

MAX_CHALLENGE_TRIES: Final = 5
"""So many wrong codes end the sign-in that waits for one."""

RECOVERY_CODES: Final = 10
RECOVERY_CODE_BYTES: Final = 15
"""24 characters in base32; from 112 bits on a plain digest would do (NIST SP 800-63B-3 §5.1.2.2)."""

AMR_OF_TOTP: Final = ("pwd", "otp", "mfa")
AMR_OF_RECOVERY_CODE: Final = ("pwd", "mfa")
"""How a user has shown who they are (RFC 8176 §2); a recovery code is no password of one time by that list."""

WRONG_CODE: Final = Fault(
    ("code",), "wrong-code", "The code is wrong, or its time is over; compare the clocks, and take the next one."
)

_CODE: Final = re.compile(r"[0-9]{6}")
_NOT_OF_CODES: Final = re.compile(r"[\s-]")


@attrs.frozen(kw_only=True)
class MfaFactor:
    """
    The authenticator of a user.

    Attributes:
        sealed_secret: What its one-time passwords are made of, and the key of the recovery codes' digests; sealed.
        created_at: When the secret was shown.
        confirmed_at: When the first code made with it was given; it counts as a factor from then on.
        last_step: Number of the time step (RFC 6238 §4.2) whose code was accepted last; no earlier one is.
        failed_at: When wrong codes were given within the last :data:`WRONG_CODES_WINDOW`, the oldest first.
    """

    user_id: UserId
    sealed_secret: str = attrs.field(repr=False)
    created_at: datetime
    confirmed_at: datetime | None = None
    last_step: int | None = None
    failed_at: tuple[datetime, ...] = ()

    @property
    def is_on(self) -> bool:
        """Whether signing in takes it."""
        return self.confirmed_at is not None

    def may_be_confirmed(self, *, now: datetime) -> bool:
        """Tell whether a code made with the secret would turn it on."""
        return not self.is_on and now < self.created_at + SETUP_LIFETIME

    def closed_until(self, *, now: datetime) -> datetime | None:
        """Return when a code may be tried again; None where one may be at once."""
        recent = self._recent_failures(now)
        return None if len(recent) < MAX_WRONG_CODES else recent[-MAX_WRONG_CODES] + WRONG_CODES_WINDOW

    def failed(self, *, now: datetime) -> MfaFactor:
        """Count a wrong code."""
        return attrs.evolve(self, failed_at=(*self._recent_failures(now), now))

    def passed(self, *, step: int) -> MfaFactor:
        """Use up the code of a time step, and of those before it."""
        return attrs.evolve(self, last_step=step)

    def confirmed(self, *, now: datetime) -> MfaFactor:
        """Turn it on."""
        return attrs.evolve(self, confirmed_at=now)

    def _recent_failures(self, now: datetime) -> tuple[datetime, ...]:
        return tuple(at for at in self.failed_at if at > now - WRONG_CODES_WINDOW)


@attrs.frozen(kw_only=True)
class RecoveryCode:
    """
    The stored half of a code that stands for the authenticator once.

    Attributes:
        digest: HMAC-SHA-256 of the code, 32 bytes.
    """

    user_id: UserId
    digest: bytes = attrs.field(repr=False)
    created_at: datetime
    used_at: datetime | None = None

    def used(self, *, now: datetime) -> RecoveryCode:
        """Use it up."""
        return attrs.evolve(self, used_at=now)


def one_time_password(text: str) -> str | None:
    """Return what was typed as six digits, as people group them; None where it can be no one-time password."""
    code = _NOT_OF_CODES.sub("", text)
    return code if _CODE.fullmatch(code) else None


def normalise_recovery_code(text: str) -> str:
    """Return what was typed as it was printed, apart from groups and case."""
    return _NOT_OF_CODES.sub("", text).upper()
