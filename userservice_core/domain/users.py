"""The user: identity, status, and what each status allows."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.ids import UserId
from userservice_core.domain.json_objects import JsonObject, are_equal, object_faults
from userservice_core.domain.roles import INITIAL_ROLES, AssignedRole
from userservice_core.errors import (
    AccountDeactivatedError,
    AccountSuspendedError,
    EmailNotVerifiedError,
    InvalidCredentialsError,
    InvalidInputError,
    OneTimeTokenInvalidError,
    StatusChangeNotAllowedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class UserStatus(enum.StrEnum):
    """Where an account stands; deletion is apart from it (:attr:`User.deleted_at`)."""

    PENDING_VERIFICATION = "pending_verification"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"


class Mover(enum.StrEnum):
    """Who gives an account another status."""

    OWNER = "owner"
    ADMINISTRATOR = "administrator"
    PRIVACY_REQUEST = "privacy-request"
    """An event that asks for the erasure; it moves no account from one status to another."""


STATUS_MOVES: Final[Mapping[tuple[UserStatus, UserStatus], frozenset[Mover]]] = {
    (UserStatus.PENDING_VERIFICATION, UserStatus.ACTIVE): frozenset({Mover.OWNER}),
    (UserStatus.ACTIVE, UserStatus.SUSPENDED): frozenset({Mover.ADMINISTRATOR}),
    (UserStatus.SUSPENDED, UserStatus.ACTIVE): frozenset({Mover.ADMINISTRATOR}),
    (UserStatus.ACTIVE, UserStatus.DEACTIVATED): frozenset({Mover.OWNER}),
    (UserStatus.DEACTIVATED, UserStatus.ACTIVE): frozenset({Mover.OWNER, Mover.ADMINISTRATOR}),
}
"""From which status to which other one an account may go, and who may have it so; there is no other way."""


@attrs.frozen(kw_only=True)
class User:
    """
    An account.

    Attributes:
        email_undeliverable_since: When the address was first found to take no mail; None where nothing is known of it.
        version: Backs the ETag; every change of the user or of their roles raises it by one, a sign-in does not.
        access_version: Raised by one whenever what the user may do changes; fences the caches of it.
    """

    id: UserId
    email: EmailAddress
    email_verified: bool = False
    pending_email: str | None = None
    email_undeliverable_since: datetime | None = None
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
    def may_choose_password(self) -> bool:
        """Whether its owner may take the account up, or take it up again, by a link that was mailed to them."""
        return self.deleted_at is None and self.status in {UserStatus.PENDING_VERIFICATION, UserStatus.ACTIVE}

    @property
    def role_names(self) -> tuple[str, ...]:
        """The names of the roles held, in the order of the alphabet."""
        return tuple(sorted(role.name for role in self.roles))

    def verify_email(self, *, now: datetime) -> User:
        """
        Record that the owner of the address confirmed it; a pending account becomes active.

        A user whose address is verified already is returned unchanged. A mail that was read has arrived, so the address
        counts as one that takes mail again.

        Raises:
            OneTimeTokenInvalidError: If the account is suspended, deactivated or deleted.
        """
        if self.deleted_at is not None or self.status in {UserStatus.SUSPENDED, UserStatus.DEACTIVATED}:
            raise OneTimeTokenInvalidError
        if self.email_verified:
            return self
        return attrs.evolve(
            self,
            email_verified=True,
            email_undeliverable_since=None,
            status=UserStatus.ACTIVE,
            updated_at=now,
            version=self.version + 1,
        )

    def with_undeliverable_email(self, *, now: datetime) -> User:
        """Note that the address takes no mail; a user of whom that is known is returned unchanged."""
        if self.email_undeliverable_since is not None:
            return self
        return attrs.evolve(self, email_undeliverable_since=now, updated_at=now, version=self.version + 1)

    def with_deliverable_email(self, *, now: datetime) -> User:
        """Note that a mail has arrived; a user of whom nothing else was known is returned unchanged."""
        if self.email_undeliverable_since is None:
            return self
        return attrs.evolve(self, email_undeliverable_since=None, updated_at=now, version=self.version + 1)

    def with_pending_email(self, address: str, *, now: datetime) -> User:
        """Note the address that the user is to have once it is confirmed; one noted already is no change."""
        if self.pending_email == address:
            return self
        return attrs.evolve(self, pending_email=address, updated_at=now, version=self.version + 1)

    def with_email(self, email: EmailAddress, *, now: datetime) -> User:
        """Give the user an address that its owner has confirmed."""
        return attrs.evolve(
            self,
            email=email,
            email_verified=True,
            pending_email=None,
            email_undeliverable_since=None,
            updated_at=now,
            version=self.version + 1,
        )

    def moved_to(self, status: UserStatus, *, by: Mover, now: datetime) -> User:
        """
        Give the account another status, by :data:`STATUS_MOVES`; one that has it already is returned unchanged.

        A deleted account may be moved, too: what it is then decides what it comes back to.

        Raises:
            StatusChangeNotAllowedError: If there is no such move, or it is not theirs to make.
            OneTimeTokenInvalidError: As :meth:`verify_email` does, which is the move of a pending account.
        """
        if status is self.status:
            return self
        if by not in STATUS_MOVES.get((self.status, status), ()):
            raise StatusChangeNotAllowedError(status=self.status.value)
        if self.status is UserStatus.PENDING_VERIFICATION:
            return self.verify_email(now=now)
        return self._with_other_access(now=now, status=status)

    def deleted(self, *, now: datetime) -> User:
        """Delete the account, which keeps its status and its address; one that is deleted is returned unchanged."""
        return self if self.deleted_at is not None else self._with_other_access(now=now, deleted_at=now)

    def restored(self, *, now: datetime) -> User:
        """Undo the deletion; an account that is not deleted is returned unchanged."""
        return self if self.deleted_at is None else self._with_other_access(now=now, deleted_at=None)

    def _with_other_access(self, *, now: datetime, **changes: Any) -> User:  # noqa: ANN401 - each has its own type
        return attrs.evolve(
            self,
            # Its link has ended with all others.
            pending_email=None,
            updated_at=now,
            version=self.version + 1,
            access_version=self.access_version + 1,
            **changes,
        )

    def without_pending_email(self, *, now: datetime) -> User:
        """Withdraw a change of address that waits for its confirmation; without one the user is returned unchanged."""
        if self.pending_email is None:
            return self
        return attrs.evolve(self, pending_email=None, updated_at=now, version=self.version + 1)

    def with_mfa(self, *, enabled: bool, now: datetime) -> User:
        """Note whether signing in takes a second factor."""
        return attrs.evolve(self, mfa_enabled=enabled, updated_at=now, version=self.version + 1)

    def with_attributes(self, attributes: JsonObject, *, now: datetime) -> User:
        """
        Let administrators note *attributes*; if these are what is noted already, the user is returned unchanged.

        Raises:
            InvalidInputError: If the object is too large, or nested too deeply.
        """
        if are_equal(attributes, self.attributes):
            return self
        if faults := tuple(object_faults("attributes", attributes)):
            raise InvalidInputError(faults)
        return attrs.evolve(self, attributes=attributes, updated_at=now, version=self.version + 1)

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
