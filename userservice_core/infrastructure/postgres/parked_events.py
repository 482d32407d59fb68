"""Records of the outbox that no bus would take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from userservice_core.errors import NotFoundError
from userservice_core.infrastructure.postgres.outbox_store import RECORD_COLUMNS, record_of
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.ports.publishing import ParkedEvent

if TYPE_CHECKING:
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

_SELECT: Final = f"SELECT cause, parked_at, {RECORD_COLUMNS}::text FROM outbox_parked"  # noqa: S608 - a constant of ours
_LIST: Final = Statement(text(f"{_SELECT} WHERE seq > :after ORDER BY seq LIMIT :limit"))
_GET: Final = Statement(text(f"{_SELECT} WHERE seq = :position FOR UPDATE"))
# Its partition is the one whose turn it is, and its age counts from when it happened, not from now.
_PUT_BACK: Final = Statement(
    text(
        f"""
        WITH moved AS (
            DELETE FROM outbox_parked WHERE seq = :position RETURNING {RECORD_COLUMNS}, created_at
        )
        INSERT INTO outbox ({RECORD_COLUMNS}, created_at) OVERRIDING SYSTEM VALUE
        SELECT {RECORD_COLUMNS}, created_at FROM moved
        """  # noqa: S608 - constants of ours
    )
)
_DROP: Final = Statement(text("DELETE FROM outbox_parked WHERE seq = :position"))


class PostgresParkedEventReader:
    """Reads in autocommit; a `ports.publishing.ParkedEventReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_parked(self, *, after: int = 0, limit: int) -> tuple[ParkedEvent, ...]:
        return tuple(_event_of(row) for row in self._database.fetch_all(_LIST, after=after, limit=limit))


class PostgresParkedEventRepository:
    """
    A `ports.publishing.ParkedEventRepository`.

    Attributes:
        wakes_relays: Whether something goes back into the outbox.
    """

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction
        self.wakes_relays = False

    def get(self, position: int) -> ParkedEvent:
        row = self._transaction.read(_GET(position=position)).fetchone()
        if row is None:
            raise NotFoundError(f"No event is parked at {position}.")
        return _event_of(row)

    def put_back(self, event: ParkedEvent) -> None:
        self.wakes_relays = True
        self._transaction.write(_PUT_BACK(position=event.record.position))

    def drop(self, event: ParkedEvent) -> None:
        # A key that waited behind it can go on.
        self.wakes_relays = True
        self._transaction.write(_DROP(position=event.record.position))


def _event_of(row: tuple[Any, ...]) -> ParkedEvent:
    cause, parked_at, *record = row
    return ParkedEvent(record=record_of(tuple(record)), cause=cause, parked_at=parked_at)
