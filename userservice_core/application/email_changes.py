"""
Giving an account another address: asked for by who is signed in, confirmed by mail, undone from the old address.

Nothing here tells whether an address belongs to an account, before the owner of that address has confirmed it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.application.access_changes import require_version
from userservice_core.application.mailed_tokens import MAIL_WINDOW, may_mail
from userservice_core.application.security_notices import security_notice
from userservice_core.application.session_ends import revoke_session
from userservice_core.domain.audit import Actor, AuditAction, AuditEntry, Subject
from userservice_core.domain.events import EmailChange, NotificationKind, UserEmailChanged
from userservice_core.domain.ids import AuditEntryId, EventId
from userservice_core.domain.one_time_tokens import KEPT_BESIDE_NEWER, TokenPurpose
from userservice_core.errors import (
    InvalidAccessTokenError,
    OneTimeTokenInvalidError,
    TooManyRequestsError,
    UserNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime, timedelta

    from userservice_core.application.mailed_tokens import MailedTokens, TokenReference
    from userservice_core.domain.emails import EmailAddress
    from userservice_core.domain.ids import UserId
    from userservice_core.domain.one_time_tokens import OneTimeToken
    from userservice_core.domain.users import User
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork


class EmailChanges:
    """An address is the user's when a link that was mailed to it has been opened, and not before."""

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

    # --- asking -----------------------------------------------------------------------------------------------------

    def request(
        self, *, user_id: UserId, revise: Callable[[User], EmailAddress | None], expected: Collection[int] | None = None
    ) -> User:
        """
        Have the address confirmed that the caller wants, and tell the present one of it.

        The address that the user has already changes nothing, also where another one waits for its confirmation.

        Args:
            user_id: The caller.
            revise: Returns the address that the user it is given is to have, or None to withdraw a change that waits.
                It may run more than once.
            expected: Versions that the change is meant for, None for any.

        Returns:
            The user as they are now.

        Raises:
            StaleVersionError: If the user has another version by now; and what *revise* raises.
            TooManyRequestsError: If the caller has asked too often.
            InvalidAccessTokenError: If the account was erased, or cannot be used any more.
        """

        def work(transaction: Transaction) -> User:
            user = transaction.users.get(user_id)
            if not user.is_live:
                raise InvalidAccessTokenError
            require_version(user.version, expected)
            email = revise(user)
            now = self._clock.now()
            if email is None:
                return self._withdraw(transaction, user, now=now)
            return user if email == user.email else self._ask(transaction, user, email, now=now)

        try:
            return self._uow.run(work)
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error

    def _ask(self, transaction: Transaction, user: User, email: EmailAddress, *, now: datetime) -> User:
        if not may_mail(transaction, user.id, (TokenPurpose.CHANGE_EMAIL,), now=now):
            raise TooManyRequestsError(retry_after_seconds=int(MAIL_WINDOW.total_seconds()))
        mailed = self._mailed_tokens.issue(
            user, purpose=TokenPurpose.CHANGE_EMAIL, kind=NotificationKind.CHANGE_EMAIL, now=now, to=email
        )
        waiting = user.with_pending_email(email.address, now=now)
        if waiting is not user:
            transaction.users.save(waiting)
        transaction.one_time_tokens.add(mailed.stored)
        transaction.record(mailed.request)
        transaction.record(
            security_notice(user, NotificationKind.EMAIL_CHANGE_REQUESTED, event_id=self._event_id(), now=now)
        )
        transaction.audit.add(self._entry(AuditAction.USER_EMAIL_CHANGE_REQUESTED, user, waiting, now=now))
        return waiting

    def _withdraw(self, transaction: Transaction, user: User, *, now: datetime) -> User:
        withdrawn = user.without_pending_email(now=now)
        if withdrawn is not user:
            transaction.users.save(withdrawn)
            transaction.audit.add(self._entry(AuditAction.USER_EMAIL_CHANGE_REQUESTED, user, withdrawn, now=now))
        return withdrawn

    # --- confirming -------------------------------------------------------------------------------------------------

    def would_succeed(self, stored: OneTimeToken, user: User) -> bool:
        """Tell whether :meth:`confirm`, or :meth:`undo`, would take the token now, unless the address is taken."""
        if not user.is_live:
            return False
        if stored.purpose is TokenPurpose.UNDO_EMAIL_CHANGE:
            return stored.is_open(now=self._clock.now()) and stored.email != user.email
        if stored.purpose is not TokenPurpose.CHANGE_EMAIL:
            return False
        if stored.email == user.email:
            return True
        return stored.is_open(now=self._clock.now()) and stored.email.address == user.pending_email

    def confirm(self, reference: TokenReference) -> User:
        """
        Give the account the address that the token was mailed to, and let the old one undo it for seven days.

        Every other mailed link of the account ends, apart from those that undo earlier changes. Sessions go on: the
        change was asked for by a recent sign-in. A token whose address the user has already succeeds again.

        Raises:
            OneTimeTokenInvalidError: If the token is unknown, expired, replaced, or the change was withdrawn.
            EmailTakenError: If another account holds the address; the token stays good.
            UserNotFoundError: If the account was erased.
        """

        def work(transaction: Transaction) -> User:
            now = self._clock.now()
            user = transaction.users.get(reference.user_id)
            stored = self._require_good(transaction, reference, user)
            if stored.email == user.email:
                return user
            undo = self._mailed_tokens.issue(
                user, purpose=TokenPurpose.UNDO_EMAIL_CHANGE, kind=NotificationKind.EMAIL_CHANGED, now=now
            )
            changed = user.with_email(stored.email, now=now)
            transaction.users.save(changed)
            transaction.one_time_tokens.end_all(user.id, now=now, keep=KEPT_BESIDE_NEWER)
            transaction.one_time_tokens.add(undo.stored)
            transaction.record(self._email_changed(changed, EmailChange.CONFIRMED, now=now))
            transaction.record(undo.request)
            transaction.audit.add(self._entry(AuditAction.USER_EMAIL_CHANGED, user, changed, now=now))
            return changed

        return self._uow.run(work)

    # --- undoing ----------------------------------------------------------------------------------------------------

    def undo(self, reference: TokenReference) -> User:
        """
        Give the account the address back that the token was mailed to when it was changed.

        Every session ends, and every mailed link but those that undo changes before that one: whoever holds the
        address in between must not keep the owner of the first one from having it back.

        Raises:
            OneTimeTokenInvalidError: If the token is unknown, expired or used.
            EmailTakenError: If another account holds the address by now; the token stays good.
            UserNotFoundError: If the account was erased.
        """

        def work(transaction: Transaction) -> User:
            now = self._clock.now()
            transaction.sign_ins.get(reference.user_id)
            user = transaction.users.get(reference.user_id)
            stored = self._require_good(transaction, reference, user)
            sessions = transaction.sessions.list_open(user.id, now=now)
            restored = user.with_email(stored.email, now=now)
            transaction.users.save(restored)
            transaction.one_time_tokens.end_all(user.id, now=now, keep=KEPT_BESIDE_NEWER)
            transaction.one_time_tokens.end_all(user.id, now=now, made_since=stored.created_at)
            for session in sessions:
                revoke_session(
                    transaction,
                    session,
                    reason="email-change-undone",
                    event_id=self._event_id(),
                    now=now,
                    access_lifetime=self._access_lifetime,
                )
            transaction.record(self._email_changed(restored, EmailChange.UNDONE, now=now))
            transaction.record(
                security_notice(user, NotificationKind.EMAIL_CHANGE_UNDONE, event_id=self._event_id(), now=now)
            )
            transaction.audit.add(self._entry(AuditAction.USER_EMAIL_CHANGE_UNDONE, user, restored, now=now))
            return restored

        return self._uow.run(work)

    def _require_good(self, transaction: Transaction, reference: TokenReference, user: User) -> OneTimeToken:
        stored = transaction.one_time_tokens.find(reference.user_id, reference.digest)
        if stored is None or not self.would_succeed(stored, user):
            raise OneTimeTokenInvalidError
        return stored

    def _entry(self, action: AuditAction, before: User, after: User, *, now: datetime) -> AuditEntry:
        return AuditEntry(
            id=AuditEntryId(self._ids.new()),
            at=now,
            action=action,
            actor=Actor.user(after.id),
            subject=Subject.user(after.id),
            before={"email": before.email.address, "pendingEmail": before.pending_email},
            after={"email": after.email.address, "pendingEmail": after.pending_email},
        )

    def _email_changed(self, user: User, method: EmailChange, *, now: datetime) -> UserEmailChanged:
        return UserEmailChanged(
            id=self._event_id(), occurred_at=now, user_id=user.id, email=user.email.address, method=method
        )

    def _event_id(self) -> EventId:
        return EventId(self._ids.new())
