"""The audit log, and what of it is each user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from userservice_core.http.lists import asked_list
from userservice_core.http.wire import ActivityItem, ActivityQuery, AuditEntryAnswer, AuditLogQuery
from userservice_core.ports.audit import AuditFilter

if TYPE_CHECKING:
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response


def list_audit_log(call: Call) -> Response:
    """Show some of the audit log."""
    asked = asked_list(call, AuditLogQuery, of=AuditEntryAnswer)
    query = call.query(AuditLogQuery)
    wanted = AuditFilter(
        actor_id=None if query.actor is UNSET else query.actor,
        actions=query.action or None,
        subject_id=None if query.subject is UNSET else query.subject,
        outcome=None if query.outcome is UNSET else query.outcome,
        after=None if query.after is UNSET else query.after,
        before=None if query.before is UNSET else query.before,
    )
    page = call.services.use_cases.audit_trail.list_page(wanted=wanted, request=asked.request)
    return asked.answer(page, AuditEntryAnswer.of)


def list_own_activity(call: Call) -> Response:
    """Show some of what happened to the caller's account."""
    asked = asked_list(call, ActivityQuery, of=ActivityItem)
    page = call.services.use_cases.audit_trail.activity(user_id=call.require_caller().user_id, request=asked.request)
    return asked.answer(page, ActivityItem.of)
