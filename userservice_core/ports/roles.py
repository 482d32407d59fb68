"""Where roles and permissions live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from userservice_core.domain.ids import PermissionId, RoleId, UserId
    from userservice_core.domain.permission_sets import PermissionSet
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

    def get(self, role_id: RoleId) -> Role:
        """
        Return a role.

        Raises:
            RoleNotFoundError: If no role has this id.
        """
        ...

    def list_roles(self) -> tuple[Role, ...]:
        """Return all roles in the order of their name keys."""
        ...

    def get_permission(self, permission_id: PermissionId) -> Permission:
        """
        Return a permission.

        Raises:
            PermissionNotFoundError: If no permission has this id.
        """
        ...

    def list_permissions(self) -> tuple[Permission, ...]:
        """Return all permissions in the order of their names."""
        ...

    def list_permissions_of(self, role_id: RoleId) -> tuple[Permission, ...]:
        """
        Return the permissions that a role grants, in the order of their names.

        Raises:
            RoleNotFoundError: If no role has this id.
        """
        ...

    def list_roles_granting(self, permission_id: PermissionId) -> tuple[Role, ...]:
        """Return the roles that grant a permission, in the order of their name keys; none for an unknown one."""
        ...


class RoleRepository(Protocol):
    """
    The roles of one transaction.

    Every read takes the lock of :meth:`lock`, so what it returns stays true until the transaction ends.
    """

    def lock(self) -> int:
        """
        Take the one lock over who may do what, and return the access epoch.

        Whoever changes roles, permissions or who holds them takes it before anything else, and so does whoever makes
        an account unusable that may do everything. So these changes come one after the other, and none of them
        decides by what another one is about to change.
        """
        ...

    def get(self, role_id: RoleId) -> Role:
        """
        Return the latest committed role.

        Raises:
            RoleNotFoundError: If no role has this id.
        """
        ...

    def get_all(self, role_ids: Collection[RoleId]) -> tuple[Role, ...]:
        """
        Return these roles, in the order of their name keys.

        Raises:
            RoleNotFoundError: If one of the ids is no role's.
        """
        ...

    def list_granting(self, permission_id: PermissionId) -> tuple[Role, ...]:
        """Return the roles that grant a permission, in the order of their name keys."""
        ...

    def count(self) -> int:
        """Return how many roles there are."""
        ...

    def permissions_of(self, user_id: UserId) -> PermissionSet:
        """Return what a user may do now; nothing for one who is not there or cannot use their account."""
        ...

    def has_administrator(self, *, without: Collection[RoleId], of: UserId | None = None) -> bool:
        """
        Tell whether an account that can be used would still hold the permission to do everything.

        Args:
            without: Roles that count as taken away.
            of: From this user; None: from all.
        """
        ...

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
            AlreadyExistsError: At commit, if another role has this name, regardless of case.
        """
        ...

    def remove(self, role_id: RoleId) -> None:
        """
        Erase a role that nobody holds, and raise the access epoch.

        Raises:
            RoleInUseError: At commit, if a user holds it, or it is not there.
        """
        ...


class PermissionRepository(Protocol):
    """
    The permissions of one transaction.

    Every read takes the lock of :meth:`RoleRepository.lock`, and every write raises the access epoch.
    """

    def get(self, permission_id: PermissionId) -> Permission:
        """
        Return the latest committed permission.

        Raises:
            PermissionNotFoundError: If no permission has this id.
        """
        ...

    def get_all(self, permission_ids: Collection[PermissionId]) -> tuple[Permission, ...]:
        """
        Return these permissions, in the order of their names.

        Raises:
            PermissionNotFoundError: If one of the ids is no permission's.
        """
        ...

    def list_named(self, names: Collection[str]) -> tuple[Permission, ...]:
        """Return those permissions that have one of *names*, in the order of their names."""
        ...

    def count(self) -> int:
        """Return how many permissions there are."""
        ...

    def add(self, permission: Permission) -> None:
        """
        Store a new permission.

        Raises:
            AlreadyExistsError: At commit, if a permission has this name or this id.
        """
        ...

    def save(self, permission: Permission) -> None:
        """
        Replace a permission; roles that grant it grant it under its new name.

        The permission carries the version it is to have, one more than the stored one.

        Raises:
            StaleVersionError: At commit, if the stored version is another one.
            AlreadyExistsError: At commit, if another permission has this name.
        """
        ...

    def remove(self, permission_id: PermissionId) -> None:
        """Erase a permission; no role grants it any more. Absent: no effect but on the epoch."""
        ...
