"""Roles and permissions: their names, what a wildcard covers, and those that every installation starts with."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

import attrs

from userservice_core.domain.ids import PermissionId, RoleId
from userservice_core.domain.lists import Position
from userservice_core.domain.permission_sets import EVERYTHING, PermissionSet
from userservice_core.errors import Fault, InvalidInputError, SystemObjectError

WILDCARD = "*"
MAX_ROLE_NAME_CHARACTERS = 100
MAX_DESCRIPTION_CHARACTERS = 500
MAX_ROLES = 1_000
"""In an installation: each process holds what all of them grant."""
MAX_PERMISSIONS = 1_000
"""In an installation, for the same reason."""

_PERMISSION_PART = re.compile(r"[a-z][a-z0-9_]{0,63}")


def role_name_key(name: str) -> str:
    """Return what a role of this name is unique by: neither case nor the form of a letter counts."""
    return unicodedata.normalize("NFKC", name).casefold()


def is_permission_name(name: str) -> bool:
    """Tell whether *name* is what a permission may be called, wildcards included."""
    resource, _, action = name.partition(":")
    return name == EVERYTHING or (
        _PERMISSION_PART.fullmatch(resource) is not None
        and (action == WILDCARD or _PERMISSION_PART.fullmatch(action) is not None)
    )


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
    version: int = 1

    @classmethod
    def create(
        cls, *, permission_id: PermissionId, resource: str, action: str, description: str | None, group_name: str | None
    ) -> Permission:
        """
        Make a permission; one whose action is ``*`` stands for all on its resource.

        Raises:
            InvalidInputError: If resource or action is no lower-case word, or a text is too long.
        """
        permission = cls(
            id=permission_id, resource=resource, action=action, description=description, group_name=group_name
        )
        _raise_if_any(_permission_faults(permission))
        return permission

    @property
    def name(self) -> str:
        """``resource:action``."""
        return f"{self.resource}:{self.action}"

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for others, too."""
        return self.action == WILDCARD

    @property
    def is_everything(self) -> bool:
        """Whether it stands for all others."""
        return self.name == EVERYTHING

    def revised(self, *, resource: str, action: str, description: str | None, group_name: str | None) -> Permission:
        """
        Return the next version, or this very one if nothing is different.

        Raises:
            InvalidInputError: As :meth:`create`; and if a permission becomes a wildcard, or was one, by a new name.
            SystemObjectError: If a system permission gets another name.
        """
        revised = attrs.evolve(self, resource=resource, action=action, description=description, group_name=group_name)
        if revised == self:
            return self
        if revised.name != self.name:
            if self.is_system_permission:
                raise SystemObjectError
            _raise_if_any((*_permission_faults(revised), *_wildcard_faults(self, revised)))
        _raise_if_any(_text_faults(revised))
        return attrs.evolve(revised, version=self.version + 1)


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
        return role_name_key(self.name)

    @classmethod
    def create(cls, *, role_id: RoleId, name: str, description: str | None) -> Role:
        """
        Make a role that grants nothing yet.

        Raises:
            InvalidInputError: If the name is blank, has spaces around it or characters that do not show, or a text is
                too long.
        """
        role = cls(id=role_id, name=name, description=description)
        _raise_if_any(_role_faults(role))
        return role

    def revised(self, *, name: str, description: str | None) -> Role:
        """
        Return the next version, or this very one if nothing is different.

        Raises:
            InvalidInputError: As :meth:`create`.
            SystemObjectError: If a system role gets another name.
        """
        revised = attrs.evolve(self, name=name, description=description)
        if revised == self:
            return self
        if self.is_system_role and name != self.name:
            raise SystemObjectError
        _raise_if_any(_role_faults(revised))
        return attrs.evolve(revised, version=self.version + 1)

    def granting(self, permissions: Iterable[str]) -> Role:
        """Return the next version, which grants exactly *permissions*."""
        return attrs.evolve(self, permissions=frozenset(permissions), version=self.version + 1)


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


def role_position(role: Role) -> Position:
    """Return where a role stands in a list by name."""
    return Position(key=role.name_key, id=role.id)


def permission_position(permission: Permission) -> Position:
    """Return where a permission stands in a list by name."""
    return Position(key=permission.name, id=permission.id)


def _permission_faults(permission: Permission) -> Iterator[Fault]:
    if not _PERMISSION_PART.fullmatch(permission.resource):
        yield _no_word("resource")
    if not permission.is_wildcard and not _PERMISSION_PART.fullmatch(permission.action):
        yield _no_word("action")
    yield from _text_faults(permission)


def _text_faults(permission: Permission) -> Iterator[Fault]:
    yield from _length_faults("description", permission.description, MAX_DESCRIPTION_CHARACTERS)
    yield from _length_faults("groupName", permission.group_name, MAX_ROLE_NAME_CHARACTERS)


def _role_faults(role: Role) -> Iterator[Fault]:
    if not role.name or role.name != role.name.strip():
        yield Fault(("name",), "invalid-name", "Give a name without spaces around it.")
    if not role.name.isprintable():
        yield Fault(("name",), "invalid-character", "Use characters that show.")
    yield from _length_faults("name", role.name, MAX_ROLE_NAME_CHARACTERS)
    yield from _length_faults("description", role.description, MAX_DESCRIPTION_CHARACTERS)


def _no_word(member: str) -> Fault:
    message = "Use at most 64 lower-case letters, digits and underscores, a letter first."
    return Fault((member,), "invalid-name", message)


def _length_faults(member: str, text: str | None, limit: int) -> Iterator[Fault]:
    if text is not None and len(text) > limit:
        yield Fault((member,), "too-long", f"Use at most {limit} characters.")


def _wildcard_faults(before: Permission, after: Permission) -> Iterator[Fault]:
    if before.is_wildcard != after.is_wildcard:
        yield Fault(("action",), "wildcard", "What a wildcard stands for cannot change by a new name.")


def _raise_if_any(faults: Iterable[Fault]) -> None:
    found = tuple(faults)
    if found:
        raise InvalidInputError(found)


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
    "setting:read",
    "setting:update",
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
