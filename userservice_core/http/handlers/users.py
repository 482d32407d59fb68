"""The caller's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.http.call import empty_response, json_response
from userservice_core.http.conditional import PRIVATE, etag_of
from userservice_core.http.wire import ExportAnswer, UserAnswer

if TYPE_CHECKING:
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response

_VARIANT: Final = "user1"
"""Names the shape of the answer; raised whenever the same version of a user is shown differently."""


def get_current_user(call: Call) -> Response:
    """Show the caller's account."""
    user = call.services.use_cases.accounts.who_am_i(user_id=call.require_caller().user_id)
    return json_response(200, UserAnswer.of(user), (("etag", etag_of(user.version, _VARIANT)), *PRIVATE))


def export_current_user(call: Call) -> Response:
    """Show everything that is held about the caller."""
    data = call.services.use_cases.personal_data.export(user_id=call.require_caller().user_id)
    disposition = ("content-disposition", 'attachment; filename="account.json"')
    return json_response(200, ExportAnswer.of(data), (disposition,))


def delete_current_user(call: Call) -> Response:
    """Delete the caller's account."""
    call.services.use_cases.own_account.delete(user_id=call.require_caller().user_id, expected=call.versions)
    return empty_response(204)


def deactivate_current_user(call: Call) -> Response:
    """Deactivate the caller's account."""
    call.services.use_cases.own_account.deactivate(user_id=call.require_caller().user_id, expected=call.versions)
    return empty_response(204)
