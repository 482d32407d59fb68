"""What administrators do to the accounts of others: whether these can be used, and whether they are there at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.application.access_changes import Agent, require_version
from userservice_core.application.account_changes import AccountChange
from userservice_core.domain.audit import AuditAction
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.events import NotificationKind, UserUpdated
from userservice_core.domain.json_objects import are_equal
from userservice_core.domain.one_time_tokens import TokenPurpose
from userservice_core.domain.texts import text_faults
from userservice_core.domain.users import Mover, User, UserStatus
from userservice_core.errors import AccountStatusError, Fault, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime, timedelta

    from userservice_core.application.mailed_tokens import MailedTokens
    from userservice_core.domain.ids import UserId
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

MAX_REASON_CHARACTERS: Final = 500


class AccountAdministration:
    """Nobody changes the account of a user who holds a permission that they lack themselves."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        mailed_tokens: MailedTokens,
        clock: Clock,
        ids: IdGenerator,
        access_lifetime: timedelta,
    ) -> None:
        self._uow = uow
        self._mailed_tokens = mailed_tokens
        self._clock = clock
        self._ids = ids
        self._access_lifetime = access_lifetime

    def update(
        self,
        *,
        actor: Agent,
        user_id: UserId,
        revise: Callable[[User, datetime], User],
        reason: str | None = None,
        expected: Collection[int] | None = None,
    ) -> User:
        """
        Change a user.

        Another status has its consequences: a suspension ends every session, every mailed link and every access token
        at once. So has an address that is to replace the present one: a link is mailed to it that makes it the user's,
        and the present one is told.

        Args:
            actor: Who does it.
            user_id: Of the user.
            revise: Returns what the user it is given is to be at the given time, or the very one; may be called again.
            reason: Of another status; must be there for a suspension.
            expected: Versions that the client takes the user to have; None for any.

        Raises:
            UserNotFoundError: If there is no such user.
            StaleVersionError: If they have none of the versions expected.
            InvalidInputError: If the reason is missing or not valid.
            StatusChangeNotAllowedError: If administrators cannot give them this status.
            AccountStatusError: If they are to have another address, and their account cannot be used.
            TargetOutranksActorError: If the user holds a permission that the actor lacks.
            LastAdministratorError: If nobody could do everything any more.
        """
        if faults := tuple(text_faults("statusReason", reason, max_characters=MAX_REASON_CHARACTERS)):
            raise InvalidInputError(faults)

        def work(transaction: Transaction) -> User:
            account = self._begin(transaction, actor, user_id, expected)
            revised = revise(account.user, account.now)
            if revised is account.user:
                return revised
            # However many members are different, it is one version.
            revised = attrs.evolve(revised, version=account.user.version + 1)
            asks_for_email = revised.pending_email not in {None, account.user.pending_email}
            if asks_for_email and not (account.user.is_live and revised.is_live):
                raise AccountStatusError(status=account.user.status.value)
            if revised.status is account.user.status:
                self._save(account, revised)
            else:
                self._change_status(account, revised, reason=reason)
            if asks_for_email:
                self._have_confirmed(account, revised)
            return revised

        return self._uow.run(work)

    def _have_confirmed(self, account: AccountChange, revised: User) -> None:
        """Mail a link to the address that is to replace the present one, and tell the present one of it."""
        to = EmailAddress.parse(str(revised.pending_email))
        self._mailed_tokens.issue(
            revised, purpose=TokenPurpose.CHANGE_EMAIL, kind=NotificationKind.CHANGE_EMAIL, now=account.now, to=to
        ).write_into(account.transaction)
        account.notify(NotificationKind.EMAIL_CHANGE_REQUESTED)
        account.audit(
            AuditAction.USER_EMAIL_CHANGE_REQUESTED,
            before={"pendingEmail": account.user.pending_email},
            after={"pendingEmail": revised.pending_email},
        )

    @staticmethod
    def _save(account: AccountChange, revised: User) -> None:
        account.transaction.users.save(revised)
        _tell_of_attributes(account, revised)

    @staticmethod
    def _change_status(account: AccountChange, revised: User, *, reason: str | None) -> None:
        is_shut_out = revised.status is UserStatus.SUSPENDED
        if is_shut_out and reason is None:
            raise InvalidInputError((Fault(("statusReason",), "required", "Say why the account is suspended."),))
        if is_shut_out:
            account.require_administrator_left()
        account.change_status(revised, by=Mover.ADMINISTRATOR, reason=reason)
        _tell_of_attributes(account, revised)
        if is_shut_out:
            account.shut_out(reason="account-suspended")
        if revised.deleted_at is None:
            account.notify(NotificationKind.ACCOUNT_SUSPENDED if is_shut_out else NotificationKind.ACCOUNT_REACTIVATED)

    def delete(self, *, actor: Agent, user_id: UserId, expected: Collection[int] | None = None) -> None:
        """
        Delete an account, so that it can be restored; one that is deleted already stays as it is.

        Raises:
            UserNotFoundError: If there is no such user.
            StaleVersionError: If they have none of the versions expected.
            TargetOutranksActorError: If the user holds a permission that the actor lacks.
            LastAdministratorError: If nobody could do everything any more.
        """

        def work(transaction: Transaction) -> None:
            account = self._begin(transaction, actor, user_id, expected)
            if account.user.deleted_at is not None:
                return
            account.require_administrator_left()
            account.delete(by=Mover.ADMINISTRATOR)
            account.notify(NotificationKind.ACCOUNT_DELETED)

        self._uow.run(work)

    def erase(self, *, actor: Agent, user_id: UserId, expected: Collection[int] | None = None) -> None:
        """
        Erase an account, deleted or not, with all that is stored of its owner; the address is free again.

        Raises:
            UserNotFoundError: If there is no such user.
            StaleVersionError: If they have none of the versions expected.
            TargetOutranksActorError: If the user holds a permission that the actor lacks.
            LastAdministratorError: If nobody could do everything any more.
        """

        def work(transaction: Transaction) -> None:
            account = self._begin(transaction, actor, user_id, expected)
            account.require_administrator_left()
            account.erase(by=Mover.ADMINISTRATOR)

        self._uow.run(work)

    def restore(self, *, actor: Agent, user_id: UserId, expected: Collection[int] | None = None) -> User:
        """
        Undo a deletion: the account has the status it had before, and no sessions; one that is not deleted stays so.

        Raises:
            UserNotFoundError: If there is no such user.
            StaleVersionError: If they have none of the versions expected.
            TargetOutranksActorError: If the user holds a permission that the actor lacks.
        """

        def work(transaction: Transaction) -> User:
            account = self._begin(transaction, actor, user_id, expected)
            return account.restore(by=Mover.ADMINISTRATOR)

        return self._uow.run(work)

    def unlock(self, *, actor: Agent, user_id: UserId) -> None:
        """
        Forget the failed sign-ins of an account, and the lock that they brought.

        Raises:
            UserNotFoundError: If there is no such user.
            TargetOutranksActorError: If the user holds a permission that the actor lacks.
        """

        def work(transaction: Transaction) -> None:
            account = self._begin(transaction, actor, user_id, None)
            transaction.sign_ins.save_state(account.state.unlocked())
            account.audit(
                AuditAction.USER_UNLOCKED,
                before={"failedAttempts": account.state.failed_attempts},
                after={"failedAttempts": 0},
            )

        self._uow.run(work)

    def _begin(
        self, transaction: Transaction, actor: Agent, user_id: UserId, expected: Collection[int] | None
    ) -> AccountChange:
        account = AccountChange.begin(
            transaction,
            actor=actor,
            user_id=user_id,
            clock=self._clock,
            ids=self._ids,
            access_lifetime=self._access_lifetime,
        )
        require_version(account.user.version, expected)
        account.require_outranked()
        return account


def _tell_of_attributes(account: AccountChange, revised: User) -> None:
    """Say that other attributes are noted of the user, if they are."""
    if are_equal(revised.attributes, account.user.attributes):
        return
    account.audit(
        AuditAction.USER_UPDATED,
        before={"attributes": account.user.attributes},
        after={"attributes": revised.attributes},
    )
    account.transaction.record(
        UserUpdated(
            id=account.event_id(),
            occurred_at=account.now,
            user_id=revised.id,
            version=revised.version,
            changed_members=("attributes",),
        )
    )
