"""The audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import ARRAY, Text, any_, bindparam, text

from userservice_core.domain.audit import Actor, ActorKind, AuditEntry, Outcome, Subject, SubjectKind
from userservice_core.domain.ids import AuditEntryId
from userservice_core.domain.sessions import Origin
from userservice_core.infrastructure.postgres.lists import PagedList, SortColumn
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import audit_details, audit_entries
from userservice_core.infrastructure.postgres.transactions import WriteOrder
from userservice_core.ports.audit import AuditRecord
from userservice_core.ports.context import current_call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import BindParameter, Column, ColumnElement

    from userservice_core.domain.ids import UserId
    from userservice_core.domain.lists import Page, PageRequest
    from userservice_core.infrastructure.postgres.database import Reads
    from userservice_core.infrastructure.postgres.rows import Row
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction
    from userservice_core.ports.audit import AuditFilter

# A sign-in that fails while its account is being erased waits for it, and then must not leave anything personal behind.
_INSERT: Final = Statement(
    text(
        f"""
        WITH entry AS (
            INSERT INTO audit_entries
                (at, entry_id, action, actor_kind, actor_id, subject_kind, subject_id, outcome, reason, changed,
                request_id)
            VALUES (:at, :entry_id, :action, :actor_kind, :actor_id, :subject_kind, :subject_id, :outcome, :reason,
                :changed, :request_id)
        )
        INSERT INTO audit_details (at, entry_id, subject_id, actor_id, before, after, ip, user_agent)
        SELECT CAST(:at AS timestamptz), CAST(:entry_id AS uuid), CAST(:subject_id AS uuid), CAST(:actor_id AS uuid),
            CAST(:before AS json), CAST(:after AS json), CAST(:ip AS text), CAST(:user_agent AS text)
        WHERE CAST(:subject_kind AS text) IS DISTINCT FROM '{SubjectKind.USER}'
            OR EXISTS (SELECT FROM users WHERE user_id = CAST(:subject_id AS uuid))
        """  # noqa: S608 - a constant of ours
    )
)
_ERASE: Final = Statement(text("SELECT erase_audit_details(:user_id)"))

AUDIT_COLUMNS: Final = (
    *audit_entries.c,
    audit_details.c.before,
    audit_details.c.after,
    audit_details.c.ip,
    audit_details.c.user_agent,
)
AUDIT_SOURCE: Final = audit_entries.outerjoin(
    audit_details,
    (audit_details.c["at"] == audit_entries.c["at"]) & (audit_details.c.entry_id == audit_entries.c.entry_id),
)


def _given(name: str, column: Column[Any]) -> BindParameter[Any]:
    return bindparam(name, type_=column.type)


_FILTERS: Final[Mapping[str, ColumnElement[bool]]] = {
    "actor_id": audit_entries.c.actor_id == _given("actor_id", audit_entries.c.actor_id),
    "actions": audit_entries.c.action == any_(bindparam("actions", type_=ARRAY(Text))),
    "subject_kind": audit_entries.c.subject_kind == _given("subject_kind", audit_entries.c.subject_kind),
    "subject_id": audit_entries.c.subject_id == _given("subject_id", audit_entries.c.subject_id),
    "own": (audit_entries.c.outcome == Outcome.SUCCEEDED.value)
    | audit_entries.c.actor_id.is_(None)
    | (audit_entries.c.actor_id == audit_entries.c.subject_id),
    "outcome": audit_entries.c.outcome == _given("outcome", audit_entries.c.outcome),
    "after": audit_entries.c["at"] >= _given("after", audit_entries.c["at"]),
    "before": audit_entries.c["at"] < _given("before", audit_entries.c["at"]),
}


class PostgresAuditLog:
    """The log within a transaction; a `ports.audit.AuditLog`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction

    def add(self, entry: AuditEntry) -> None:
        call = current_call()
        subject = entry.subject
        self._transaction.write(
            _INSERT(
                at=entry.at,
                entry_id=entry.id,
                action=str(entry.action),
                actor_kind=entry.actor.kind.value,
                actor_id=entry.actor.id,
                subject_kind=None if subject is None else subject.kind.value,
                subject_id=None if subject is None else subject.id,
                outcome=entry.outcome.value,
                reason=entry.reason,
                changed=list(entry.changed),
                request_id=call.request_id,
                before=msgspec.json.encode(entry.before).decode(),
                after=msgspec.json.encode(entry.after).decode(),
                ip=call.origin.ip,
                user_agent=call.origin.user_agent,
            )
        )

    def erase_details(self, user_id: UserId) -> None:
        self._transaction.write(_ERASE(user_id=user_id), order=WriteOrder.ERASURE)


class PostgresAuditReader:
    """Reads the log in autocommit; a `ports.audit.AuditReader`."""

    def __init__(self, database: Reads) -> None:
        self._log = PagedList(
            database,
            columns=AUDIT_COLUMNS,
            source=AUDIT_SOURCE,
            row_id=audit_entries.c.entry_id,
            sorts={"at": SortColumn(key=audit_entries.c["at"])},
            filters=_FILTERS,
        )

    def list_page(self, wanted: AuditFilter, request: PageRequest) -> Page[AuditRecord]:
        return self._log.page(request, filters=_parameters_of(wanted), make=audit_record_of)


def _parameters_of(wanted: AuditFilter) -> dict[str, Any]:
    given = {
        "actor_id": wanted.actor_id,
        "actions": None if wanted.actions is None else [action.value for action in wanted.actions],
        "subject_kind": None if wanted.subject_kind is None else wanted.subject_kind.value,
        "subject_id": wanted.subject_id,
        "own": wanted.own,
        "outcome": None if wanted.outcome is None else wanted.outcome.value,
        "after": wanted.after,
        "before": wanted.before,
    }
    return {name: value for name, value in given.items() if value is not None}


def audit_record_of(row: Row) -> AuditRecord:
    """Return the record of a row of :data:`AUDIT_COLUMNS`."""
    at, entry_id, action, actor_kind, actor_id, subject_kind, subject_id, *others = row
    outcome, reason, changed, request_id, before, after, ip, user_agent = others
    return AuditRecord(
        entry=AuditEntry(
            id=AuditEntryId(entry_id),
            at=at,
            action=action,
            actor=Actor(ActorKind(actor_kind), actor_id),
            subject=None if subject_kind is None else Subject(SubjectKind(subject_kind), subject_id),
            outcome=Outcome(outcome),
            reason=reason,
            before=before or {},
            after=after or {},
            changed=tuple(changed),
        ),
        request_id=request_id,
        origin=Origin(ip=ip, user_agent=user_agent),
        is_erased=before is None,
    )
