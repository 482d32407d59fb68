"""A user's own account, and the first one of an installation."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import attrs

from userservice_core.application.registration import user_registered
from userservice_core.domain.audit import SYSTEM, AuditAction, AuditEntry, Subject
from userservice_core.domain.credentials import Credential
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.ids import AuditEntryId, EventId, UserId
from userservice_core.domain.roles import ADMIN_ROLE, INITIAL_ROLES, AssignedRole
from userservice_core.domain.users import User, UserStatus
from userservice_core.errors import EmailTakenError, InvalidAccessTokenError, UserNotFoundError

if TYPE_CHECKING:
    from userservice_core.ports.clock import Clock, Entropy, IdGenerator
    from userservice_core.ports.roles import RoleReader
    from userservice_core.ports.security import PasswordHasher
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork
    from userservice_core.ports.users import UserReader

_PASSWORD_BYTES = 15  # 120 bits, 24 characters in base32


class Accounts:
    """Reading one's own account, and creating the account that administers the others."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        users: UserReader,
        roles: RoleReader,
        hasher: PasswordHasher,
        clock: Clock,
        ids: IdGenerator,
        entropy: Entropy,
    ) -> None:
        self._uow = uow
        self._users = users
        self._roles = roles
        self._hasher = hasher
        self._clock = clock
        self._ids = ids
        self._entropy = entropy

    def who_am_i(self, *, user_id: UserId) -> User:
        """
        Return the caller's account.

        Raises:
            InvalidAccessTokenError: If the account was erased, or cannot be used any more.
        """
        try:
            user = self._users.get(user_id)
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error
        if not user.is_live:
            raise InvalidAccessTokenError
        return user

    def create_first_administrator(self, *, email: str) -> str | None:
        """
        Create an administrator unless there is one.

        Returns:
            The one-time password, which is stored nowhere and has to be replaced at the first sign-in; None where there
            is an administrator already, or the address belongs to an account.

        Raises:
            InvalidInputError: If *email* is not an address.
        """
        address = EmailAddress.parse(email)
        if self._roles.is_held(ADMIN_ROLE.id):
            return None
        password = base64.b32encode(self._entropy.token_bytes(_PASSWORD_BYTES)).decode().lower()
        password_hash = self._hasher.hash(password)
        now = self._clock.now()
        roles = (*INITIAL_ROLES, AssignedRole(ADMIN_ROLE.id, ADMIN_ROLE.name))
        user = attrs.evolve(
            User.register(user_id=UserId(self._ids.new()), email=address, now=now, roles=roles),
            status=UserStatus.ACTIVE,
            email_verified=True,
        )
        credential = Credential(user_id=user.id, password_hash=password_hash, changed_at=now, must_change=True)
        registered = user_registered(user, event_id=EventId(self._ids.new()))

        entry = AuditEntry(
            id=AuditEntryId(self._ids.new()),
            at=now,
            action=AuditAction.USER_CREATED,
            actor=SYSTEM,
            subject=Subject.user(user.id),
            after={"email": user.email.address, "status": user.status, "roles": user.role_names},
        )

        def work(transaction: Transaction) -> None:
            transaction.users.add(user)
            transaction.sign_ins.add(credential)
            transaction.record(registered)
            transaction.audit.add(entry)

        try:
            self._uow.run(work)
        except EmailTakenError:
            return None
        return password
