"""Judging codes: those of an authenticator, and those that stand for it once."""

from __future__ import annotations

import base64
import hmac
from math import ceil
from typing import TYPE_CHECKING, Final, Self

import attrs

from userservice_core.domain.mfa import (
    AMR_OF_RECOVERY_CODE,
    AMR_OF_TOTP,
    RECOVERY_CODE_BYTES,
    RECOVERY_CODES,
    MfaFactor,
    RecoveryCode,
    normalise_recovery_code,
    one_time_password,
)
from userservice_core.errors import SealBrokenError, TooManyRequestsError

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.ids import UserId
    from userservice_core.ports.clock import Entropy
    from userservice_core.ports.mfa import Enrolment, OneTimePasswords
    from userservice_core.ports.security import SecretSealer
    from userservice_core.ports.unit_of_work import Transaction

_TOTP_KEY_BYTES: Final = 20  # RFC 4226 §4, R6
_CODE_KEY_BYTES: Final = 32
_GROUP: Final = 4


@attrs.frozen(kw_only=True)
class GivenCode:
    """
    What somebody shows who they are with: one of the two.

    Attributes:
        totp: The code that an authenticator shows.
        recovery: One of the codes that were printed.
    """

    totp: str | None = attrs.field(default=None, repr=False)
    recovery: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Judgement:
    """
    What a code turned out to be.

    Attributes:
        factor: As it is from now on.
        amr: How the user has shown who they are (RFC 8176); empty where they have not.
        recovery_code: The one that is used up by it.
    """

    factor: MfaFactor
    amr: tuple[str, ...] = ()
    recovery_code: RecoveryCode | None = None

    @property
    def is_good(self) -> bool:
        """Whether the code was right."""
        return bool(self.amr)

    def write_into(self, transaction: Transaction) -> None:
        """Use the code up, or count it as a wrong one."""
        transaction.mfa.save(self.factor)
        if self.recovery_code is not None:
            transaction.mfa.save_code(self.recovery_code)


@attrs.frozen(kw_only=True)
class _Secret:
    """What is sealed of a factor: recovery codes have a key of their own in it, so that it is sealed anew with it."""

    totp_key: bytes = attrs.field(repr=False)
    code_key: bytes = attrs.field(repr=False)

    @classmethod
    def of(cls, content: bytes) -> Self:
        if len(content) != _TOTP_KEY_BYTES + _CODE_KEY_BYTES:
            raise SealBrokenError
        return cls(totp_key=content[:_TOTP_KEY_BYTES], code_key=content[_TOTP_KEY_BYTES:])

    def digest(self, recovery_code: str) -> bytes:
        return hmac.digest(self.code_key, normalise_recovery_code(recovery_code).encode(), "sha256")


class SecondFactors:
    """
    Makes and judges codes.

    Whoever has one judged holds the lock of the user's sign-ins, and commits what the judgement writes in any case:
    a right code counts once, and a wrong one is counted.
    """

    def __init__(self, *, passwords: OneTimePasswords, sealer: SecretSealer, entropy: Entropy) -> None:
        self._passwords = passwords
        self._sealer = sealer
        self._entropy = entropy

    def begin(self, user_id: UserId, *, account: str, now: datetime) -> tuple[MfaFactor, Enrolment]:
        """Make a factor that has yet to be confirmed, and what an app takes for it."""
        content = self._entropy.token_bytes(_TOTP_KEY_BYTES + _CODE_KEY_BYTES)
        factor = MfaFactor(user_id=user_id, sealed_secret=self._seal(user_id, content), created_at=now)
        return factor, self._passwords.enrol(_Secret.of(content).totp_key, account=account)

    def judge(self, transaction: Transaction, factor: MfaFactor, given: GivenCode, *, now: datetime) -> Judgement:
        """
        Tell whether a code is right; nothing is written yet.

        Raises:
            TooManyRequestsError: If too many wrong ones were given of late; this one is not looked at.
        """
        closed_until = factor.closed_until(now=now)
        if closed_until is not None:
            raise TooManyRequestsError(retry_after_seconds=max(1, ceil((closed_until - now).total_seconds())))
        secret = self._secret_of(factor)
        if given.recovery is not None:
            code = transaction.mfa.find_code(factor.user_id, secret.digest(given.recovery))
            if factor.is_on and code is not None and code.used_at is None:
                return Judgement(
                    factor=self._sealed_anew(factor), amr=AMR_OF_RECOVERY_CODE, recovery_code=code.used(now=now)
                )
        password = None if given.totp is None else one_time_password(given.totp)
        if password is not None:
            step = self._passwords.accepted_step(secret.totp_key, password, now=now, after=factor.last_step)
            if step is not None:
                return Judgement(factor=self._sealed_anew(factor).passed(step=step), amr=AMR_OF_TOTP)
        return Judgement(factor=factor.failed(now=now))

    def new_recovery_codes(
        self, factor: MfaFactor, *, now: datetime
    ) -> tuple[tuple[str, ...], tuple[RecoveryCode, ...]]:
        """Return recovery codes as they are printed, and what is stored of them."""
        secret = self._secret_of(factor)
        texts = tuple(_grouped(self._entropy.token_bytes(RECOVERY_CODE_BYTES)) for _ in range(RECOVERY_CODES))
        stored = tuple(
            RecoveryCode(user_id=factor.user_id, digest=secret.digest(text), created_at=now) for text in texts
        )
        return texts, stored

    def is_sealed_anew(self, factor: MfaFactor) -> bool:
        """Tell whether the secret is sealed under the current key."""
        return factor.sealed_secret.startswith(self._sealer.current_prefix)

    def _sealed_anew(self, factor: MfaFactor) -> MfaFactor:
        """Seal the secret under the current key, if it is not."""
        return factor if self.is_sealed_anew(factor) else self.seal_anew(factor)

    def seal_anew(self, factor: MfaFactor) -> MfaFactor:
        """Seal the secret under the current key."""
        content = self._sealer.unseal(factor.sealed_secret, context=_context(factor.user_id))
        return attrs.evolve(factor, sealed_secret=self._seal(factor.user_id, content))

    def _secret_of(self, factor: MfaFactor) -> _Secret:
        return _Secret.of(self._sealer.unseal(factor.sealed_secret, context=_context(factor.user_id)))

    def _seal(self, user_id: UserId, content: bytes) -> str:
        return self._sealer.seal(content, context=_context(user_id))


def _context(user_id: UserId) -> str:
    return f"mfa:{user_id}"


def _grouped(code: bytes) -> str:
    text = base64.b32encode(code).decode()
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))
