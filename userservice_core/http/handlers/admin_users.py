"""Users, as administrators deal with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from userservice_core.domain.editing import merge_patch
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.ids import RoleId, UserId
from userservice_core.domain.users import Mover
from userservice_core.errors import Fault, InvalidInputError
from userservice_core.http.call import empty_response, json_response
from userservice_core.http.conditional import PRIVATE, etag_of
from userservice_core.http.handlers.profiles import profile_response
from userservice_core.http.handlers.user_directory import ADMIN_VARIANT
from userservice_core.http.read_only import changes_of_read_only
from userservice_core.http.wire import (
    AdminUserAnswer,
    NewUserBody,
    ProfileBody,
    UserDeletionQuery,
    UserPatchBody,
    given_members,
)

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.application.account_administration import AccountAdministration
    from userservice_core.application.invitations import Invitations
    from userservice_core.domain.users import User
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Headers, Response

_READ_ONLY: Final = (
    *("id", "email_verified", "pending_email", "roles", "created_at", "updated_at"),
    *("mfa_enabled", "deleted_at", "version", "email_is_mixed_script", "email_undeliverable_since"),
)


def create_user(call: Call) -> Response:
    """Open an account for somebody."""
    body = call.body(NewUserBody)
    user = _invitations(call).invite(
        actor=call.require_actor(),
        email=body.email,
        role_ids=frozenset(map(RoleId, body.role_ids)),
        attributes=body.attributes,
        names=given_members(body.profile),
    )
    return _shown(user, status=201, headers=(("location", f"/admin/users/{user.id}"),))


def invite_user(call: Call) -> Response:
    """Mail the owner of an account another link to take it up by."""
    _invitations(call).invite_again(actor=call.require_actor(), user_id=UserId(call.parameter("id")))
    return empty_response(202)


def mail_password_reset(call: Call) -> Response:
    """Mail the owner of an account a link to choose a new password by."""
    _invitations(call).mail_password_reset(actor=call.require_actor(), user_id=UserId(call.parameter("id")))
    return empty_response(202)


def update_user(call: Call) -> Response:
    """Change a user; what is not sent stays."""
    body = call.body(UserPatchBody)
    if body.status is UNSET and body.status_reason not in {UNSET, None}:
        raise InvalidInputError((Fault(("statusReason",), "without-status", "Send it together with a status."),))

    def revise(user: User, now: datetime) -> User:
        revised, faults = user, changes_of_read_only(body, AdminUserAnswer.of(user), _READ_ONLY)
        try:
            if body.email not in {UNSET, user.email.address}:
                revised = revised.with_pending_email(EmailAddress.parse(str(body.email)).address, now=now)
        except InvalidInputError as error:
            faults += error.faults
        try:
            if body.attributes is not UNSET:
                merged = {} if body.attributes is None else merge_patch(user.attributes, body.attributes)
                revised = revised.with_attributes(merged, now=now)
        except InvalidInputError as error:
            faults += error.faults
        if faults:
            raise InvalidInputError(faults)
        return revised if body.status is UNSET else revised.moved_to(body.status, by=Mover.ADMINISTRATOR, now=now)

    user = _administration(call).update(
        actor=call.require_actor(),
        user_id=UserId(call.parameter("id")),
        revise=revise,
        reason=None if body.status_reason is UNSET else body.status_reason,
        expected=call.versions,
    )
    return _shown(user)


def replace_user_profile(call: Call) -> Response:
    """Replace a user's profile."""
    profile = call.services.use_cases.profiles.replace_for(
        actor=call.require_actor(),
        user_id=UserId(call.parameter("id")),
        values=given_members(call.body(ProfileBody)),
        versions=call.versions,
    )
    return profile_response(profile)


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


def reset_user_mfa(call: Call) -> Response:
    """Turn off the second factor of a user."""
    call.services.use_cases.mfa.reset(actor=call.require_actor(), user_id=UserId(call.parameter("id")))
    return empty_response(204)


def _administration(call: Call) -> AccountAdministration:
    return call.services.use_cases.account_administration


def _invitations(call: Call) -> Invitations:
    return call.services.use_cases.invitations


def _shown(user: User, *, status: int = 200, headers: Headers = PRIVATE) -> Response:
    return json_response(status, AdminUserAnswer.of(user), (("etag", etag_of(user.version, ADMIN_VARIANT)), *headers))
