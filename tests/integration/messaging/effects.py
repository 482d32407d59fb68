"""Effects of a consumer's handlers in PostgreSQL, beside the inbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from userservice_core.infrastructure.postgres.inbox import PostgresInbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.ports.consuming import ConsumedEvent

Effects = list[tuple[str, int | None]]


class PostgresEffects:
    """A table of effects in the database of a test."""

    def __init__(self, dsn: str, *, create: bool = True) -> None:
        """Create the table, and that of the inbox."""
        self._dsn = dsn
        self._inbox: PostgresInbox[psycopg.Connection] = PostgresInbox(lambda: psycopg.connect(dsn))
        if create:
            self._inbox.create_tables()
            with psycopg.connect(dsn) as connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS effect"
                    " (number bigserial PRIMARY KEY, topic text NOT NULL, key text NOT NULL, sequence bigint,"
                    " event_id text NOT NULL)"
                )

    def inbox(self) -> PostgresInbox[psycopg.Connection]:
        """Return the inbox; each transaction has a connection of its own."""
        return self._inbox

    def write(self, event: ConsumedEvent, transaction: Any) -> None:  # noqa: ANN401 - of any library
        """Write the effect of *event*."""
        transaction.execute(
            "INSERT INTO effect (topic, key, sequence, event_id) VALUES (%s, %s, %s, %s)",
            (event.topic, event.key, event.sequence, event.id),
        )

    def write_all(self, events: Sequence[ConsumedEvent], transaction: Any) -> None:  # noqa: ANN401 - as above
        """Write the effects of *events*."""
        for event in events:
            self.write(event, transaction)

    def effects(self) -> Effects:
        """Return key and sequence of each, in order."""
        with psycopg.connect(self._dsn) as connection:
            return connection.execute("SELECT key, sequence FROM effect ORDER BY number").fetchall()
