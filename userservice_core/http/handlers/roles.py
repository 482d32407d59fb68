"""Roles, what they grant, and who holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from userservice_core.domain.ids import PermissionId, RoleId, UserId
from userservice_core.domain.roles import MAX_ROLES
from userservice_core.http.call import empty_response, json_response
from userservice_core.http.conditional import etag_of
from userservice_core.http.lists import asked_list
from userservice_core.http.read_only import require_unchanged
from userservice_core.http.wire import (
    AssignedRoleItem,
    AssignedRolesAnswer,
    DeletionQuery,
    NamedQuery,
    NewRoleBody,
    PageItem,
    PermissionAnswer,
    PermissionIdsBody,
    PermissionIdsQuery,
    PermissionsAnswer,
    RoleAnswer,
    RoleBody,
    RoleIdsBody,
    RoleIdsQuery,
    RolePatchBody,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from userservice_core.application.role_assignments import RoleAssignments
    from userservice_core.application.roles import Roles
    from userservice_core.domain.roles import AssignedRole, Role
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Headers, Response

_VARIANT: Final = "role1"
"""Names the shape of the answer; raised whenever the same version of a role is shown differently."""

_READ_ONLY: Final = ("id", "is_system_role", "permissions", "version")


def list_roles(call: Call) -> Response:
    """Show some of the roles."""
    asked = asked_list(call, NamedQuery, of=RoleAnswer)
    return asked.answer(_roles(call).list_page(request=asked.request), RoleAnswer.of)


def create_role(call: Call) -> Response:
    """Make a role that grants nothing yet."""
    body = call.body(NewRoleBody)
    role = _roles(call).create(actor=call.require_actor(), name=body.name, description=body.description)
    return _shown(role, status=201, headers=(("location", f"/admin/roles/{role.id}"),))


def get_role(call: Call) -> Response:
    """Show a role."""
    return _shown(_roles(call).get(role_id=RoleId(call.parameter("id"))))


def replace_role(call: Call) -> Response:
    """Give a role a name and a description."""
    body = call.body(RoleBody)

    def revise(role: Role) -> Role:
        require_unchanged(body, RoleAnswer.of(role), _READ_ONLY)
        return role.revised(name=body.name, description=body.description)

    return _changed(call, revise)


def update_role(call: Call) -> Response:
    """Give a role another name or description; what is not sent stays."""
    body = call.body(RolePatchBody)

    def revise(role: Role) -> Role:
        require_unchanged(body, RoleAnswer.of(role), _READ_ONLY)
        return role.revised(
            name=role.name if body.name is UNSET else body.name,
            description=role.description if body.description is UNSET else body.description,
        )

    return _changed(call, revise)


def delete_role(call: Call) -> Response:
    """Delete a role."""
    _roles(call).delete(
        actor=call.require_actor(),
        role_id=RoleId(call.parameter("id")),
        force=call.query(DeletionQuery).force == "true",
        expected=call.versions,
    )
    return empty_response(204)


def list_role_permissions(call: Call) -> Response:
    """Show some of what a role grants."""
    asked = asked_list(call, NamedQuery, of=PermissionAnswer)
    page = _roles(call).list_permissions(role_id=RoleId(call.parameter("id")), request=asked.request)
    return asked.answer(page, PermissionAnswer.of)


def assign_role_permissions(call: Call) -> Response:
    """Let a role grant permissions."""
    granted = _roles(call).assign_permissions(
        actor=call.require_actor(),
        role_id=RoleId(call.parameter("id")),
        permission_ids=_permission_ids(call.body(PermissionIdsBody).permission_ids),
    )
    return json_response(200, PermissionsAnswer.of(granted))


def remove_role_permissions(call: Call) -> Response:
    """Let a role grant permissions no longer."""
    granted = _roles(call).remove_permissions(
        actor=call.require_actor(),
        role_id=RoleId(call.parameter("id")),
        permission_ids=_permission_ids(call.query(PermissionIdsQuery).permission_id),
    )
    return json_response(200, PermissionsAnswer.of(granted))


# --- who holds them ---------------------------------------------------------------------------------------------------


def list_user_roles(call: Call) -> Response:
    """Show the roles of a user."""
    return _held(_assignments(call).list_roles(user_id=UserId(call.parameter("id"))))


def assign_user_roles(call: Call) -> Response:
    """Give roles to a user."""
    held = _assignments(call).assign(
        actor=call.require_actor(),
        user_id=UserId(call.parameter("id")),
        role_ids=_role_ids(call.body(RoleIdsBody).role_ids),
    )
    return _held(held)


def remove_user_roles(call: Call) -> Response:
    """Take roles from a user."""
    held = _assignments(call).remove(
        actor=call.require_actor(),
        user_id=UserId(call.parameter("id")),
        role_ids=_role_ids(call.query(RoleIdsQuery).role_id),
    )
    return _held(held)


def _roles(call: Call) -> Roles:
    return call.services.use_cases.roles


def _assignments(call: Call) -> RoleAssignments:
    return call.services.use_cases.role_assignments


def _role_ids(ids: Iterable[UUID]) -> frozenset[RoleId]:
    return frozenset(RoleId(each) for each in ids)


def _permission_ids(ids: Iterable[UUID]) -> frozenset[PermissionId]:
    return frozenset(PermissionId(each) for each in ids)


def _changed(call: Call, revise: Callable[[Role], Role]) -> Response:
    role = _roles(call).change(
        actor=call.require_actor(),
        role_id=RoleId(call.parameter("id")),
        revise=revise,
        expected=call.versions,
    )
    return _shown(role)


def _shown(role: Role, *, status: int = 200, headers: Headers = ()) -> Response:
    return json_response(status, RoleAnswer.of(role), (("etag", etag_of(role.version, _VARIANT)), *headers))


def _held(roles: Iterable[AssignedRole]) -> Response:
    items = tuple(AssignedRoleItem(id=role.id, name=role.name) for role in roles)
    return json_response(200, AssignedRolesAnswer(data=items, page=PageItem(limit=MAX_ROLES, total=len(items))))
