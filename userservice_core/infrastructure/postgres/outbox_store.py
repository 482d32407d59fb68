"""The outbox as relays see it: leases of lanes, records in order, and partitions that are emptied in turn."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from userservice_core.errors import UnavailableError
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import OUTBOX_SLOT_SECONDS, OUTBOX_SLOTS
from userservice_core.ports.publishing import LANES, Backlog, Lease, OutboxRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.infrastructure.postgres.database import Database

_RECORD_COLUMNS: Final = (
    "seq, id, lane, aggregatetype, aggregateid, type, source, subject, occurred_at, sequence, traceparent, payload"
)
# Who owns a lane is a relay's id and, after the slash, this run of it: a relay that comes back under its id takes its
# lanes at once, but under a new fence.
_CLAIM: Final = Statement(
    text(
        f"""
        WITH seen AS (
            INSERT INTO outbox_relay (relay_id, seen_at) VALUES (:relay_id, now())
            ON CONFLICT (relay_id) DO UPDATE SET seen_at = now()
        ), share AS (
            SELECT ceil({LANES}.0 / (1 + count(*)))::int AS lanes FROM outbox_relay
            WHERE relay_id <> :relay_id AND seen_at > now() - make_interval(secs => :lease_seconds)
        ), ranked AS (
            SELECT lane, coalesce(owner = :owner AND expires_at > now(), false) AS is_held,
                row_number() OVER (ORDER BY
                    coalesce(owner = :owner AND expires_at > now(), false) DESC,
                    coalesce(split_part(owner, '/', 1) = :relay_id, false) DESC,
                    md5(lane || :relay_id)
                ) AS rank
            FROM outbox_lane
            WHERE owner IS NULL OR expires_at <= now() OR split_part(owner, '/', 1) = :relay_id
        )
        UPDATE outbox_lane AS lane
        SET owner = CASE WHEN rank <= lanes THEN :owner END,
            fence = fence + (rank <= lanes AND NOT is_held)::int,
            expires_at = CASE WHEN rank <= lanes THEN now() + make_interval(secs => :lease_seconds)
                ELSE '-infinity' END
        FROM ranked, share
        WHERE lane.lane = ranked.lane AND (rank <= lanes OR is_held)
            AND (owner IS NULL OR expires_at <= now() OR split_part(owner, '/', 1) = :relay_id)
        RETURNING lane.lane, lane.fence, lane.owner IS NOT NULL
        """  # noqa: S608 - a constant of ours
    )
)
_RELEASE: Final = Statement(
    text(
        """
        WITH gone AS (DELETE FROM outbox_relay WHERE relay_id = :relay_id)
        UPDATE outbox_lane SET owner = NULL, expires_at = '-infinity' WHERE owner = :owner
        """
    )
)
_HELD: Final = """
    SELECT held.lane FROM unnest(CAST(:lanes AS smallint[]), CAST(:fences AS bigint[])) AS held (lane, fence)
    JOIN outbox_lane AS l ON l.lane = held.lane AND l.fence = held.fence AND l.expires_at > now()
