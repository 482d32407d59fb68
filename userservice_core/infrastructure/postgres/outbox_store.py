"""The outbox as relays see it: leases of lanes, records in order, and partitions that are emptied in turn."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import text

from userservice_core.errors import UnavailableError
from userservice_core.infrastructure.postgres.leases import LaneLeases, held, lease_statements
from userservice_core.infrastructure.postgres.outbox_floors import Found, OutboxFloors, Watermark
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import OUTBOX_SLOT_SECONDS, OUTBOX_SLOTS
from userservice_core.ports.publishing import LANES, Backlog, OutboxRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.publishing import Lease

_log = structlog.get_logger("userservice.relay")

RECORD_COLUMNS: Final = (
    "seq, id, lane, aggregatetype, aggregateid, type, source, subject, occurred_at, sequence, traceparent, payload"
)
"""Of the outbox, and of what is set aside, as :func:`record_of` takes them."""
_LEASES: Final = lease_statements(lanes="outbox_lane", members="outbox_relay", member="relay_id", has_groups=False)
# What renews it: a record that is put back, and the start, the crash and the fail-over of a server.
_EPOCH: Final = "(SELECT token || ' ' || pg_postmaster_start_time() FROM outbox_epoch)"
_BEGIN_EPOCH: Final = Statement(
    text("INSERT INTO outbox_epoch (token) VALUES (gen_random_uuid()) ON CONFLICT (singleton) DO NOTHING")
)
# The locks are listed for the row of the sequence, and so after it was read.
_WATERMARK: Final = Statement(
    text(
        f"""
        SELECT {_EPOCH}, last_value - (NOT is_called)::int, ARRAY(
            SELECT virtualtransaction FROM pg_locks
            WHERE numbers.last_value IS NOT NULL AND locktype = 'relation' AND relation = 'outbox'::regclass
                AND mode = 'RowExclusiveLock'
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ) FROM outbox_seq_seq AS numbers
        """  # noqa: S608 - a constant of ours
    )
)
# The first topic within a gap between two that are known, or behind the last.
_NEXT_TOPIC: Final = """
    CASE WHEN gap.upper IS NULL THEN (
        SELECT aggregatetype FROM outbox WHERE aggregatetype > gap.lower ORDER BY aggregatetype LIMIT 1
    ) ELSE (
        SELECT aggregatetype FROM outbox WHERE aggregatetype > gap.lower AND aggregatetype < gap.upper
        ORDER BY aggregatetype LIMIT 1
    ) END
