"""The user: identity, status, and what each status allows."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs

from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.ids import UserId
from userservice_core.domain.roles import INITIAL_ROLES, AssignedRole
from userservice_core.errors import (
    AccountDeactivatedError,
    AccountSuspendedError,
    EmailNotVerifiedError,
    InvalidCredentialsError,
    OneTimeTokenInvalidError,
)

JsonObject = Mapping[str, Any]


class UserStatus(enum.StrEnum):
    """Where an account stands; deletion is apart from it (:attr:`User.deleted_at`)."""

    PENDING_VERIFICATION = "pending_verification"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"


@attrs.frozen(kw_only=True)
class User:
    """
    An account.

    Attributes:
        version: Backs the ETag; every change of the user or of their roles raises it by one, a sign-in does not.
        access_version: Raised by one whenever what the user may do changes; fences the caches of it.
    """

    id: UserId
    email: EmailAddress
    email_verified: bool = False
    pending_email: str | None = None
    status: UserStatus = UserStatus.PENDING_VERIFICATION
    roles: tuple[AssignedRole, ...] = ()
    attributes: JsonObject = attrs.field(factory=dict)
    created_at: datetime
    updated_at: datetime
    mfa_enabled: bool = False
    deleted_at: datetime | None = None
    version: int = 1
    access_version: int = 1

    @classmethod
    def register(
        cls, *, user_id: UserId, email: EmailAddress, now: datetime, roles: tuple[AssignedRole, ...] = INITIAL_ROLES
    ) -> User:
        """Make a user who has yet to show that the address is theirs."""
        return cls(id=user_id, email=email, roles=roles, created_at=now, updated_at=now)

    @property
    def is_live(self) -> bool:
        """Whether tokens of this user are accepted at all."""
        return self.status is UserStatus.ACTIVE and self.deleted_at is None

    @property
    def role_names(self) -> tuple[str, ...]:
        """The names of the roles held, in the order of the alphabet."""
        return tuple(sorted(role.name for role in self.roles))

    def verify_email(self, *, now: datetime) -> User:
        """
        Record that the owner of the address confirmed it; a pending account becomes active.

        A user whose address is verified already is returned unchanged.

        Raises:
            OneTimeTokenInvalidError: If the account is suspended, deactivated or deleted.
        """
        if self.deleted_at is not None or self.status in {UserStatus.SUSPENDED, UserStatus.DEACTIVATED}:
            raise OneTimeTokenInvalidError
        if self.email_verified:
            return self
        return attrs.evolve(
            self, email_verified=True, status=UserStatus.ACTIVE, updated_at=now, version=self.version + 1
        )

    def without_pending_email(self, *, now: datetime) -> User:
        """Withdraw a change of address that waits for its confirmation; without one the user is returned unchanged."""
        if self.pending_email is None:
            return self
        return attrs.evolve(self, pending_email=None, updated_at=now, version=self.version + 1)

    def with_roles(self, roles: Iterable[AssignedRole], *, now: datetime) -> User:
        """Return the user holding exactly *roles*."""
        return attrs.evolve(
            self,
            roles=tuple(sorted(roles, key=lambda role: role.name)),
            updated_at=now,
            version=self.version + 1,
            access_version=self.access_version + 1,
        )

    def require_sign_in_allowed(self) -> None:
        """
        Check that the account may sign in; to be asked only after the right password.

        Raises:
            InvalidCredentialsError: If the account is deleted.
            EmailNotVerifiedError: If the address is not confirmed yet.
            AccountSuspendedError: If an administrator suspended the account.
            AccountDeactivatedError: If its owner deactivated it.
        """
        if self.deleted_at is not None:
            raise InvalidCredentialsError
        match self.status:
            case UserStatus.PENDING_VERIFICATION:
                raise EmailNotVerifiedError
            case UserStatus.SUSPENDED:
                raise AccountSuspendedError
            case UserStatus.DEACTIVATED:
                raise AccountDeactivatedError
            case UserStatus.ACTIVE:
                return
