"""Showing that an address belongs to whoever registered it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from userservice_core.application.mailed_tokens import read_mailed_token
from userservice_core.domain.audit import Actor, AuditAction, AuditEntry, Subject
from userservice_core.domain.events import NotificationKind, UserEmailVerified
from userservice_core.domain.ids import AuditEntryId, EventId
from userservice_core.domain.one_time_tokens import CHOOSE_PASSWORD, OneTimeToken, TokenPurpose
from userservice_core.domain.users import User, UserStatus
from userservice_core.errors import OneTimeTokenInvalidError, UserNotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.application.email_changes import EmailChanges
    from userservice_core.application.link_requests import LinkRequests
    from userservice_core.application.mailed_tokens import MailedTokens, TokenReference
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.one_time_tokens import OneTimeTokenReader
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork
    from userservice_core.ports.users import UserReader

_NOT_PENDING = "not-pending"


@attrs.frozen(kw_only=True)
class TokenInspection:
    """What a mailed token is for, None where that is unknown, and whether presenting it now would succeed."""

    purpose: TokenPurpose | None
    valid: bool


class EmailVerification:
    """A mailed link confirms an address; it never signs anyone in."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        users: UserReader,
        tokens: OneTimeTokenReader,
        links: LinkRequests,
        changes: EmailChanges,
        mailed_tokens: MailedTokens,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._uow = uow
        self._users = users
        self._tokens = tokens
        self._links = links
        self._changes = changes
        self._mailed_tokens = mailed_tokens
        self._clock = clock
        self._ids = ids

    def request(self, *, email: str) -> None:
        """
        Mail a new link to the owner of a pending account, which ends the earlier one; otherwise do nothing.

        The caller cannot tell from the result whether there is such an account, nor whether it had as many mails as an
        hour may bring.

        Raises:
            InvalidInputError: If *email* is not an address.
        """
        self._links.serve(email=email, action=AuditAction.USER_EMAIL_VERIFICATION_REQUESTED, send=self._send_link)

    def _send_link(self, transaction: Transaction, user: User, now: datetime) -> str | None:
        if user.deleted_at is not None or user.status is not UserStatus.PENDING_VERIFICATION:
            return _NOT_PENDING
        self._mailed_tokens.issue(
            user, purpose=TokenPurpose.VERIFY_EMAIL, kind=NotificationKind.VERIFY_EMAIL, now=now
        ).write_into(transaction)
        return None

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
        return TokenInspection(purpose=stored.purpose, valid=self._would_succeed(stored, user))

    def confirm(self, *, token: str) -> User:
        """
        Record that the address was confirmed; a pending account becomes active.

        A token that was mailed when the address was to change, or had changed, does or undoes that instead
        (:class:`.email_changes.EmailChanges`). One that confirmed the address already succeeds again and changes
        nothing, so a link opened twice is no error.

        Raises:
            OneTimeTokenInvalidError: If the token is unknown, expired, replaced, or for another address.
            EmailTakenError: If another account holds the address that this one is to have.
        """
        reference = read_mailed_token(token)
        stored = self._tokens.find(reference.user_id, reference.digest)
        try:
            match None if stored is None else stored.purpose:
                case TokenPurpose.CHANGE_EMAIL:
                    return self._changes.confirm(reference)
                case TokenPurpose.UNDO_EMAIL_CHANGE:
                    return self._changes.undo(reference)
            return self._uow.run(lambda transaction: self._confirm(transaction, reference))
        except UserNotFoundError as error:
            raise OneTimeTokenInvalidError from error

    def _confirm(self, transaction: Transaction, reference: TokenReference) -> User:
        now = self._clock.now()
        user = transaction.users.get(reference.user_id)
        stored = transaction.one_time_tokens.find(reference.user_id, reference.digest)
        if stored is None or not self._would_confirm(stored, user):
            raise OneTimeTokenInvalidError
        verified = user.verify_email(now=now)
        if verified is not user:
            transaction.users.save(verified)
            transaction.one_time_tokens.save(stored.used(now=now))
            transaction.record(self._email_verified(verified, now=now))
            transaction.audit.add(email_verified_entry(user, verified, entry_id=AuditEntryId(self._ids.new()), now=now))
        return verified

    def _would_succeed(self, stored: OneTimeToken, user: User) -> bool:
        if stored.purpose in CHOOSE_PASSWORD:
            is_good = stored.is_good_for(stored.purpose, email_key=user.email.key, now=self._clock.now())
            return is_good and user.may_choose_password
        return self._would_confirm(stored, user) or self._changes.would_succeed(stored, user)

    def _would_confirm(self, stored: OneTimeToken, user: User) -> bool:
        if user.deleted_at is not None or user.status in {UserStatus.SUSPENDED, UserStatus.DEACTIVATED}:
            return False
        if user.email_verified:
            return (stored.purpose, stored.email_key) == (TokenPurpose.VERIFY_EMAIL, user.email.key)
        return stored.is_good_for(TokenPurpose.VERIFY_EMAIL, email_key=user.email.key, now=self._clock.now())

    def _email_verified(self, user: User, *, now: datetime) -> UserEmailVerified:
        return UserEmailVerified(
            id=EventId(self._ids.new()), occurred_at=now, user_id=user.id, email=user.email.address
        )


def email_verified_entry(before: User, after: User, *, entry_id: AuditEntryId, now: datetime) -> AuditEntry:
    """Say that the owner of a mailbox has shown that they read it."""
    return AuditEntry(
        id=entry_id,
        at=now,
        action=AuditAction.USER_EMAIL_VERIFIED,
        actor=Actor.user(after.id),
        subject=Subject.user(after.id),
        before={"emailVerified": before.email_verified, "status": before.status},
        after={"emailVerified": after.email_verified, "status": after.status},
    )
