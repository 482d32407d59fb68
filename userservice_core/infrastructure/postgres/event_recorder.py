"""The events of one transaction, numbered by the rows that their keys have, and written into the outbox."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import JSON, BigInteger, Text, bindparam, cast, func, insert, literal_column, null, select, update

from userservice_core.domain.event_data import MAX_DATA_BYTES, event_data, wire_type
from userservice_core.domain.events import NotificationRequested, SequencedBy
from userservice_core.errors import ProgrammingError
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import (
    login_states,
    outbox,
    permissions,
    roles,
    user_profiles,
    users,
)
from userservice_core.infrastructure.postgres.transactions import WriteOrder
from userservice_core.ports.context import current_call
from userservice_core.ports.publishing import lane_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Table

    from userservice_core.domain.events import Event
    from userservice_core.infrastructure.postgres.statements import Step
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

_COLUMNS: Final = (
    *("lane", "id", "aggregatetype", "aggregateid", "type", "payload", "source", "subject", "occurred_at"),
    "traceparent",
)


def _is_counted(table: Table) -> ColumnElement[bool]:
    (key,) = table.primary_key
    return key == bindparam("counted_id", type_=key.type)


def _raise_counter(table: Table) -> Statement:
    return Statement(
        update(table)
        .where(_is_counted(table))
        .values(event_version=table.c.event_version + bindparam("events", type_=BigInteger))
    )


def _insert_event(sequence: ColumnElement[Any], **computed: ColumnElement[Any]) -> Statement:
    parameters = {name: bindparam(f"new_{name}", type_=outbox.c[name].type) for name in _COLUMNS}
    return Statement(insert(outbox).values(**{**parameters, **computed}, sequence=sequence).inline())


def _number_from(table: Table) -> ColumnElement[Any]:
    """Count back from the latest event, which is the last one of this transaction."""
    latest = select(table.c.event_version).where(_is_counted(table))
    return latest.scalar_subquery() - bindparam("events_after", type_=BigInteger)


_PREFERRED_LANGUAGE: Final = (
    select(literal_column("'\"language\":'") + cast(func.to_json(user_profiles.c.language), Text))
    .where(
        user_profiles.c.user_id == bindparam("owner_id", type_=user_profiles.c.user_id.type),
        user_profiles.c.language.is_not(None),
    )
    .scalar_subquery()
)
_ASKED_FOR: Final = bindparam("asked_for", type_=Text)
# The language is looked up where the request is written: a use case needs no further read to have a mail sent. The
# member is put in as text, so that the rest of the data stays as it was encoded; a quote within a text is escaped
# there, so that no other place can read like the member.
_INSERT_NOTIFICATION: Final = _insert_event(
    null(),
    payload=cast(
        func.replace(bindparam("new_payload", type_=Text), _ASKED_FOR, func.coalesce(_PREFERRED_LANGUAGE, _ASKED_FOR)),
        JSON,
    ),
)

_RAISE: Final[Mapping[SequencedBy, tuple[WriteOrder, Statement]]] = {
    SequencedBy.LOGIN_STATE: (WriteOrder.LOGIN_STATE_COUNTER, _raise_counter(login_states)),
    SequencedBy.USER: (WriteOrder.USER_COUNTER, _raise_counter(users)),
    SequencedBy.ROLE: (WriteOrder.OTHER, _raise_counter(roles)),
    SequencedBy.PERMISSION: (WriteOrder.OTHER, _raise_counter(permissions)),
}
_INSERT: Final[Mapping[SequencedBy, Statement]] = {
    SequencedBy.LOGIN_STATE: _insert_event(_number_from(login_states)),
    SequencedBy.USER: _insert_event(_number_from(users)),
    SequencedBy.ROLE: _insert_event(_number_from(roles)),
    SequencedBy.PERMISSION: _insert_event(_number_from(permissions)),
    SequencedBy.NOTHING: _insert_event(null()),
}


class EventRecorder:
    """
    What happened in one transaction.

    A row's counter is raised before anything else is written, so its lock orders the events of its key. The outbox's
    rows are inserted last, and take their numbers from the counter.
    """

    def __init__(self, *, topic_prefix: str, source: str) -> None:
        self._topic_prefix = topic_prefix
        self._source = source
        self._events: list[Event] = []
        self._new_rows: dict[tuple[SequencedBy, UUID], Step] = {}

    def __bool__(self) -> bool:
        return bool(self._events)

    def record(self, event: Event) -> None:
        """Put *event* aside until the commit."""
        self._events.append(event)

    def starts_with(self, kind: SequencedBy, row_id: UUID, insertion: Step) -> None:
        """Let the row that *insertion* makes start at the number of its first events."""
        self._new_rows[kind, row_id] = insertion

    def write_into(self, transaction: OpenTransaction) -> None:
        """
        Write counters and events.

        Raises:
            ProgrammingError: If an event's data is larger than the bus takes.
        """
        left = Counter(_counter_of(event) for event in self._events)
        for (kind, row_id), events in sorted(left.items(), key=lambda item: item[0][1].int):
            self._raise_counter(transaction, kind, row_id, events)
        for event in self._events:
            counter = _counter_of(event)
            left[counter] -= 1
            transaction.write(self._insertion(event, events_after=left[counter]), order=WriteOrder.OUTBOX)

    def _raise_counter(self, transaction: OpenTransaction, kind: SequencedBy, row_id: UUID, events: int) -> None:
        if kind is SequencedBy.NOTHING:
            return
        if (kind, row_id) in self._new_rows:
            _, params = self._new_rows[kind, row_id]
            params["event_version"] = events
        else:
            order, statement = _RAISE[kind]
            transaction.write(statement(counted_id=row_id, events=events), order=order)

    def _insertion(self, event: Event, *, events_after: int) -> Step:
        payload = msgspec.json.encode(event_data(event))
        if len(payload) > MAX_DATA_BYTES:
            raise ProgrammingError(f"The data of a {event.type} is larger than {MAX_DATA_BYTES} bytes.")
        topic = f"{self._topic_prefix}{event.topic}"
        kind, row_id = _counter_of(event)
        further: dict[str, Any] = {}
        statement = _INSERT[kind]
        if isinstance(event, NotificationRequested):
            asked_for = f'"language":{msgspec.json.encode(event.language).decode()}'
            statement, further = _INSERT_NOTIFICATION, {"owner_id": event.user_id, "asked_for": asked_for}
        elif kind is not SequencedBy.NOTHING:
            further = {"counted_id": row_id, "events_after": events_after}
        return statement(
            new_lane=lane_of(topic, event.key),
            new_id=event.id,
            new_aggregatetype=topic,
            new_aggregateid=event.key,
            new_type=wire_type(event),
            new_payload=payload.decode(),
            new_source=self._source,
            new_subject=event.subject,
            new_occurred_at=event.occurred_at,
            new_traceparent=current_call().traceparent,
            **further,
        )


_NO_ROW: Final = UUID(int=0)


def _counter_of(event: Event) -> tuple[SequencedBy, UUID]:
    """Return which row numbers *event*; the key of a numbered event is the row's id."""
    is_numbered = event.sequenced_by is not SequencedBy.NOTHING
    return event.sequenced_by, UUID(event.key) if is_numbered else _NO_ROW
