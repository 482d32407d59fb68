"""Where addresses live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from userservice_core.domain.addresses import Address
    from userservice_core.domain.ids import AddressId, UserId


class AddressReader(Protocol):
    """Reads addresses outside a transaction, from the primary; each call is one statement."""

    def get(self, user_id: UserId, address_id: AddressId) -> Address:
        """
        Return one address of the user.

        Raises:
            AddressNotFoundError: If the user has no such address.
            DatabaseUnavailableError: If the database cannot be reached.
            DeadlineExceededError: If the call's deadline passed.
        """
        ...

    def list_of(self, user_id: UserId) -> tuple[Address, ...]:
        """Return all addresses of the user in the order of their ids; none where there is no such user."""
        ...


class AddressRepository(Protocol):
    """
    The addresses of one transaction.

    A user has at most one default of each kind: whoever makes another one the default saves the old one first.
    """

    def list_of(self, user_id: UserId) -> tuple[Address, ...]:
        """
        Return the latest committed addresses of the user in the order of their ids, and lock the user until the end.

        Raises:
            UserNotFoundError: If no user has this id.
        """
        ...

    def add(self, address: Address) -> None:
        """
        Store a new address.

        Raises:
            AlreadyExistsError: At commit, if the user has one with this id, or another default of the same kind.
            UserNotFoundError: At commit, if there is no such user.
        """
        ...

    def save(self, address: Address) -> None:
        """
        Store a changed address.

        The address carries the version it is to have, one more than the stored one.

        Raises:
            StaleVersionError: At commit, if the stored version is another one, or the address is gone.
            AlreadyExistsError: At commit, if the user has another default of the same kind.
        """
        ...

    def remove(self, user_id: UserId, address_id: AddressId) -> None:
        """Erase an address. Absent: no effect."""
        ...
