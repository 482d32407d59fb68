"""Choosing a new password: by the current one, or by a mailed link."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from userservice_core.application.email_verification import email_verified_entry
from userservice_core.application.mailed_tokens import read_mailed_token
from userservice_core.application.password_proofs import require_same_password
from userservice_core.application.security_notices import security_notice
from userservice_core.application.session_ends import revoke_session
from userservice_core.domain.audit import Actor, AuditAction, AuditEntry, Subject
from userservice_core.domain.credentials import Credential
from userservice_core.domain.events import (
    NotificationKind,
    PasswordChange,
    UserEmailVerified,
    UserPasswordChanged,
    UserPasswordResetRequested,
)
from userservice_core.domain.ids import AuditEntryId, EventId
from userservice_core.domain.one_time_tokens import CHOOSE_PASSWORD, KEPT_BESIDE_NEWER, TokenPurpose
from userservice_core.domain.passwords import known_words, normalise_password
from userservice_core.domain.users import User
from userservice_core.errors import (
    CurrentPasswordWrongError,
    InvalidAccessTokenError,
    InvalidCredentialsError,
    InvalidInputError,
    OneTimeTokenInvalidError,
    UserNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from userservice_core.application.access import Principal
    from userservice_core.application.known_devices import KnownDevices
    from userservice_core.application.link_requests import LinkRequests
    from userservice_core.application.mailed_tokens import MailedTokens, TokenReference
    from userservice_core.application.password_history import PasswordHistory
    from userservice_core.application.password_proofs import PasswordProofs
    from userservice_core.application.password_rules import PasswordRules
    from userservice_core.domain.credentials import SignIn
    from userservice_core.domain.one_time_tokens import OneTimeToken
    from userservice_core.domain.passwords import PasswordPolicy
    from userservice_core.domain.sessions import Origin, Session
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.one_time_tokens import OneTimeTokenReader
    from userservice_core.ports.profiles import ProfileReader
    from userservice_core.ports.security import PasswordHasher
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork
    from userservice_core.ports.users import UserReader

_NOT_USABLE = "account-not-usable"


@attrs.frozen(kw_only=True)
class PasswordChanged:
    """
    Whose password it is, and what their device is known by from now on.

    Attributes:
        device_token: In the place of the one from before, which has ended with all others.
    """

    user: User
    device_token: str = attrs.field(repr=False)


class Passwords:
    """Whoever is signed in and knows the password may replace it, and whoever reads the mail of the address."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        users: UserReader,
        tokens: OneTimeTokenReader,
        hasher: PasswordHasher,
        proofs: PasswordProofs,
        rules: PasswordRules,
        history: PasswordHistory,
        profiles: ProfileReader,
        links: LinkRequests,
        mailed_tokens: MailedTokens,
        devices: KnownDevices,
        clock: Clock,
        ids: IdGenerator,
        access_lifetime: timedelta,
    ) -> None:
        self._devices = devices
        self._rules = rules
        self._history = history
        self._profiles = profiles
        self._uow = uow
        self._users = users
        self._tokens = tokens
        self._hasher = hasher
        self._proofs = proofs
        self._links = links
        self._mailed_tokens = mailed_tokens
        self._clock = clock
        self._ids = ids
        self._access_lifetime = access_lifetime

    @property
    def policy(self) -> PasswordPolicy:
        """What a new password must satisfy."""
        return self._rules.policy

    def request_reset(self, *, email: str) -> None:
        """
        Mail a link to the owner of the account, which ends the earlier one; do nothing where there is none.

        The owner of a deleted account gets a link that restores it.

        The caller cannot tell from the result whether there is an account, nor whether it had as many mails as an hour
        may bring.

        Raises:
            InvalidInputError: If *email* is not an address.
        """
        self._links.serve(email=email, action=AuditAction.USER_PASSWORD_RESET_REQUESTED, send=self._send_link)

    def _send_link(self, transaction: Transaction, user: User, now: datetime) -> str | None:
        if user.deleted_at is not None:
            self._mailed_tokens.restore_link(user, now=now).write_into(transaction)
            return None
        if not user.may_choose_password:
            return _NOT_USABLE
        transaction.record(UserPasswordResetRequested(id=self._event_id(), occurred_at=now, user_id=user.id))
        self._mailed_tokens.issue(
            user, purpose=TokenPurpose.RESET_PASSWORD, kind=NotificationKind.RESET_PASSWORD, now=now
        ).write_into(transaction)
        return None

    def reset(self, *, token: str, password: str) -> User:
        """
        Replace the password and end every session; it signs nobody in.

        The link was read in the owner's mail, so an address that was not confirmed yet is confirmed by it. That of an
        invitation is taken, too: the password is the first one then, and no notice of it is mailed.

        Raises:
            OneTimeTokenInvalidError: If the token is unknown, expired, used, replaced, or for another address.
            InvalidInputError: If the password breaks a rule, or is an earlier one; the token stays good.
            OverloadedError: If too many passwords are being hashed already; the token stays good.
            BreachCheckUnavailableError: If it cannot be told whether the password was leaked, and must be.
        """
        reference = read_mailed_token(token)
        try:
            user = self._users.get(reference.user_id)
            # Before the costly hash; the transaction decides.
            self._require_good(user, self._tokens.find(reference.user_id, reference.digest))
            context = known_words(user.email, self._profiles.get(user.id))
            if faults := self._rules.faults(password, context=context):
                raise InvalidInputError(faults)
            if faults := self._history.reset_faults(password, user_id=user.id):
                raise InvalidInputError(faults)
            password_hash = self._hasher.hash(normalise_password(password))
            return self._uow.run(lambda transaction: self._reset(transaction, reference, password_hash))
        except UserNotFoundError as error:
            raise OneTimeTokenInvalidError from error

    def change(self, *, caller: Principal, current: str, new: str, origin: Origin) -> PasswordChanged:
        """
        Replace the caller's password, end every session but the one they do so in, and forget all other devices.

        Raises:
            InvalidInputError: If the new password breaks a rule, where the current one is not looked at; or if the
                current one is right, and the new one is an earlier one.
            CurrentPasswordWrongError: If the current one is wrong, or was replaced at the same moment.
            InvalidAccessTokenError: If the session has ended, or the account cannot be used.
            OverloadedError: If too many passwords are being hashed already.
            BreachCheckUnavailableError: If it cannot be told whether the password was leaked, and must be.
        """
        try:
            user = self._users.get(caller.user_id)
            profile = self._profiles.get(user.id)
            if faults := self._rules.change_faults(new, current=current, email=user.email, profile=profile):
                raise InvalidInputError(faults)
            checked = self._proofs.require(caller=caller, password=current, origin=origin)
            # Only now: former passwords, too, are nothing that whoever took over a session may guess.
            if faults := self._history.faults(new, instead_of=checked.credential):
                raise InvalidInputError(faults)
            password_hash = self._hasher.hash(normalise_password(new))
            user = self._uow.run(lambda transaction: self._change(transaction, caller, checked, password_hash))
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error
        except InvalidCredentialsError as error:
            raise CurrentPasswordWrongError from error
        return PasswordChanged(user=user, device_token=self._devices.token_for(user.id, None))

    def _change(self, transaction: Transaction, caller: Principal, checked: SignIn, password_hash: str) -> User:
        now = self._clock.now()
        latest = transaction.sign_ins.get(caller.user_id)
        require_same_password(checked, latest)
        user = transaction.users.get(caller.user_id)
        sessions = transaction.sessions.list_open(user.id, now=now)
        others = [session for session in sessions if session.id != caller.session_id]
        if not user.is_live or len(others) == len(sessions):
            raise InvalidAccessTokenError
        self._replace(transaction, latest, password_hash, now=now)
        self._end(transaction, others, now=now)
        calmed = user.without_pending_email(now=now)
        if calmed is not user:
            transaction.users.save(calmed)
        self._tell(transaction, user, PasswordChange.CHANGE, now=now)
        return calmed

    def _reset(self, transaction: Transaction, reference: TokenReference, password_hash: str) -> User:
        now = self._clock.now()
        latest = transaction.sign_ins.get(reference.user_id)
        user = transaction.users.get(reference.user_id)
        stored = self._require_good(user, transaction.one_time_tokens.find(reference.user_id, reference.digest))
        sessions = transaction.sessions.list_open(user.id, now=now)

        self._replace(transaction, latest, password_hash, now=now)
        self._end(transaction, sessions, now=now)
        verified = self._verified(transaction, user, now=now)
        is_first = stored.purpose is TokenPurpose.INVITE
        self._tell(transaction, user, PasswordChange.INVITATION if is_first else PasswordChange.RESET, now=now)
        return verified

    def _replace(self, transaction: Transaction, latest: SignIn, password_hash: str, *, now: datetime) -> None:
        """Store the new password; whatever could have brought in somebody else ends with the old one."""
        user_id = latest.user.id
        transaction.sign_ins.save_credential(
            Credential(
                user_id=user_id,
                password_hash=password_hash,
                changed_at=now,
                former_hashes=self._history.after(latest.credential),
            )
        )
        transaction.sign_ins.save_state(attrs.evolve(latest.state, failed_attempts=0, locked_until=None))
        transaction.one_time_tokens.end_all(user_id, now=now, keep=KEPT_BESIDE_NEWER)

    def _end(self, transaction: Transaction, sessions: Iterable[Session], *, now: datetime) -> None:
        for session in sessions:
            revoke_session(
                transaction,
                session,
                reason="password-changed",
                event_id=self._event_id(),
                now=now,
                access_lifetime=self._access_lifetime,
            )

    def _tell(self, transaction: Transaction, user: User, method: PasswordChange, *, now: datetime) -> None:
        transaction.record(UserPasswordChanged(id=self._event_id(), occurred_at=now, user_id=user.id, method=method))
        if method is not PasswordChange.INVITATION:
            notice = security_notice(user, NotificationKind.PASSWORD_CHANGED, event_id=self._event_id(), now=now)
            transaction.record(notice)
        transaction.audit.add(
            AuditEntry(
                id=AuditEntryId(self._ids.new()),
                at=now,
                action=AuditAction.USER_PASSWORD_CHANGED,
                actor=Actor.user(user.id),
                subject=Subject.user(user.id),
                after={"method": method},
                changed=("password",),
            )
        )

    def _verified(self, transaction: Transaction, user: User, *, now: datetime) -> User:
        if user.email_verified:
            # However much of it is different, it is one version.
            calmed = user.without_pending_email(now=now).with_deliverable_email(now=now)
            if calmed is not user:
                calmed = attrs.evolve(calmed, version=user.version + 1)
                transaction.users.save(calmed)
            return calmed
        verified = user.verify_email(now=now)
        transaction.users.save(verified)
        transaction.record(
            UserEmailVerified(id=self._event_id(), occurred_at=now, user_id=user.id, email=user.email.address)
        )
        transaction.audit.add(email_verified_entry(user, verified, entry_id=AuditEntryId(self._ids.new()), now=now))
        return verified

    def _require_good(self, user: User, stored: OneTimeToken | None) -> OneTimeToken:
        is_good = (
            stored is not None
            and user.may_choose_password
            and stored.purpose in CHOOSE_PASSWORD
            and stored.is_good_for(stored.purpose, email_key=user.email.key, now=self._clock.now())
        )
        if stored is None or not is_good:
            raise OneTimeTokenInvalidError
        return stored

    def _event_id(self) -> EventId:
        return EventId(self._ids.new())
