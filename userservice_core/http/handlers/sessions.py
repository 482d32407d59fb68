"""Sessions: the caller's own, and those of users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from userservice_core.application.access import Principal
from userservice_core.domain.ids import SessionId, UserId
from userservice_core.domain.sessions import MAX_SESSIONS_PER_USER
from userservice_core.http.call import empty_response, json_response
from userservice_core.http.conditional import PRIVATE, etag_of_content
from userservice_core.http.wire import PageItem, SessionAnswer, SessionListAnswer

if TYPE_CHECKING:
    from userservice_core.domain.sessions import Session
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response


def list_sessions(call: Call) -> Response:
    """Show the caller's open sessions."""
    user_id = call.require_caller().user_id
    return _shown(call, call.services.use_cases.sessions.list_own(user_id=user_id))


def delete_session(call: Call) -> Response:
    """End one of the caller's sessions."""
    caller, session_id = call.require_caller(), SessionId(call.parameter("id"))
    call.services.use_cases.sessions.end_own(user_id=caller.user_id, session_id=session_id)
    return empty_response(204, call.services.cookie_removal if session_id == caller.session_id else ())


def list_user_sessions(call: Call) -> Response:
    """Show a user's open sessions."""
    return _shown(call, call.services.use_cases.sessions.list_of(user_id=UserId(call.parameter("id"))))


def delete_user_sessions(call: Call) -> Response:
    """Sign a user out everywhere."""
    call.services.use_cases.sessions.end_all_of(actor=call.require_actor(), user_id=UserId(call.parameter("id")))
    return empty_response(204)


def delete_user_session(call: Call) -> Response:
    """End one session of a user."""
    call.services.use_cases.sessions.end_one_of(
        actor=call.require_actor(),
        user_id=UserId(call.parameter("id")),
        session_id=SessionId(call.parameter("sessionId")),
    )
    return empty_response(204)


def _shown(call: Call, sessions: tuple[Session, ...]) -> Response:
    caller = call.caller
    current = caller.session_id if isinstance(caller, Principal) else None
    answer = SessionListAnswer(
        data=tuple(SessionAnswer.of(session, current=session.id == current) for session in sessions),
        page=PageItem(limit=MAX_SESSIONS_PER_USER, total=len(sessions)),
    )
    return json_response(200, answer, (("etag", etag_of_content(msgspec.json.encode(answer))), *PRIVATE))
