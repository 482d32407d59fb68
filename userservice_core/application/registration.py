"""Opening an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.application.mailed_tokens import MAILED_TO_ANYONE, may_mail
from userservice_core.domain.audit import ANONYMOUS, AuditAction, AuditEntry, Outcome, Subject
from userservice_core.domain.credentials import Credential
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.events import NotificationKind, UserRegistered
from userservice_core.domain.ids import AuditEntryId, EventId, UserId
from userservice_core.domain.one_time_tokens import TokenPurpose
from userservice_core.domain.passwords import known_words, normalise_password
from userservice_core.domain.users import User
from userservice_core.errors import EmailTakenError, Fault, InvalidInputError, RegistrationClosedError
from userservice_core.ports.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from userservice_core.application.mailed_tokens import MailedTokens
    from userservice_core.application.password_rules import PasswordRules
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.pacing import Pacer
    from userservice_core.ports.security import PasswordHasher
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork
    from userservice_core.ports.users import UserReader


class Registration:
    """Anyone may register; the account opens once the owner of the address has confirmed it."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        users: UserReader,
        hasher: PasswordHasher,
        rules: PasswordRules,
        pacer: Pacer,
        mailed_tokens: MailedTokens,
        clock: Clock,
        ids: IdGenerator,
        hides_emails: bool = False,
        is_open: bool = True,
    ) -> None:
        """Say by *hides_emails* which of the two ways to register is to be offered, and by *is_open* whether one is."""
        self._is_open = is_open
        self.hides_emails = hides_emails
        self._uow = uow
        self._users = users
        self._hasher = hasher
        self._rules = rules
        self._pacer = pacer
        self._mailed_tokens = mailed_tokens
        self._clock = clock
        self._ids = ids

    def register(self, *, email: str, password: str) -> User:
        """
        Store a pending user with their password, and have the address confirmed by mail.

        The address of a deleted account is taken; its owner is mailed a link that restores it.

        Raises:
            RegistrationClosedError: If nobody can register.
            InvalidInputError: If the address or the password breaks a rule; names every one.
            EmailTakenError: If an account holds the address.
            OverloadedError: If too many passwords are being hashed already; nothing was stored.
            BreachCheckUnavailableError: If it cannot be told whether the password was leaked, and must be.
        """
        self._require_open()
        address = self._validate(email, password)
        failpoint("register.validated")
        # What is taken is usually known before the costly hash; the database decides in any case.
        holder = self._users.find_by_email(address.key)
        if holder is not None:
            if holder.deleted_at is not None:
                self._mail_restore_link(address.key)
            raise EmailTakenError
        password_hash = self._hasher.hash(normalise_password(password))
        failpoint("register.hashed")
        now = self._clock.now()
        user = User.register(user_id=UserId(self._ids.new()), email=address, now=now)
        credential = Credential(user_id=user.id, password_hash=password_hash, changed_at=now)
        self._uow.run(self._opening(user, credential, now=now))
        failpoint("register.stored")
        return user

    def register_or_tell_owner(self, *, email: str, password: str) -> None:
        """
        Do what :meth:`register` does, and tell nobody but the owner of an address that it has an account.

        That owner is mailed a link, up to three an hour: to choose a new password, or to restore a deleted account;
        none where the account cannot be used. Either way a password is hashed and a transaction committed.

        Raises:
            RegistrationClosedError: If nobody can register.
            InvalidInputError: If the address or the password breaks a rule; names every one.
            OverloadedError: If too many passwords are being hashed already; nothing was stored.
        """
        self._require_open()
        address = self._validate(email, password)
        began = self._pacer.start()
        password_hash = self._hasher.hash(normalise_password(password))
        now = self._clock.now()
        user = User.register(user_id=UserId(self._ids.new()), email=address, now=now)
        credential = Credential(user_id=user.id, password_hash=password_hash, changed_at=now)
        open_account = self._opening(user, credential, now=now)

        def work(transaction: Transaction) -> None:
            holder = transaction.users.find_by_email(address.key)
            if holder is None:
                open_account(transaction)
            else:
                self._tell_owner(transaction, holder, now=now)

        try:
            self._uow.run(work)
        except EmailTakenError:
            # Somebody else has registered the address since it was looked up, and is told, too.
            self._uow.run(work)
        self._pacer.hold("registration", since=began)

    def _require_open(self) -> None:
        if not self._is_open:
            raise RegistrationClosedError

    def _validate(self, email: str, password: str) -> EmailAddress:
        address = None
        faults: tuple[Fault, ...] = ()
        context = [email.strip()]
        try:
            address = EmailAddress.parse(email)
            context.extend(known_words(address))
        except InvalidInputError as error:
            faults = error.faults
        faults += self._rules.faults(password, context=tuple(context))
        if address is None or faults:
            raise InvalidInputError(faults)
        return address

    def _mail_restore_link(self, email_key: str) -> None:
        def work(transaction: Transaction) -> None:
            user = transaction.users.find_by_email(email_key)
            now = self._clock.now()
            if user is None or user.deleted_at is None or not may_mail(transaction, user.id, MAILED_TO_ANYONE, now=now):
                return
            self._mailed_tokens.restore_link(user, now=now).write_into(transaction)

        self._uow.run(work)

    def _tell_owner(self, transaction: Transaction, holder: User, *, now: datetime) -> None:
        """Mail whoever has the account a link to it, and write down that somebody tried to register its address."""
        may = may_mail(transaction, holder.id, MAILED_TO_ANYONE, now=now)
        if may and holder.deleted_at is not None:
            self._mailed_tokens.restore_link(holder, now=now).write_into(transaction)
        elif may and holder.may_choose_password:
            self._mailed_tokens.issue(
                holder, purpose=TokenPurpose.RESET_PASSWORD, kind=NotificationKind.ALREADY_REGISTERED, now=now
            ).write_into(transaction)
        transaction.audit.add(
            AuditEntry(
                id=AuditEntryId(self._ids.new()),
                at=now,
                action=AuditAction.USER_REGISTERED,
                actor=ANONYMOUS,
                subject=Subject.user(holder.id),
                outcome=Outcome.REFUSED,
                reason=EmailTakenError.code,
            )
        )

    def _opening(self, user: User, credential: Credential, *, now: datetime) -> Callable[[Transaction], None]:
        """Return what writes a new account, its mail included."""
        mailed = self._mailed_tokens.issue(
            user, purpose=TokenPurpose.VERIFY_EMAIL, kind=NotificationKind.VERIFY_EMAIL, now=now
        )
        registered = user_registered(user, event_id=EventId(self._ids.new()))

        entry = AuditEntry(
            id=AuditEntryId(self._ids.new()),
            at=now,
            action=AuditAction.USER_REGISTERED,
            actor=ANONYMOUS,
            subject=Subject.user(user.id),
            after={"email": user.email.address, "status": user.status},
        )

        def work(transaction: Transaction) -> None:
            transaction.users.add(user)
            transaction.sign_ins.add(credential)
            transaction.one_time_tokens.add(mailed.stored)
            transaction.record(registered)
            transaction.record(mailed.request)
            transaction.audit.add(entry)

        return work


def user_registered(user: User, *, event_id: EventId) -> UserRegistered:
    """Say that *user* has come into being."""
    return UserRegistered(
        id=event_id,
        occurred_at=user.created_at,
        user_id=user.id,
        email=user.email.address,
        status=user.status.value,
        roles=user.role_names,
    )
