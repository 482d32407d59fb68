"""The audit log."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import ARRAY, Text, any_, bindparam, select, text, tuple_

from userservice_core.domain.audit import Actor, ActorKind, AuditAction, AuditEntry, Outcome, Subject, SubjectKind
from userservice_core.domain.ids import AuditEntryId
from userservice_core.domain.sessions import Origin
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import audit_details, audit_entries
from userservice_core.infrastructure.postgres.transactions import WriteOrder
from userservice_core.ports.audit import AuditRecord
from userservice_core.ports.context import current_call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement

    from userservice_core.domain.ids import UserId
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.rows import Row
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction
    from userservice_core.ports.audit import AuditFilter, AuditPosition

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

_POSITION: Final = tuple_(audit_entries.c["at"], audit_entries.c.entry_id)
_BEYOND: Final = tuple_(
    bindparam("beyond_at", type_=audit_entries.c["at"].type),
    bindparam("beyond_id", type_=audit_entries.c.entry_id.type),
)
_SELECTED: Final = (
    select(
        *audit_entries.c,
        audit_details.c.before,
        audit_details.c.after,
        audit_details.c.ip,
        audit_details.c.user_agent,
    )
    .select_from(
        audit_entries.outerjoin(
            audit_details,
            (audit_details.c["at"] == audit_entries.c["at"]) & (audit_details.c.entry_id == audit_entries.c.entry_id),
        )
    )
    .limit(bindparam("limit"))
)


def _given(name: str) -> Any:  # noqa: ANN401 - a parameter of the type of its column
    return bindparam(f"of_{name}", type_=audit_entries.c[name].type)


_CONDITIONS: Final[Mapping[str, ColumnElement[bool]]] = {
    "of_actor_id": audit_entries.c.actor_id == _given("actor_id"),
    "of_actions": audit_entries.c.action == any_(bindparam("of_actions", type_=ARRAY(Text))),
    "of_subject_id": audit_entries.c.subject_id == _given("subject_id"),
    "of_subject_kind": audit_entries.c.subject_kind == _given("subject_kind"),
    "of_outcome": audit_entries.c.outcome == _given("outcome"),
    "of_after": audit_entries.c["at"] >= bindparam("of_after", type_=audit_entries.c["at"].type),
    "of_before": audit_entries.c["at"] < bindparam("of_before", type_=audit_entries.c["at"].type),
}


@functools.lru_cache(maxsize=512)
def _statement(names: frozenset[str], *, is_continued: bool, oldest_first: bool) -> Statement:
    """Return the statement of a kind of question, so that each kind has a plan of its own."""
    query = _SELECTED.where(*(condition for name, condition in _CONDITIONS.items() if name in names))
    if is_continued:
        query = query.where(_POSITION > _BEYOND if oldest_first else _POSITION < _BEYOND)
    if oldest_first:
        return Statement(query.order_by(audit_entries.c["at"], audit_entries.c.entry_id))
    return Statement(query.order_by(audit_entries.c["at"].desc(), audit_entries.c.entry_id.desc()))


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
                action=entry.action.value,
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

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(
        self,
        wanted: AuditFilter,
        *,
        limit: int,
        beyond: AuditPosition | None = None,
        oldest_first: bool = False,
    ) -> tuple[AuditRecord, ...]:
        given = _parameters_of(wanted)
        statement = _statement(frozenset(given), is_continued=beyond is not None, oldest_first=oldest_first)
        position = {} if beyond is None else {"beyond_at": beyond.at, "beyond_id": beyond.id}
        return tuple(map(_record_of, self._database.fetch_all(statement, **given, **position, limit=limit)))


def _parameters_of(wanted: AuditFilter) -> dict[str, Any]:
    given = {
        "of_actor_id": wanted.actor_id,
        "of_actions": None if wanted.actions is None else [action.value for action in wanted.actions],
        "of_subject_id": None if wanted.subject is None else wanted.subject.id,
        "of_subject_kind": None if wanted.subject is None else wanted.subject.kind.value,
        "of_outcome": None if wanted.outcome is None else wanted.outcome.value,
        "of_after": wanted.after,
        "of_before": wanted.before,
    }
    return {name: value for name, value in given.items() if value is not None}


def _record_of(row: Row) -> AuditRecord:
    at, entry_id, action, actor_kind, actor_id, subject_kind, subject_id, *others = row
    outcome, reason, changed, request_id, before, after, ip, user_agent = others
    return AuditRecord(
        entry=AuditEntry(
            id=AuditEntryId(entry_id),
            at=at,
            action=AuditAction(action),
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
