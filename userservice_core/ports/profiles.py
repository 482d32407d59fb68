"""Where profiles live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId
    from userservice_core.domain.profiles import UserProfile


class ProfileReader(Protocol):
    """Reads profiles outside a transaction, from the primary; each call is one statement."""

    def get(self, user_id: UserId) -> UserProfile:
        """
        Return the user's profile, an empty one of version 0 where nothing was ever written.

        Raises:
            UserNotFoundError: If no user has this id, or it was erased.
            DatabaseUnavailableError: If the database cannot be reached.
            DeadlineExceededError: If the call's deadline passed.
        """
        ...


class ProfileRepository(Protocol):
    """The profiles of one transaction."""

    def get(self, user_id: UserId) -> UserProfile:
        """
        Return the latest committed profile as :meth:`ProfileReader.get` does, and lock the user until the end.

        Raises:
            UserNotFoundError: If no user has this id.
        """
        ...

    def save(self, profile: UserProfile) -> None:
        """
        Store a changed profile, or the first one of its user.

        The profile carries the version it is to have, one more than the stored one.

        Raises:
            StaleVersionError: At commit, if the stored version is another one.
            UserNotFoundError: At commit, if no user has its id, and it is the first one.
        """
        ...
