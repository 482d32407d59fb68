"""Turning the second factor on and off."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.application.account_changes import AccountChange
from userservice_core.application.second_factors import GivenCode
from userservice_core.application.security_notices import security_notice
from userservice_core.domain.audit import Actor, AuditAction, AuditEntry, Subject
from userservice_core.domain.events import MfaChange, MfaChanged, NotificationKind
from userservice_core.domain.ids import AuditEntryId, EventId
from userservice_core.domain.mfa import WRONG_CODE, MfaFactor
from userservice_core.domain.users import User
from userservice_core.errors import (
    InvalidAccessTokenError,
    InvalidInputError,
    MfaAlreadyEnabledError,
    MfaNotEnabledError,
    MfaNotSetUpError,
    SealBrokenError,
    SessionNotFoundError,
    UserNotFoundError,
)
from userservice_core.ports.unit_of_work import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from typing import TypeVar

    from userservice_core.application.access import Principal
    from userservice_core.application.access_changes import Agent
    from userservice_core.application.second_factors import SecondFactors
    from userservice_core.application.security_notices import NoticeKind
    from userservice_core.domain.ids import UserId
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.mfa import Enrolment, FactorSecrets
    from userservice_core.ports.security import SecretSealer
    from userservice_core.ports.unit_of_work import UnitOfWork

    T = TypeVar("T")

_PAGE: Final = 100


@attrs.frozen(kw_only=True)
class _Held:
    """A user whose sign-ins and row are locked, and their factor."""

    transaction: Transaction
    user: User
    factor: MfaFactor | None
    now: datetime

    def factor_that_is_on(self) -> MfaFactor:
        if self.factor is None or not self.factor.is_on:
            raise MfaNotEnabledError
        return self.factor


@attrs.frozen
class SealedAnew:
    """
    How many secrets there were.

    Attributes:
        sealed: Under the current key now.
        unreadable: Whose key is not in the ring, or that were altered.
    """

    sealed: int
    unreadable: int


class Mfa:
    """Users turn their second factor on and off; administrators can only turn off the one of whoever has lost it."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        factors: SecondFactors,
        secrets: FactorSecrets,
        sealer: SecretSealer,
        clock: Clock,
        ids: IdGenerator,
        access_lifetime: timedelta,
    ) -> None:
        self._uow = uow
        self._factors = factors
        self._secrets = secrets
        self._sealer = sealer
        self._clock = clock
        self._ids = ids
        self._access_lifetime = access_lifetime

    def set_up(self, *, caller: Principal) -> Enrolment:
        """
        Make a secret for the caller's authenticator; it counts once :meth:`verify` was given a code made with it.

        An earlier one that was not confirmed is gone.

        Raises:
            MfaAlreadyEnabledError: If a second factor is on.
            InvalidAccessTokenError: If the session has ended, or the account cannot be used.
        """

        def work(held: _Held) -> Enrolment:
            earlier = held.factor
            if earlier is not None and earlier.is_on:
                raise MfaAlreadyEnabledError
            factor, enrolment = self._factors.begin(held.user.id, account=held.user.email.address, now=held.now)
            failed_at = () if earlier is None else earlier.failed_at
            held.transaction.mfa.save(attrs.evolve(factor, failed_at=failed_at))
            return enrolment

        return self._for(caller, work)

    def verify(self, *, caller: Principal, code: str) -> tuple[str, ...]:
        """
        Turn the second factor on with the first code of the authenticator, and return recovery codes.

        Raises:
            MfaAlreadyEnabledError: If it is on.
            MfaNotSetUpError: If no secret was made, or too long ago.
            InvalidInputError: If the code is wrong.
            TooManyRequestsError: If too many wrong ones were given of late.
            InvalidAccessTokenError: If the session has ended, or the account cannot be used.
        """

        def work(held: _Held) -> tuple[str, ...] | None:
            factor = held.factor
            if factor is not None and factor.is_on:
                raise MfaAlreadyEnabledError
            if factor is None or not factor.may_be_confirmed(now=held.now):
                raise MfaNotSetUpError
            judged = self._factors.judge(held.transaction, factor, GivenCode(totp=code), now=held.now)
            if not judged.is_good:
                judged.write_into(held.transaction)
                return None
            confirmed = judged.factor.confirmed(now=held.now)
            texts, codes = self._factors.new_recovery_codes(confirmed, now=held.now)
            held.transaction.users.save(held.user.with_mfa(enabled=True, now=held.now))
            held.transaction.mfa.save(confirmed)
            held.transaction.mfa.replace_codes(held.user.id, codes)
            self._tell(held, MfaChange.ENABLED, AuditAction.MFA_ENABLED, NotificationKind.MFA_ENABLED)
            return texts

        texts = self._for(caller, work)
        if texts is None:
            raise InvalidInputError((WRONG_CODE,))
        return texts

    def disable(self, *, caller: Principal) -> None:
        """
        Turn the second factor off; the secret and the recovery codes are deleted.

        Raises:
            MfaNotEnabledError: If it is not on.
            InvalidAccessTokenError: If the session has ended, or the account cannot be used.
        """

        def work(held: _Held) -> None:
            held.factor_that_is_on()
            held.transaction.users.save(held.user.with_mfa(enabled=False, now=held.now))
            held.transaction.mfa.remove(held.user.id)
            self._tell(held, MfaChange.DISABLED, AuditAction.MFA_DISABLED, NotificationKind.MFA_DISABLED)

        self._for(caller, work)

    def replace_recovery_codes(self, *, caller: Principal) -> tuple[str, ...]:
        """
        Return new recovery codes; those from before are good no more.

        Raises:
            MfaNotEnabledError: If no second factor is on.
            InvalidAccessTokenError: If the session has ended, or the account cannot be used.
        """

        def work(held: _Held) -> tuple[str, ...]:
            texts, codes = self._factors.new_recovery_codes(held.factor_that_is_on(), now=held.now)
            held.transaction.mfa.replace_codes(held.user.id, codes)
            self._tell(
                held,
                MfaChange.RECOVERY_CODES_REPLACED,
                AuditAction.MFA_RECOVERY_CODES_REPLACED,
                NotificationKind.RECOVERY_CODES_REPLACED,
            )
            return texts

        return self._for(caller, work)

    def reset(self, *, actor: Agent, user_id: UserId) -> None:
        """
        Turn off the second factor of somebody who has lost it; nothing happens where there is none.

        Raises:
            UserNotFoundError: If there is no such user.
            TargetOutranksActorError: If the user holds a permission that the actor lacks.
        """

        def work(transaction: Transaction) -> None:
            account = AccountChange.begin(
                transaction,
                actor=actor,
                user_id=user_id,
                clock=self._clock,
                ids=self._ids,
                access_lifetime=self._access_lifetime,
            )
            account.require_outranked()
            factor = transaction.mfa.find(user_id)
            if factor is None:
                return
            if factor.is_on:
                transaction.users.save(account.user.with_mfa(enabled=False, now=account.now))
                account.audit(AuditAction.MFA_RESET, before={"mfaEnabled": True}, after={"mfaEnabled": False})
                transaction.record(self._changed(user_id, MfaChange.RESET, now=account.now))
                account.notify(NotificationKind.MFA_RESET)
            transaction.mfa.remove(user_id)

        self._uow.run(work)

    def seal_anew(self, *, is_stopped: Callable[[], bool] = lambda: False) -> SealedAnew:
        """
        Seal secrets under the current key that an earlier one sealed, so that this one can go.

        Each is a transaction of its own, so it can be stopped and begun again at any time, while everything runs.

        Args:
            is_stopped: Asked before each.
        """
        sealed = unreadable = 0
        after: UserId | None = None
        while due := self._secrets.list_sealed_otherwise(self._sealer.current_prefix, after=after, limit=_PAGE):
            for user_id in due:
                if is_stopped():
                    return SealedAnew(sealed, unreadable)
                try:
                    self._uow.run(partial(self._seal_one_anew, user_id))
                    sealed += 1
                except SealBrokenError:
                    unreadable += 1
            after = due[-1]
        return SealedAnew(sealed, unreadable)

    def _seal_one_anew(self, user_id: UserId, transaction: Transaction) -> None:
        transaction.sign_ins.get(user_id)
        factor = transaction.mfa.find(user_id)
        if factor is not None and not self._factors.is_sealed_anew(factor):
            transaction.mfa.save(self._factors.seal_anew(factor))

    def _for(self, caller: Principal, work: Callable[[_Held], T]) -> T:
        """Do *work* for a caller whose session stands, under the locks of their sign-ins and their row."""

        def begin(transaction: Transaction) -> T:
            now = self._clock.now()
            transaction.sign_ins.get(caller.user_id)
            user = transaction.users.get(caller.user_id)
            session = transaction.sessions.get(caller.user_id, caller.session_id)
            factor = transaction.mfa.find(caller.user_id)
            if not (user.is_live and session.is_open(now=now)):
                raise InvalidAccessTokenError
            return work(_Held(transaction=transaction, user=user, factor=factor, now=now))

        try:
            return self._uow.run(begin)
        except (UserNotFoundError, SessionNotFoundError) as error:
            raise InvalidAccessTokenError from error

    def _tell(self, held: _Held, change: MfaChange, action: AuditAction, kind: NoticeKind) -> None:
        held.transaction.record(self._changed(held.user.id, change, now=held.now))
        held.transaction.record(security_notice(held.user, kind, event_id=EventId(self._ids.new()), now=held.now))
        held.transaction.audit.add(
            AuditEntry(
                id=AuditEntryId(self._ids.new()),
                at=held.now,
                action=action,
                actor=Actor.user(held.user.id),
                subject=Subject.user(held.user.id),
                changed=("mfa",),
            )
        )

    def _changed(self, user_id: UserId, change: MfaChange, *, now: datetime) -> MfaChanged:
        return MfaChanged(id=EventId(self._ids.new()), occurred_at=now, user_id=user_id, change=change.value)
