"""Roles and permissions that a file declares, for installations that keep theirs under version control."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final
from uuid import UUID

import attrs
import msgspec

from userservice_core.domain.clients import OPERATOR
from userservice_core.domain.ids import PermissionId, RoleId
from userservice_core.domain.roles import Permission, Role, role_name_key
from userservice_core.errors import Fault, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from userservice_core.application.permissions import Permissions
    from userservice_core.application.roles import Roles
    from userservice_core.ports.roles import RoleReader

_NOT_STORED: Final = UUID(int=0)


class DeclaredPermission(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """
    A permission that is to be there.

    Attributes:
        name: ``resource:action``; it is how the permission is found again.
    """

    name: str
    description: str | None = None
    group: str | None = None


class DeclaredRole(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """
    A role that is to be there, and what it is to grant at least.

    Attributes:
        name: It is how the role is found again, regardless of case.
    """

    name: str
    description: str | None = None
    permissions: tuple[str, ...] = ()


class AccessDefinitions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a file declares."""

    permissions: tuple[DeclaredPermission, ...] = ()
    roles: tuple[DeclaredRole, ...] = ()

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> AccessDefinitions:
        """
        Read a document of mappings, lists and texts.

        Raises:
            InvalidInputError: If it has another shape; with the place of the first member that is wrong.
        """
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise InvalidInputError((Fault((), "invalid-shape", str(error)),)) from error


@attrs.frozen(kw_only=True)
class AppliedDefinitions:
    """How many permissions and roles were made, how many got another description, and what was granted anew."""

    created: int = 0
    changed: int = 0
    granted: int = 0


class DeclaredAccess:
    """
    Brings about what is declared, and takes nothing away.

    Each step is a transaction of its own, with its events and its entry in the audit log. A run that ends early has
    done some of them, and the next one does the rest; one that finds all as it is to be changes nothing.
    """

    def __init__(self, *, permissions: Permissions, roles: Roles, reader: RoleReader) -> None:
        self._permissions = permissions
        self._roles = roles
        self._reader = reader

    def apply(self, *, definitions: AccessDefinitions) -> AppliedDefinitions:
        """
        Create what is missing, correct the descriptions, and grant what is not granted yet.

        Raises:
            InvalidInputError: If something that is declared is not valid; then nothing has been done.
            WildcardGrantError: If a wildcard is to be granted by a role that may not.
            LimitReachedError: If there would be more roles or permissions than there may be.
        """
        faults = tuple(self._faults(definitions))
        if faults:
            raise InvalidInputError(faults)
        permissions = {permission.name: permission for permission in self._reader.list_permissions()}
        done: Counter[str] = Counter()
        for permission in definitions.permissions:
            stored = permissions.get(permission.name)
            if stored is None:
                permissions[permission.name] = self._create_permission(permission)
                done["created"] += 1
            elif self._is_described_anew(permission, stored):
                done["changed"] += 1
        for role in definitions.roles:
            self._apply_role(role, permissions, done)
        return AppliedDefinitions(created=done["created"], changed=done["changed"], granted=done["granted"])

    def _apply_role(self, declared: DeclaredRole, permissions: Mapping[str, Permission], done: Counter[str]) -> None:
        role = self._reader.find_by_name(declared.name)
        if role is None:
            role = self._roles.create(actor=OPERATOR, name=declared.name, description=declared.description)
            done["created"] += 1
        elif self._is_role_described_anew(declared, role):
            done["changed"] += 1
        missing = [permissions[name].id for name in sorted(set(declared.permissions) - role.permissions)]
        if missing:
            self._roles.assign_permissions(actor=OPERATOR, role_id=role.id, permission_ids=missing)
        done["granted"] += len(missing)

    def _faults(self, definitions: AccessDefinitions) -> Iterator[Fault]:
        known = {permission.name for permission in self._reader.list_permissions()}
        known.update(permission.name for permission in definitions.permissions)
        for index, permission in enumerate(definitions.permissions):
            for fault in _faults_of_permission(permission):
                yield attrs.evolve(fault, field=("permissions", index, *fault.field))
        for index, role in enumerate(definitions.roles):
            for fault in _faults_of_role(role):
                yield attrs.evolve(fault, field=("roles", index, *fault.field))
            for place, name in enumerate(role.permissions):
                if name not in known:
                    field = ("roles", index, "permissions", place)
                    yield Fault(field, "unknown", f"There is no permission {name!r}; declare it, or correct the name.")
        yield from _repetitions("permissions", [permission.name for permission in definitions.permissions])
        yield from _repetitions("roles", [role_name_key(role.name) for role in definitions.roles])

    def _create_permission(self, declared: DeclaredPermission) -> Permission:
        resource, _, action = declared.name.partition(":")
        return self._permissions.create(
            actor=OPERATOR,
            resource=resource,
            action=action,
            description=declared.description,
            group_name=declared.group,
        )

    def _is_described_anew(self, declared: DeclaredPermission, stored: Permission) -> bool:
        revised = self._permissions.change(
            actor=OPERATOR,
            permission_id=stored.id,
            revise=lambda permission: permission.revised(
                resource=permission.resource,
                action=permission.action,
                description=permission.description if declared.description is None else declared.description,
                group_name=permission.group_name if declared.group is None else declared.group,
            ),
        )
        return revised.version != stored.version

    def _is_role_described_anew(self, declared: DeclaredRole, stored: Role) -> bool:
        revised = self._roles.change(
            actor=OPERATOR,
            role_id=stored.id,
            revise=lambda role: role.revised(
                name=role.name, description=role.description if declared.description is None else declared.description
            ),
        )
        return revised.version != stored.version


def _faults_of_permission(declared: DeclaredPermission) -> tuple[Fault, ...]:
    resource, _, action = declared.name.partition(":")
    try:
        Permission.create(
            permission_id=PermissionId(_NOT_STORED),
            resource=resource,
            action=action,
            description=declared.description,
            group_name=declared.group,
        )
    except InvalidInputError as error:
        return error.faults
    return ()


def _faults_of_role(declared: DeclaredRole) -> tuple[Fault, ...]:
    try:
        Role.create(role_id=RoleId(_NOT_STORED), name=declared.name, description=declared.description)
    except InvalidInputError as error:
        return error.faults
    return ()


def _repetitions(member: str, names: list[str]) -> Iterator[Fault]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Fault((member, index, "name"), "repeated", f"{name!r} is declared twice; leave one of them out.")
