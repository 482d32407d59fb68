"""Which server a connection leads to, and how far its data has come."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
from sqlalchemy import text

from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.ports.consistency import UNKNOWN_OFFSET, Position

if TYPE_CHECKING:
    from collections.abc import Sequence

_PAGE_BYTES: Final = 8192
_PAGE_HEADERS: Final = frozenset({24, 40})

# What a commit was told to have written is flushed, unless commits are told before they are. Records that nobody waits
# for may stay unflushed for seconds, and are no reason to call a replica late.
WRITTEN: Final = Statement(
    text(
        "SELECT ('x' || left(pg_walfile_name(written), 8))\\:\\:bit(32)\\:\\:integer,"
        " (written - pg_lsn '0/0')\\:\\:bigint"
        " FROM (SELECT CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()"
        " ELSE pg_current_wal_flush_lsn() END AS written) AS at"
    )
)
"""Asks, after a COMMIT and in its round trip, up to where the primary has written."""

STATE: Final = Statement(
    text(
        "SELECT is_standby, (SELECT system_identifier FROM pg_control_system()),"
        " CASE WHEN is_standby THEN"
        # Whoever may not see the receiver's line learns of a new timeline with the next restart point only.
        " greatest((SELECT received_tli FROM pg_stat_wal_receiver), (SELECT timeline_id FROM pg_control_checkpoint()),"
        " (SELECT min_recovery_end_timeline FROM pg_control_recovery()))"
        " ELSE ('x' || left(pg_walfile_name(reached), 8))\\:\\:bit(32)\\:\\:integer END,"
        " (reached - pg_lsn '0/0')\\:\\:bigint, pg_postmaster_start_time()"
        " FROM (SELECT pg_is_in_recovery() AS is_standby, CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
        " WHEN current_setting('synchronous_commit') = 'off' THEN pg_current_wal_insert_lsn()"
        " ELSE pg_current_wal_flush_lsn() END AS reached) AS at"
    )
)
"""Asks for a :class:`ServerState`."""

PROGRESS: Final = Statement(text("SELECT (pg_last_wal_replay_lsn() - pg_lsn '0/0')\\:\\:bigint, pg_is_in_recovery()"))
"""Asks a standby how far it is now; cheaper than :data:`STATE`, which reads files of the server."""


@attrs.frozen(kw_only=True)
class ServerState:
    """
    What a server said of itself.

    Attributes:
        is_standby: Whether it replays what another one writes.
        position: Everything up to there is in its data.
        started_at: When its processes were started, by its own clock; tells servers of one system apart.
    """

    is_standby: bool
    position: Position
    started_at: datetime

    def is_same_server(self, other: ServerState) -> bool:
        """Whether both were said by one server that was not restarted in between."""
        return (self.position.system_id, self.started_at) == (other.position.system_id, other.started_at)


class Gate(Protocol):
    """Decides which servers a pool may be connected to. Safe for many threads."""

    def admits(self, state: ServerState | None) -> bool:
        """
        Tell whether a connection to this server may be used, now.

        Args:
            state: What the server said when it was connected to; None if it cannot tell its position.
        """
        ...


def state_of(row: Sequence[Any]) -> ServerState | None:
    """Return what a row of :data:`STATE` says; None from a server that has no position yet."""
    is_standby, system_id, timeline, offset, started_at = row
    if offset is None or timeline is None:
        return None
    # The server's own number is written with a sign, and is one of 64 bits without.
    position = Position(system_id % 2**64, timeline, _end_of_record(offset))
    return ServerState(is_standby=is_standby, position=position, started_at=started_at)


def written_position(row: Sequence[Any] | None, state: ServerState | None) -> Position:
    """
    Return where a transaction was written, by a row of :data:`WRITTEN` from the server of *state*.

    What could not be had stands for a write that no replica is known to hold.
    """
    if state is None:
        return Position(0, 0, UNKNOWN_OFFSET)
    if row is None:
        return attrs.evolve(state.position, offset=UNKNOWN_OFFSET)
    timeline, offset = row
    return Position(state.position.system_id, timeline, _end_of_record(offset))


def _end_of_record(offset: int) -> int:
    """
    Return the place before a header of a page, where *offset* is the one behind.

    The primary may call the end of its last record the place where the next one will begin, which a replica reaches
    only with that next record. No record begins before a page's header and ends just behind it without being replayed
    as a whole, so whoever is at the page's start has everything before.
    """
    return offset - offset % _PAGE_BYTES if offset % _PAGE_BYTES in _PAGE_HEADERS else offset