"""
_READ: Final = Statement(
    text(
        f"""
        SELECT record.* FROM ({_HELD}) AS held CROSS JOIN LATERAL (
            SELECT {_RECORD_COLUMNS}::text FROM outbox
            WHERE outbox.lane = held.lane AND aggregatetype <> ALL (CAST(:without_topics AS text[]))
                AND NOT EXISTS (
                    SELECT FROM outbox_parked AS parked
                    WHERE parked.aggregatetype = outbox.aggregatetype AND parked.aggregateid = outbox.aggregateid
                )
            ORDER BY seq LIMIT :records
        ) AS record ORDER BY record.lane, record.seq
        """  # noqa: S608 - constants of ours
    )
)
_DELETE: Final = Statement(
    text(
        f"""
        DELETE FROM outbox USING unnest(CAST(:record_lanes AS smallint[]), CAST(:positions AS bigint[])) AS done
        (lane, seq) WHERE outbox.lane = done.lane AND outbox.seq = done.seq AND outbox.lane IN ({_HELD})
        """  # noqa: S608 - constants of ours
    )
)
_PARK: Final = Statement(
    text(
        f"""
        WITH moved AS (
            DELETE FROM outbox WHERE lane = :lane AND seq = :position AND lane IN ({_HELD})
            RETURNING {_RECORD_COLUMNS}, created_at
        )
        INSERT INTO outbox_parked ({_RECORD_COLUMNS}, created_at, cause)
        SELECT {_RECORD_COLUMNS}, created_at, :cause FROM moved
        """  # noqa: S608 - constants of ours
    )
)
_BACKLOG: Final = Statement(
    text(
        "SELECT count(*), coalesce(greatest(extract(epoch FROM clock_timestamp() - min(created_at)), 0), 0)::float8"
        " FROM outbox"
    )
)
# Slots that have neither their turn nor the next half minute's, and whose files are not empty already.
_IDLE_SLOTS: Final = Statement(
    text(
        f"""
        SELECT slot FROM generate_series(0, {OUTBOX_SLOTS - 1}) AS slot
        WHERE pg_relation_size(format('outbox_slot_%s', slot)::regclass) > 0
            AND slot <> (extract(epoch FROM now())::bigint / {OUTBOX_SLOT_SECONDS}) % {OUTBOX_SLOTS}
            AND slot <> ((extract(epoch FROM now())::bigint + 30) / {OUTBOX_SLOT_SECONDS}) % {OUTBOX_SLOTS}
        """  # noqa: S608 - constants of ours
    )
)
_BEGIN: Final = Statement(text("BEGIN"))
_SHORT_WAIT: Final = Statement(text("SET LOCAL lock_timeout = '50ms'"))
_COMMIT: Final = Statement(text("COMMIT"))
_LOCK_SLOT: Final = [
    Statement(text(f"LOCK TABLE outbox_slot_{slot} IN ACCESS EXCLUSIVE MODE")) for slot in range(OUTBOX_SLOTS)
]
_SLOT_HAS_ROWS: Final = [
    Statement(text(f"SELECT EXISTS (SELECT FROM outbox_slot_{slot})"))  # noqa: S608 - a number of ours
    for slot in range(OUTBOX_SLOTS)
]
_TRUNCATE_SLOT: Final = [Statement(text(f"TRUNCATE outbox_slot_{slot}")) for slot in range(OUTBOX_SLOTS)]


class PostgresOutboxStore:
    """A `ports.publishing.OutboxStore`; one object is one run of a relay."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._run = secrets.token_hex(8)

    def claim(self, relay_id: str, *, lease_seconds: float) -> tuple[Lease, ...]:
        rows = self._database.fetch_all(
            _CLAIM, relay_id=relay_id, owner=self._owner(relay_id), lease_seconds=lease_seconds
        )
        return tuple(sorted((Lease(lane, fence) for lane, fence, is_ours in rows if is_ours), key=_lane_of))

    def release(self, relay_id: str) -> None:
        self._database.execute(_RELEASE, relay_id=relay_id, owner=self._owner(relay_id))

    def read(
        self, leases: Sequence[Lease], *, limit: int, without_topics: Sequence[str] = ()
    ) -> tuple[OutboxRecord, ...]:
        rows = self._database.fetch_all(_READ, **_held(leases), records=limit, without_topics=list(without_topics))
        return tuple(_record_of(row) for row in rows)

    def delete(self, leases: Sequence[Lease], records: Sequence[OutboxRecord]) -> int:
        return self._database.execute(
            _DELETE,
            **_held(leases),
            record_lanes=[record.lane for record in records],
            positions=[record.position for record in records],
        )

    def park(self, lease: Lease, record: OutboxRecord, *, cause: str) -> bool:
        moved = self._database.execute(_PARK, **_held([lease]), lane=record.lane, position=record.position, cause=cause)
        return moved == 1

    def backlog(self) -> Backlog:
        row = self._database.fetch_one(_BACKLOG)
        return Backlog(0, 0.0) if row is None else Backlog(*row)

    def rotate(self) -> None:
        for (slot,) in self._database.fetch_all(_IDLE_SLOTS):
            self._empty(slot)

    def _empty(self, slot: int) -> None:
        """
        Truncate a partition if it is empty; one that is in use this moment waits for the next time.

        The look comes after the lock, in a statement of its own, so it sees every row that anybody has committed.
        """
        with self._database.lend() as link:
            try:
                link.run_all([_BEGIN(), _SHORT_WAIT(), _LOCK_SLOT[slot]()])
                if link.run(_SLOT_HAS_ROWS[slot]()).fetchone() == (False,):
                    link.run_all([_TRUNCATE_SLOT[slot](), _COMMIT()])
            except UnavailableError:
                return
            finally:
                link.roll_back()

    def _owner(self, relay_id: str) -> str:
        return f"{relay_id}/{self._run}"


def _lane_of(lease: Lease) -> int:
    return lease.lane


def _held(leases: Sequence[Lease]) -> dict[str, Any]:
    return {"lanes": [lease.lane for lease in leases], "fences": [lease.fence for lease in leases]}


def _record_of(row: tuple[Any, ...]) -> OutboxRecord:
    seq, id_, lane, topic, key, type_, source, subject, occurred_at, sequence, traceparent, payload = row
    return OutboxRecord(
        position=seq,
        id=id_,
        lane=lane,
        topic=topic,
        key=key,
        type=type_,
        source=source,
        subject=subject,
        occurred_at=occurred_at,
        sequence=sequence,
        traceparent=traceparent,
        payload=payload.encode(),
    )
