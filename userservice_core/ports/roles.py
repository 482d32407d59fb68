"""Where roles and permissions live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from userservice_core.domain.ids import RoleId
    from userservice_core.domain.roles import Permission, Role, RoleMap


class RoleReader(Protocol):
    """Reads roles from the primary, outside a transaction; each call is one statement."""

    def role_map(self) -> RoleMap:
        """Return the permissions of every role together with the access epoch they were read at."""
        ...

    def find_by_name(self, name: str) -> Role | None:
        """Return the role of this name, regardless of case, or None."""
        ...

    def is_held(self, role_id: RoleId) -> bool:
        """Tell whether any user who is not deleted holds the role; False for an unknown role."""
        ...

    def list_permissions(self) -> tuple[Permission, ...]:
        """Return all permissions in the order of their names."""
        ...


class RoleRepository(Protocol):
    """The roles of one transaction."""

    def add(self, role: Role) -> None:
        """
        Store a new role with its permissions, all of which exist, and raise the access epoch.

        Raises:
            AlreadyExistsError: At commit, if a role has this name, regardless of case, or this id.
        """
        ...

    def save(self, role: Role) -> None:
        """
        Replace a role and the permissions it grants, and raise the access epoch.

        The role carries the version it is to have, one more than the stored one.

        Raises:
            StaleVersionError: At commit, if the stored version is another one.
        """
        ...
