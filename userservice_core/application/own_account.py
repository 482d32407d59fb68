"""Owners leave their accounts, and come back by mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.application.access_changes import require_version
from userservice_core.application.account_changes import AccountChange
from userservice_core.application.email_verification import TokenInspection
from userservice_core.application.mailed_tokens import read_mailed_token
from userservice_core.domain.events import NotificationKind
from userservice_core.domain.one_time_tokens import TokenPurpose
from userservice_core.domain.users import Mover, User, UserStatus
from userservice_core.errors import InvalidAccessTokenError, OneTimeTokenInvalidError, UserNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime, timedelta

    from userservice_core.application.mailed_tokens import TokenReference
    from userservice_core.domain.ids import UserId
    from userservice_core.domain.one_time_tokens import OneTimeToken
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.one_time_tokens import OneTimeTokenReader
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork
    from userservice_core.ports.users import UserReader


class OwnAccount:
    """Leaving is at once, also for other devices; coming back takes the mailbox of the address, and signs nobody in."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        users: UserReader,
        tokens: OneTimeTokenReader,
        clock: Clock,
        ids: IdGenerator,
        access_lifetime: timedelta,
    ) -> None:
        self._uow = uow
        self._users = users
        self._tokens = tokens
        self._clock = clock
        self._ids = ids
        self._access_lifetime = access_lifetime

    def deactivate(self, *, user_id: UserId, expected: Collection[int] | None = None) -> None:
        """
        Put the caller's account aside until they sign in again and confirm it by mail.

        Raises:
            InvalidAccessTokenError: If the account was erased, or cannot be used any more.
            StaleVersionError: If it has none of the versions expected.
            LastAdministratorError: If nobody could do everything any more.
        """

        def leave(account: AccountChange) -> None:
            deactivated = account.user.moved_to(UserStatus.DEACTIVATED, by=Mover.OWNER, now=account.now)
            account.change_status(deactivated, by=Mover.OWNER)
            account.shut_out(reason="account-deactivated")
            account.notify(NotificationKind.ACCOUNT_DEACTIVATED)

        self._leave(user_id, expected, leave)

    def delete(self, *, user_id: UserId, expected: Collection[int] | None = None) -> None:
        """
        Delete the caller's account, so that it can be restored for a while.

        Raises:
            InvalidAccessTokenError: If the account was erased, or cannot be used any more.
            StaleVersionError: If it has none of the versions expected.
            LastAdministratorError: If nobody could do everything any more.
        """

        def leave(account: AccountChange) -> None:
            account.delete(by=Mover.OWNER)
            account.notify(NotificationKind.ACCOUNT_DELETED)

        self._leave(user_id, expected, leave)

    def take_up_again(self, *, token: str) -> User:
        """
        Restore a deleted account, or reactivate a deactivated one, by the token of a mailed link; signs nobody in.

        Raises:
            OneTimeTokenInvalidError: If the token is unknown, expired, used, replaced, or for another address, or if
                there is nothing to take up.
        """
        reference = read_mailed_token(token)
        try:
            return self._uow.run(lambda transaction: self._take_up(transaction, reference))
        except UserNotFoundError as error:
            raise OneTimeTokenInvalidError from error

    def inspect(self, *, token: str) -> TokenInspection:
        """Tell what *token* would do, and use nothing up; a scanner that follows links does no harm."""
        try:
            reference = read_mailed_token(token)
            user = self._users.get(reference.user_id)
        except (OneTimeTokenInvalidError, UserNotFoundError):
            return TokenInspection(purpose=None, valid=False)
        stored = self._tokens.find(reference.user_id, reference.digest)
        if stored is None:
            return TokenInspection(purpose=None, valid=False)
        return TokenInspection(purpose=stored.purpose, valid=_takes_up(stored, user, now=self._clock.now()))

    def _take_up(self, transaction: Transaction, reference: TokenReference) -> User:
        account = self._begin(transaction, reference.user_id)
        stored = transaction.one_time_tokens.find(reference.user_id, reference.digest)
        if stored is None or not _takes_up(stored, account.user, now=account.now):
            raise OneTimeTokenInvalidError
        if stored.purpose is TokenPurpose.RESTORE_ACCOUNT:
            return account.restore(by=Mover.OWNER)
        reactivated = account.user.moved_to(UserStatus.ACTIVE, by=Mover.OWNER, now=account.now)
        account.change_status(reactivated, by=Mover.OWNER)
        transaction.one_time_tokens.save(stored.used(now=account.now))
        account.notify(NotificationKind.ACCOUNT_REACTIVATED)
        return reactivated

    def _leave(self, user_id: UserId, expected: Collection[int] | None, leave: Callable[[AccountChange], None]) -> None:
        def work(transaction: Transaction) -> None:
            account = self._begin(transaction, user_id)
            if not account.user.is_live:
                raise InvalidAccessTokenError
            require_version(account.user.version, expected)
            account.require_administrator_left()
            leave(account)

        try:
            self._uow.run(work)
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error

    def _begin(self, transaction: Transaction, user_id: UserId) -> AccountChange:
        return AccountChange.begin(
            transaction,
            actor=user_id,
            user_id=user_id,
            clock=self._clock,
            ids=self._ids,
            access_lifetime=self._access_lifetime,
        )


def _takes_up(stored: OneTimeToken, user: User, *, now: datetime) -> bool:
    """Tell whether the account is such that a token of this purpose is for, and the token is good."""
    is_wanted = {
        TokenPurpose.RESTORE_ACCOUNT: user.deleted_at is not None,
        TokenPurpose.REACTIVATE_ACCOUNT: user.deleted_at is None and user.status is UserStatus.DEACTIVATED,
    }
    return is_wanted.get(stored.purpose, False) and stored.is_good_for(
        stored.purpose, email_key=user.email.key, now=now
    )
