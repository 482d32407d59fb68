"""Permissions that roles may grant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from userservice_core.domain.ids import PermissionId
from userservice_core.http.call import empty_response, json_response
from userservice_core.http.conditional import etag_of
from userservice_core.http.lists import asked_list
from userservice_core.http.read_only import require_unchanged
from userservice_core.http.wire import (
    DeletionQuery,
    NamedQuery,
    NewPermissionBody,
    PermissionAnswer,
    PermissionBody,
    PermissionPatchBody,
    RoleAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.application.permissions import Permissions
    from userservice_core.domain.roles import Permission
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Headers, Response

_VARIANT: Final = "permission1"
"""Names the shape of the answer; raised whenever the same version of a permission is shown differently."""

_READ_ONLY: Final = ("id", "name", "is_system_permission", "version")


def list_permissions(call: Call) -> Response:
    """Show some of the permissions."""
    asked = asked_list(call, NamedQuery, of=PermissionAnswer)
    return asked.answer(_permissions(call).list_page(request=asked.request), PermissionAnswer.of)


def create_permission(call: Call) -> Response:
    """Make a permission that no role grants yet."""
    body = call.body(NewPermissionBody)
    permission = _permissions(call).create(
        actor=call.require_actor(),
        resource=body.resource,
        action=body.action,
        description=body.description,
        group_name=body.group_name,
    )
    return _shown(permission, status=201, headers=(("location", f"/admin/permissions/{permission.id}"),))


def get_permission(call: Call) -> Response:
    """Show a permission."""
    return _shown(_permissions(call).get(permission_id=PermissionId(call.parameter("id"))))


def replace_permission(call: Call) -> Response:
    """Give a permission a name, a description and a group."""
    body = call.body(PermissionBody)

    def revise(permission: Permission) -> Permission:
        require_unchanged(body, PermissionAnswer.of(permission), _READ_ONLY)
        return permission.revised(
            resource=body.resource,
            action=body.action,
            description=body.description,
            group_name=body.group_name,
        )

    return _changed(call, revise)


def update_permission(call: Call) -> Response:
    """Give a permission another name, description or group; what is not sent stays."""
    body = call.body(PermissionPatchBody)

    def revise(permission: Permission) -> Permission:
        require_unchanged(body, PermissionAnswer.of(permission), _READ_ONLY)
        return permission.revised(
            resource=permission.resource if body.resource is UNSET else body.resource,
            action=permission.action if body.action is UNSET else body.action,
            description=permission.description if body.description is UNSET else body.description,
            group_name=permission.group_name if body.group_name is UNSET else body.group_name,
        )

    return _changed(call, revise)


def delete_permission(call: Call) -> Response:
    """Delete a permission."""
    _permissions(call).delete(
        actor=call.require_actor(),
        permission_id=PermissionId(call.parameter("id")),
        force=call.query(DeletionQuery).force == "true",
        expected=call.versions,
    )
    return empty_response(204)


def list_permission_roles(call: Call) -> Response:
    """Show some of the roles that grant a permission."""
    asked = asked_list(call, NamedQuery, of=RoleAnswer)
    page = _permissions(call).list_roles(permission_id=PermissionId(call.parameter("id")), request=asked.request)
    return asked.answer(page, RoleAnswer.of)


def _permissions(call: Call) -> Permissions:
    return call.services.use_cases.permissions


def _changed(call: Call, revise: Callable[[Permission], Permission]) -> Response:
    permission = _permissions(call).change(
        actor=call.require_actor(),
        permission_id=PermissionId(call.parameter("id")),
        revise=revise,
        expected=call.versions,
    )
    return _shown(permission)


def _shown(permission: Permission, *, status: int = 200, headers: Headers = ()) -> Response:
    etag = etag_of(permission.version, _VARIANT)
    return json_response(status, PermissionAnswer.of(permission), (("etag", etag), *headers))
