"""What users may do, for services that ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.application.authorization import PermissionCheck
from userservice_core.domain.ids import UserId
from userservice_core.http.call import json_response
from userservice_core.http.wire import (
    CheckPermissionsAnswer,
    CheckPermissionsBatchAnswer,
    CheckPermissionsBatchBody,
    CheckPermissionsBody,
    EffectivePermissionsAnswer,
    EffectivePermissionsQuery,
)

if TYPE_CHECKING:
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response


def check_permissions(call: Call) -> Response:
    """Tell whether a user may do all that is asked for."""
    check = _check(call.body(CheckPermissionsBody))
    return json_response(200, CheckPermissionsAnswer.of(call.services.use_cases.authorization.check(check=check)))


def check_permissions_batch(call: Call) -> Response:
    """Tell the same for several questions."""
    checks = [_check(check) for check in call.body(CheckPermissionsBatchBody).checks]
    checked = call.services.use_cases.authorization.check_all(checks=checks)
    return json_response(200, CheckPermissionsBatchAnswer(results=tuple(map(CheckPermissionsAnswer.of, checked))))


def list_effective_permissions(call: Call) -> Response:
    """Show what a user may do."""
    user_id = UserId(call.parameter("id"))
    permissions = call.services.use_cases.authorization.effective_permissions(
        user_id=user_id, resource=call.query(EffectivePermissionsQuery).resource_type
    )
    return json_response(200, EffectivePermissionsAnswer(user_id=user_id, permissions=permissions))


def _check(body: CheckPermissionsBody) -> PermissionCheck:
    owner_id = body.resource_owner_id
    return PermissionCheck(
        user_id=UserId(body.user_id),
        permissions=body.permissions,
        resource_owner_id=None if owner_id is None else UserId(owner_id),
    )
