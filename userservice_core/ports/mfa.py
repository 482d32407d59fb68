"""Second factors: where they are kept, and what their codes are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from userservice_core.domain.ids import UserId
    from userservice_core.domain.mfa import MfaFactor, RecoveryCode


class MfaRepository(Protocol):
    """The second factors of one transaction."""

    def find(self, user_id: UserId) -> MfaFactor | None:
        """Return the latest committed factor of a user and lock its row, or None."""
        ...

    def save(self, factor: MfaFactor) -> None:
        """
        Store a factor, in the place of the one the user has.

        Raises:
            UserNotFoundError: At commit, if there is no such user.
        """
        ...

    def remove(self, user_id: UserId) -> None:
        """Delete a user's factor with their recovery codes; there need not be any."""
        ...

    def find_code(self, user_id: UserId, digest: bytes) -> RecoveryCode | None:
        """Return the latest committed recovery code with this digest and lock its row, or None; used ones, too."""
        ...

    def save_code(self, code: RecoveryCode) -> None:
        """Store that a code was used; one that was deleted meanwhile stays so."""
        ...

    def replace_codes(self, user_id: UserId, codes: Iterable[RecoveryCode]) -> None:
        """
        Delete the recovery codes of a user, used ones too, and store these.

        Raises:
            UserNotFoundError: At commit, if there is no such user.
        """
        ...


class FactorSecrets(Protocol):
    """Finds what was sealed under an earlier key, on the primary."""

    def list_sealed_otherwise(self, prefix: str, *, after: UserId | None, limit: int) -> tuple[UserId, ...]:
        """
        Return users whose factor's sealed secret does not begin with *prefix*, in the order of their ids.

        Args:
            prefix: What all begin with that the current key sealed.
            after: Users with higher ids only; None for the beginning.
            limit: At most so many.
        """
        ...


@attrs.frozen
class Enrolment:
    """
    What an authenticator app takes.

    Attributes:
        secret: In base32 (RFC 4648 §6), without padding, to type in.
        uri: `otpauth://totp/…`, with the name of the service and the account.
        qr_svg: The same as a QR code, an `svg` element.
    """

    secret: str = attrs.field(repr=False)
    uri: str = attrs.field(repr=False)
    qr_svg: str = attrs.field(repr=False)


class OneTimePasswords(Protocol):
    """One-time passwords by time (RFC 6238): SHA-1, six digits, steps of 30 s, as every authenticator app has them."""

    def accepted_step(self, secret: bytes, code: str, *, now: datetime, after: int | None) -> int | None:
        """
        Return the time step whose code *code* is; None where it is wrong.

        The step of *now*, the one before it and the one after it count (RFC 6238 §5.2), and of those only such as come
        after the step *after*. It takes the same time whether a code is right or not.
        """
        ...

    def enrol(self, secret: bytes, *, account: str) -> Enrolment:
        """Show *secret* to whoever puts it into an app, under the name of *account*."""
        ...
