"""Where users live."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from userservice_core.domain.ids import RoleId, UserId
from userservice_core.domain.users import UserStatus

if TYPE_CHECKING:
    from collections.abc import Collection

    from userservice_core.domain.credentials import UserOverview
    from userservice_core.domain.lists import Page, PageRequest
    from userservice_core.domain.users import User


@attrs.frozen(kw_only=True)
class UserFilter:
    """
    Which users are wanted; None takes all.

    Attributes:
        email_parts: Whose address has one of these in its key; empty for all.
        email_key: Whose address has this key.
        status: In this status, deleted or not.
        role_id: Who hold this role.
        role_name: Who hold the role of this name, regardless of case.
        created_from: Made at this moment or later.
        created_before: Made earlier than this moment.
        deleted: True for the deleted ones, False for the others.
        ids: One of these.
    """

    email_parts: tuple[str, ...] = ()
    email_key: str | None = None
    status: UserStatus | None = None
    role_id: RoleId | None = None
    role_name: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    deleted: bool | None = False
    ids: frozenset[UserId] | None = None


USER_SORTS: Final = ("createdAt", "email", "lastLoginAt")
"""What users can be sorted by: addresses by their keys, and who never signed in behind all others."""


class UserReader(Protocol):
    """
    Reads users outside a transaction; each call is one statement.

    Where a request may read a replica (:mod:`userservice_core.ports.consistency`), what it reads may be older by at
    most the lag that the settings allow, and never older than what its caller is known to have written.
    """

    def get(self, user_id: UserId) -> User:
        """
        Return the user with their roles, whatever their status, deleted ones included.

        Raises:
            UserNotFoundError: If no user has this id, or it was erased.
            DatabaseUnavailableError: If the database cannot be reached.
            DeadlineExceededError: If the call's deadline passed.
        """
        ...

    def get_overview(self, user_id: UserId) -> UserOverview:
        """
        Return the user as :meth:`get` does, with the state of their sign-ins.

        Raises:
            UserNotFoundError: If no user has this id, or it was erased.
        """
        ...

    def list_page(self, users: UserFilter, request: PageRequest) -> Page[UserOverview]:
        """
        Return a page of the list of *users*, sorted by one of :data:`USER_SORTS`.

        A second statement is needed for the total of a page past the last one, and where the total is an estimate.
        """
        ...

    def find_by_email(self, email_key: str) -> User | None:
        """Return the user who holds the address with this key, or None; deleted users hold theirs until erased."""
        ...

    def list_known(self, *, ids: Collection[UserId], email_keys: Collection[str]) -> tuple[tuple[UserId, str], ...]:
        """
        Return id and key of the address of every user who has one of *ids* or holds one of *email_keys*.

        Each comes once, deleted ones included; at most some hundreds may be asked for.
        """
        ...


class UserRepository(Protocol):
    """
    The users of one transaction.

    Writes take effect at commit; uniqueness is decided there, whatever was read before.
    """

    def get(self, user_id: UserId) -> User:
        """
        Return the latest committed user and lock the row until the transaction ends.

        Raises:
            UserNotFoundError: If no user has this id.
        """
        ...

    def find_by_email(self, email_key: str) -> User | None:
        """Return the user who holds the address with this key, locked as by :meth:`get`, or None."""
        ...

    def list_holders(self, role_id: RoleId, *, limit: int) -> tuple[User, ...]:
        """Return users who hold a role, deleted ones included, locked as by :meth:`get`, in the order of their ids."""
        ...

    def list_expired(
        self, *, deleted_before: datetime, pending_before: datetime, now: datetime, limit: int
    ) -> tuple[User, ...]:
        """
        Return users whose time is up, locked as by :meth:`get`, and the rows of their sign-ins with them, by id.

        Those that other transactions hold are left out, so that several can share the work.

        Args:
            deleted_before: A user who was deleted earlier than this is returned,
            pending_before: and so is one who was created earlier than this, has yet to confirm the address, and holds
                no invitation that is good at *now*.
            now: The present moment.
            limit: How many at most.
        """
        ...

    def add(self, user: User) -> None:
        """
        Store a new user with their roles.

        Raises:
            EmailTakenError: At commit, if another user holds the address.
            AlreadyExistsError: At commit, if the id is in use.
            RoleNotFoundError: At commit, if one of the roles does not exist.
        """
        ...

    def save(self, user: User) -> None:
        """
        Store a changed user, except for the roles.

        The user carries the version it is to have, one more than the stored one.

        Raises:
            StaleVersionError: At commit, if the stored version is another one.
            EmailTakenError: At commit, if another user holds the new address.
        """
        ...

    def save_roles(self, user: User) -> None:
        """
        Let a user hold exactly the roles that *user* names; the user itself is saved by :meth:`save`.

        Raises:
            RoleNotFoundError: At commit, if one of the roles does not exist.
            UserNotFoundError: At commit, if there is no such user and a role to hold.
        """
        ...

    def remove(self, user_id: UserId) -> None:
        """Erase the user and everything stored under their id; the address becomes free. Absent: no effect."""
        ...
