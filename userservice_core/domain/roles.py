"""Roles and permissions: their names, what a wildcard covers, and those that every installation starts with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

import attrs

from userservice_core.domain.ids import PermissionId, RoleId

EVERYTHING = "*:*"
MAX_ROLE_NAME_CHARACTERS = 100


@attrs.frozen
class AssignedRole:
    """A role as its holder sees it."""

    id: RoleId
    name: str


@attrs.frozen(kw_only=True)
class Permission:
    """The right to do *action* on *resource*; ``*`` stands for all of them."""

    id: PermissionId
    resource: str
    action: str
    description: str | None = None
    group_name: str | None = None
    is_system_permission: bool = False

    @property
    def name(self) -> str:
        """``resource:action``."""
        return f"{self.resource}:{self.action}"


@attrs.frozen(kw_only=True)
class Role:
    """A named set of permissions; a system role can be neither deleted nor renamed."""

    id: RoleId
    name: str
    description: str | None = None
    is_system_role: bool = False
    permissions: frozenset[str] = frozenset()
    version: int = 1

    @property
    def name_key(self) -> str:
        """The name under which roles are unique: regardless of case."""
        return self.name.casefold()


@attrs.frozen
class PermissionSet:
    """What a principal may do; wildcards count."""

    names: frozenset[str]

    def allows(self, permission: str) -> bool:
        """Tell whether *permission* (``resource:action``) is held, by name or through ``resource:*`` or ``*:*``."""
        names = self.names
        return permission in names or EVERYTHING in names or f"{permission.partition(':')[0]}:*" in names


@attrs.frozen
class RoleMap:
    """
    Which permissions each role grants.

    Attributes:
        epoch: The access epoch it was read at; any change of a role or permission raises it.
        permissions: Names of permissions by role.
    """

    epoch: int
    permissions: Mapping[RoleId, frozenset[str]]

    def permissions_of(self, roles: Iterable[RoleId]) -> PermissionSet:
        """Return the union of what *roles* grant; a role that no longer exists grants nothing."""
        return PermissionSet(frozenset().union(*(self.permissions.get(role, frozenset()) for role in roles)))


def _role_id(number: int) -> RoleId:
    return RoleId(UUID(int=(0x0190_0000_0000_7000_8000 << 48) | (0x01 << 40) | number))


def _permission_id(number: int) -> PermissionId:
    return PermissionId(UUID(int=(0x0190_0000_0000_7000_8000 << 48) | (0x02 << 40) | number))


_SYSTEM_PERMISSION_NAMES = (
    "*:*",
    "authorization:query",
    "user:list",
    "user:create",
    "user:read",
    "user:update",
    "user:delete",
    "user:restore",
    "user:unlock",
    "user:reset_password",
    "user:invite",
    "user:read_effective_permissions",
    "user:list_roles",
    "user:assign_roles",
    "user:remove_roles",
    "user:read_sessions",
    "user:revoke_sessions",
    "user:reset_mfa",
    "user_profile:read_any",
    "user_profile:update_any",
    "role:list",
    "role:create",
    "role:read",
    "role:update",
    "role:delete",
    "role:list_users",
    "role:list_permissions",
    "role:assign_permissions",
    "role:remove_permissions",
    "permission:list",
    "permission:create",
    "permission:read",
    "permission:update",
    "permission:delete",
    "permission:list_roles",
    "client:list",
    "client:create",
    "client:read",
    "client:update",
    "client:delete",
    "client:create_secret",
    "client:delete_secret",
    "audit:read",
)

SYSTEM_PERMISSIONS: tuple[Permission, ...] = tuple(
    Permission(
        id=_permission_id(number),
        resource=name.partition(":")[0],
        action=name.partition(":")[2],
        group_name="everything" if name == EVERYTHING else name.partition(":")[0],
        is_system_permission=True,
    )
    for number, name in enumerate(_SYSTEM_PERMISSION_NAMES, start=1)
)
"""Seeded by migration. The order is part of the ids: append, never reorder."""

USER_ROLE = Role(id=_role_id(1), name="user", description="Every account starts with this role.", is_system_role=True)
ADMIN_ROLE = Role(
    id=_role_id(2),
    name="administrator",
    description="May do everything.",
    is_system_role=True,
    permissions=frozenset({EVERYTHING}),
)
SYSTEM_ROLES: tuple[Role, ...] = (USER_ROLE, ADMIN_ROLE)
INITIAL_ROLES: tuple[AssignedRole, ...] = (AssignedRole(USER_ROLE.id, USER_ROLE.name),)
"""The roles a new user starts with."""
