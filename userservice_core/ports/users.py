"""Where users live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.ids import RoleId, UserId
    from userservice_core.domain.users import User


class UserReader(Protocol):
    """
    Reads users outside a transaction; each call is one statement.

    Every method reads the primary, unless *replica_ok* is given and a replica serves; then the answer may be older
    by at most the lag the settings allow.
    """

    def get(self, user_id: UserId, *, replica_ok: bool = False) -> User:
        """
        Return the user with their roles, whatever their status, deleted ones included.

        Raises:
            UserNotFoundError: If no user has this id, or it was erased.
            DatabaseUnavailableError: If the database cannot be reached.
            DeadlineExceededError: If the call's deadline passed.
        """
        ...

    def find_by_email(self, email_key: str) -> User | None:
        """Return the user who holds the address with this key, or None; deleted users hold theirs until erased."""
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
