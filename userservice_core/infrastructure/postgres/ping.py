"""Asking whether the database answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from userservice_core.errors import DatabaseUnavailableError
from userservice_core.infrastructure.postgres.statements import Statement

if TYPE_CHECKING:
    from userservice_core.infrastructure.postgres.database import Database

# A standby answers too, but the service needs a server that can be written to.
_PING: Final = Statement(text("SELECT pg_is_in_recovery()"))


class PostgresPing:
    """The primary; a `ports.health.Ping`, which also tells how its pool is used."""

    name: Final = "database"

    def __init__(self, database: Database) -> None:
        self._database = database

    def ping(self) -> None:
        self._database.tell_usage()
        if self._database.fetch_one(_PING) == (True,):
            raise DatabaseUnavailableError("The database is a standby and cannot be written to.")
