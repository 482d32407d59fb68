"""Users, as administrators deal with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from userservice_core.domain.ids import UserId
from userservice_core.domain.users import Mover
from userservice_core.errors import Fault, InvalidInputError
from userservice_core.http.call import empty_response, json_response
from userservice_core.http.conditional import PRIVATE, etag_of
from userservice_core.http.read_only import require_unchanged
from userservice_core.http.wire import UserAnswer, UserDeletionQuery, UserPatchBody

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.application.account_administration import AccountAdministration
    from userservice_core.domain.users import User
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response

_VARIANT: Final = "user1"
"""Names the shape of the answer, which is that of the caller's own account."""

_READ_ONLY: Final = (
    *("id", "email", "email_verified", "pending_email", "roles", "attributes", "created_at", "updated_at"),
    *("mfa_enabled", "deleted_at", "version"),
)


def update_user(call: Call) -> Response:
    """Change a user; what is not sent stays."""
    body = call.body(UserPatchBody)
    if body.status is UNSET and body.status_reason not in {UNSET, None}:
        raise InvalidInputError((Fault(("statusReason",), "without-status", "Send it together with a status."),))

    def revise(user: User, now: datetime) -> User:
        require_unchanged(body, UserAnswer.of(user), _READ_ONLY)
        return user if body.status is UNSET else user.moved_to(body.status, by=Mover.ADMINISTRATOR, now=now)

    user = _administration(call).update(
        actor=call.require_actor(),
        user_id=UserId(call.parameter("id")),
        revise=revise,
        reason=None if body.status_reason is UNSET else body.status_reason,
        expected=call.versions,
    )
    return _shown(user)


def delete_user(call: Call) -> Response:
    """Delete a user, so that they can be restored for a while, or erase them for good."""
    administration = _administration(call)
    is_hard = call.query(UserDeletionQuery).hard_delete == "true"
    delete = administration.erase if is_hard else administration.delete
    delete(actor=call.require_actor(), user_id=UserId(call.parameter("id")), expected=call.versions)
    return empty_response(204)


def restore_user(call: Call) -> Response:
    """Undo the deletion of a user."""
    user = _administration(call).restore(
        actor=call.require_actor(), user_id=UserId(call.parameter("id")), expected=call.versions
    )
    return _shown(user)


def unlock_user(call: Call) -> Response:
    """Forget the failed sign-ins of a user."""
    _administration(call).unlock(actor=call.require_actor(), user_id=UserId(call.parameter("id")))
    return empty_response(204)


def _administration(call: Call) -> AccountAdministration:
    return call.services.use_cases.account_administration


def _shown(user: User) -> Response:
    return json_response(200, UserAnswer.of(user), (("etag", etag_of(user.version, _VARIANT)), *PRIVATE))
