"""Where password hashes and the state of sign-ins live; the privileged side of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from userservice_core.domain.credentials import Credential, LoginState, SignIn
    from userservice_core.domain.ids import UserId


class SignInReader(Protocol):
    """Reads what deciding about a sign-in needs, from the primary, outside a transaction."""

    def find_sign_in(self, email_key: str) -> SignIn | None:
        """
        Return user, credential and login state for the address with this key, or None.

        Takes the same statements and about the same time whether the address is known or not.
        """
        ...

    def get(self, user_id: UserId) -> SignIn:
        """
        Return user, credential and login state.

        Raises:
            UserNotFoundError: If no user has this id.
        """
        ...

    def sample_hashes(self, *, limit: int) -> tuple[str, ...]:
        """
        Return the password hashes of at most *limit* accounts, picked about at random; all where there are fewer.

        To learn what they were made with; takes about as long however many accounts there are.
        """
        ...


class SignInRepository(Protocol):
    """The credentials and login states of one transaction."""

    def get(self, user_id: UserId) -> SignIn:
        """
        Lock the login state's row until the transaction ends, then read user, credential and state.

        What is read was committed when the lock was had, not before: a sign-in that waited for a suspension sees it.

        Raises:
            UserNotFoundError: If no user has this id.
        """
        ...

    def add(self, credential: Credential) -> None:
        """Store the credential of a new user together with a fresh login state."""
        ...

    def add_state(self, state: LoginState) -> None:
        """Store the login state of a new user who has no password."""
        ...

    def save_credential(self, credential: Credential) -> None:
        """Replace the user's credential, or store their first one."""
        ...

    def save_state(self, state: LoginState) -> None:
        """Replace the user's login state; for one whose row is locked by :meth:`get`. Absent: no effect."""
        ...

    def count_failure(self, user_id: UserId) -> None:
        """Add one to the failed attempts, exactly, however many do so at once. Unknown user: no effect, same work."""
        ...
