"""The caller's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from userservice_core.domain.emails import EmailAddress
from userservice_core.errors import InvalidInputError
from userservice_core.http.call import empty_response, json_response
from userservice_core.http.conditional import PRIVATE, etag_of
from userservice_core.http.read_only import changes_of_read_only
from userservice_core.http.wire import AccountPatchBody, ExportAnswer, UserAnswer

if TYPE_CHECKING:
    from userservice_core.domain.users import User
    from userservice_core.errors import Fault
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Headers, Response

_VARIANT: Final = "user1"
"""Names the shape of the answer; raised whenever the same version of a user is shown differently."""

_READ_ONLY: Final = (
    *("id", "email_verified", "status", "roles", "attributes", "created_at", "updated_at"),
    *("mfa_enabled", "deleted_at", "version"),
)


def get_current_user(call: Call) -> Response:
    """Show the caller's account."""
    return _shown(call.services.use_cases.accounts.who_am_i(user_id=call.require_caller().user_id), PRIVATE)


def update_current_user(call: Call) -> Response:
    """Ask for another e-mail address, or withdraw that."""
    body = call.body(AccountPatchBody)
    user = call.services.use_cases.email_changes.request(
        user_id=call.require_caller().user_id, revise=lambda user: _wanted_email(body, user), expected=call.versions
    )
    return _shown(user)


def export_current_user(call: Call) -> Response:
    """Show everything that is held about the caller."""
    data = call.services.use_cases.personal_data.export(user_id=call.require_caller().user_id)
    disposition = ("content-disposition", 'attachment; filename="account.json"')
    return json_response(200, ExportAnswer.of(data), (disposition,))


def delete_current_user(call: Call) -> Response:
    """Delete the caller's account."""
    call.services.use_cases.own_account.delete(user_id=call.require_caller().user_id, expected=call.versions)
    return empty_response(204, call.services.cookie_removal)


def deactivate_current_user(call: Call) -> Response:
    """Deactivate the caller's account."""
    call.services.use_cases.own_account.deactivate(user_id=call.require_caller().user_id, expected=call.versions)
    return empty_response(204, call.services.cookie_removal)


def _wanted_email(body: AccountPatchBody, user: User) -> EmailAddress | None:
    """Return the address that the body asks for, which may be the present one; None withdraws one that waits."""
    withdraws = body.pending_email is None
    members = _READ_ONLY if withdraws else (*_READ_ONLY, "pending_email")
    faults: tuple[Fault, ...] = changes_of_read_only(body, UserAnswer.of(user), members)
    wanted = user.email if body.email is UNSET else None
    try:
        wanted = wanted or EmailAddress.parse(str(body.email))
    except InvalidInputError as error:
        faults += error.faults
    if wanted is None or faults:
        raise InvalidInputError(faults)
    return None if withdraws and wanted == user.email else wanted


def _shown(user: User, headers: Headers = ()) -> Response:
    return json_response(200, UserAnswer.of(user), (("etag", etag_of(user.version, _VARIANT)), *headers))
