"""Users as administrators find and read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from userservice_core.domain.addresses import Address
    from userservice_core.domain.credentials import UserOverview
    from userservice_core.domain.ids import RoleId, UserId
    from userservice_core.domain.lists import Page, PageRequest
    from userservice_core.domain.profiles import UserProfile
    from userservice_core.ports.addresses import AddressReader
    from userservice_core.ports.profiles import ProfileReader
    from userservice_core.ports.roles import RoleReader
    from userservice_core.ports.users import UserFilter, UserReader


class UserDirectory:
    """Reads users whatever their status, deleted ones where they are asked for."""

    def __init__(
        self, *, users: UserReader, roles: RoleReader, profiles: ProfileReader, addresses: AddressReader
    ) -> None:
        self._users = users
        self._roles = roles
        self._profiles = profiles
        self._addresses = addresses

    def list_page(self, *, users: UserFilter, request: PageRequest) -> Page[UserOverview]:
        """Return some of the *users*, each with roles and the state of their sign-ins."""
        return self._users.list_page(users, request)

    def list_holders(self, *, role_id: RoleId, users: UserFilter, request: PageRequest) -> Page[UserOverview]:
        """
        Return some of those *users* who hold a role.

        Raises:
            RoleNotFoundError: If there is no role with this id.
        """
        page = self._users.list_page(attrs.evolve(users, role_id=role_id), request)
        if not page.rows:
            self._roles.get(role_id)
        return page

    def get(self, *, user_id: UserId) -> UserOverview:
        """
        Return a user, deleted or not, with the state of their sign-ins.

        Raises:
            UserNotFoundError: If there is no such user.
        """
        return self._users.get_overview(user_id)

    def get_profile(self, *, user_id: UserId) -> UserProfile:
        """
        Return a user's profile; one that was never written is empty.

        Raises:
            UserNotFoundError: If there is no such user.
        """
        return self._profiles.get(user_id)

    def list_addresses(self, *, user_id: UserId) -> tuple[Address, ...]:
        """
        Return all addresses of a user, the oldest first.

        Raises:
            UserNotFoundError: If there is no such user.
        """
        addresses = self._addresses.list_of(user_id)
        if not addresses:
            self._users.get(user_id)
        return addresses