"""
# Topics are few, so each one's first record leads to the next topic, past however many wait; but for those that are
# known there is no look at all, since the rows of one that are gone would have to be walked over. The first row of the
# result is none of a record, but says what was looked at.
_READ: Final = Statement(
    text(
        f"""
        WITH RECURSIVE held AS MATERIALIZED ({_LEASES.held}), known (name) AS (
            SELECT DISTINCT name FROM unnest(CAST(:known_topics AS text[])) AS name
        ), gap (lower, upper) AS (
            SELECT lag(name, 1, '') OVER (ORDER BY name), name FROM known
            UNION ALL SELECT coalesce(max(name), ''), NULL FROM known
        ), unknown (name, upper) AS (
            SELECT {_NEXT_TOPIC}, upper FROM gap
            UNION ALL
            SELECT {_NEXT_TOPIC}, upper FROM unknown AS gap (lower, upper) WHERE lower IS NOT NULL
        ), topic (name) AS MATERIALIZED (
            SELECT name FROM known UNION ALL SELECT name FROM unknown WHERE name IS NOT NULL
        ), floor (topic, lane, seq) AS (
            SELECT topic, lane, seq FROM unnest(
                CAST(:floor_topics AS text[]), CAST(:floor_lanes AS smallint[]), CAST(:floors AS bigint[])
            ) AS floor (topic, lane, seq) WHERE {_EPOCH} = :epoch
        ), beginning (topic, lane, seq) AS MATERIALIZED (
            SELECT topic.name, held.lane, coalesce(floor.seq, 0) FROM held CROSS JOIN topic
            LEFT JOIN floor ON floor.topic = topic.name AND floor.lane = held.lane
            WHERE topic.name <> ALL (CAST(:without_topics AS text[]))
        )
        SELECT 0::bigint AS seq, NULL::uuid, (-1)::smallint AS lane, '', '', '', '', '', NULL::timestamptz,
            NULL::bigint, NULL, json_build_object(
                'epoch', {_EPOCH}, 'lanes', ARRAY(SELECT lane FROM held), 'topics', ARRAY(SELECT name FROM topic)
            )::text
        UNION ALL
        SELECT record.* FROM beginning CROSS JOIN LATERAL (
            SELECT {RECORD_COLUMNS}::text FROM outbox
            WHERE outbox.lane = beginning.lane AND aggregatetype = beginning.topic AND outbox.seq >= beginning.seq
            AND NOT EXISTS (
                SELECT FROM outbox_parked AS parked
                WHERE parked.aggregatetype = outbox.aggregatetype AND parked.aggregateid = outbox.aggregateid
                    AND parked.sequence IS NOT NULL
            )
            ORDER BY outbox.seq LIMIT :records
        ) AS record
        ORDER BY lane, seq
        """  # noqa: S608 - constants of ours
    )
)
_DELETE: Final = Statement(
    text(
        f"""
        DELETE FROM outbox USING unnest(
            CAST(:record_topics AS text[]), CAST(:record_lanes AS smallint[]), CAST(:positions AS bigint[])
        ) AS done (topic, lane, seq)
        WHERE aggregatetype = done.topic AND outbox.lane = done.lane AND outbox.seq = done.seq
            AND outbox.lane IN ({_LEASES.held})
        """  # noqa: S608 - constants of ours
    )
)
_PARK: Final = Statement(
    text(
        f"""
        WITH moved AS (
            DELETE FROM outbox
            WHERE aggregatetype = :topic AND lane = :lane AND seq = :position AND lane IN ({_LEASES.held})
            RETURNING {RECORD_COLUMNS}, created_at
        )
        INSERT INTO outbox_parked ({RECORD_COLUMNS}, created_at, cause)
        SELECT {RECORD_COLUMNS}, created_at, :cause FROM moved
        """  # noqa: S608 - constants of ours
    )
)
_BACKLOG: Final = Statement(
    text(
        "SELECT count(*), coalesce(greatest(extract(epoch FROM clock_timestamp() - min(created_at)), 0), 0)::float8,"
        " (SELECT count(*) FROM outbox_parked) FROM outbox"
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
# So many each time, in turn: a look that begins at the front is dear where an old snapshot is held open.
_RECHECKED_LANES: Final = 4
_BEGIN: Final = Statement(text("BEGIN"))
# A partition's statistics are of another moment: mostly it is empty or was full. Believing that there are but a few
# records, the planner would have each wave sort all that wait of a lane, and not take the first of them from the index.
# Without the other setting, versions before 18 would compile the statement, for the price they put on what is left.
_BY_INDEX: Final = Statement(text("SELECT set_config('enable_sort', 'off', true), set_config('jit', 'off', true)"))
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

    def __init__(self, database: Database, *, metrics: Metrics | None = None) -> None:
        """
        Take part; nothing is asked yet.

        Args:
            database: The primary.
            metrics: Counts what a floor had passed, which should be nothing.
        """
        self._database = database
        self._metrics = metrics
        self._leases = LaneLeases(database, _LEASES)
        self._floors = OutboxFloors()
        self._watching = threading.Lock()
        self._next_recheck = 0

    def claim(self, relay_id: str, *, lease_seconds: float) -> tuple[Lease, ...]:
        return self._leases.claim(relay_id, lease_seconds=lease_seconds)

    def release(self, relay_id: str) -> None:
        self._leases.release(relay_id)

    def read(
        self, leases: Sequence[Lease], *, limit: int, without_topics: Sequence[str] = ()
    ) -> tuple[OutboxRecord, ...]:
        self._watch()
        start = self._floors.start([lease.lane for lease in leases], without_topics=without_topics)
        if start is None:
            return ()
        summary, *rows = self._rows(
            _READ,
            **held(leases),
            records=limit,
            without_topics=list(without_topics),
            epoch=start.epoch,
            known_topics=list(start.topics),
            floor_topics=[topic for topic, _ in start.floors],
            floor_lanes=[lane for _, lane in start.floors],
            floors=list(start.floors.values()),
        )
        records = tuple(record_of(row) for row in rows)
        found = Found(**json.loads(summary[-1]), records=records)
        lost = self._floors.note(start, found, limit=limit, without_topics=without_topics)
        if lost:
            _log.error("records came below the floor of their lane, and are read late", lanes=lost)
            if self._metrics is not None:
                self._metrics.count("outbox_floor", outcome="passed", times=lost)
        return records

    def delete(self, leases: Sequence[Lease], records: Sequence[OutboxRecord]) -> int:
        deleted = self._database.execute(
            _DELETE,
            **held(leases),
            record_topics=[record.topic for record in records],
            record_lanes=[record.lane for record in records],
            positions=[record.position for record in records],
        )
        if deleted == len(records):
            self._floors.deleted(records)
        return deleted

    def park(self, lease: Lease, record: OutboxRecord, *, cause: str) -> bool:
        moved = self._database.execute(
            _PARK, **held([lease]), topic=record.topic, lane=record.lane, position=record.position, cause=cause
        )
        return moved == 1

    def backlog(self) -> Backlog:
        row = self._database.fetch_one(_BACKLOG)
        return Backlog(0, 0.0) if row is None else Backlog(*row)

    def rotate(self) -> None:
        self._leases.forget_members()
        self._floors.recheck(range(self._next_recheck, self._next_recheck + _RECHECKED_LANES))
        self._next_recheck = (self._next_recheck + _RECHECKED_LANES) % LANES
        for (slot,) in self._database.fetch_all(_IDLE_SLOTS):
            self._empty(slot)

    def _watch(self) -> None:
        """Learn what is decided; one thread after the other, so that the floors are told in order."""
        with self._watching:
            row = self._database.fetch_one(_WATERMARK)
            if row is None:
                return
            epoch, handed_out, writers = row
            if epoch is None:
                self._database.execute(_BEGIN_EPOCH)
            self._floors.observe(Watermark(epoch, handed_out, frozenset(writers)))

    def _rows(self, statement: Statement, **params: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - any column
        """Run a read that takes its rows from indexes, in one round trip; raises as `Database.fetch_all`."""

        def attempt() -> list[tuple[Any, ...]]:
            with self._database.lend() as link:
                try:
                    *_, read, _ = link.run_all([_BEGIN(), _BY_INDEX(), statement(**params), _COMMIT()])
                    return read.fetchall()
                finally:
                    link.roll_back()

        return self._database.retrying(attempt)

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


def record_of(row: tuple[Any, ...]) -> OutboxRecord:
    """Return the record that a row of its columns is, with the payload as text."""
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
