"""Rows that are of no use any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.ports.retention import REVOCATIONS_KEPT_FOR, TOKENS_KEPT_FOR

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.infrastructure.postgres.database import Database

# By the column with the index that gives them in the order of their ends: nothing is read that is not removed.
_REMOVE: Final = Statement(
    text(
        """
        WITH removed_sessions AS (
            DELETE FROM sessions USING (
                SELECT user_id, session_id FROM sessions WHERE absolute_expires_at <= :now
                ORDER BY absolute_expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
            ) AS due
            WHERE sessions.user_id = due.user_id AND sessions.session_id = due.session_id
            RETURNING 1
        ), removed_tokens AS (
            DELETE FROM one_time_tokens USING (
                SELECT user_id, digest FROM one_time_tokens WHERE expires_at <= :tokens_before
                ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
            ) AS due
            WHERE one_time_tokens.user_id = due.user_id AND one_time_tokens.digest = due.digest
            RETURNING 1
        ), removed_revocations AS (
            DELETE FROM revocations USING (
                SELECT seq FROM revocations WHERE expires_at <= :revocations_before AND at <= :revocations_before
                ORDER BY at LIMIT :limit FOR UPDATE SKIP LOCKED
            ) AS due
            WHERE revocations.seq = due.seq
            RETURNING 1
        ), removed_counters AS (
            DELETE FROM rate_counters USING (
                SELECT counter_key FROM rate_counters WHERE expires_at <= now()
                ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
            ) AS due
            WHERE rate_counters.counter_key = due.counter_key
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM removed_sessions) + (SELECT count(*) FROM removed_tokens)
            + (SELECT count(*) FROM removed_revocations)
            + (SELECT count(*) FROM removed_counters)
        """
    )
)

_ADD_MONTHS: Final = Statement(text("SELECT add_audit_months(:months)"))
_MONTHS_AHEAD: Final = 12
"""So that a year without a run does no harm."""

_FORGET: Final = Statement(
    text(
        """
        WITH forgotten AS (
            UPDATE credentials SET former_hashes = former_hashes[1:CAST(:remembered AS integer)] FROM (
                SELECT user_id FROM credentials
                WHERE cardinality(former_hashes) > 0 AND cardinality(former_hashes) > :remembered
                ORDER BY user_id LIMIT :limit FOR UPDATE SKIP LOCKED
            ) AS due
            WHERE credentials.user_id = due.user_id
            RETURNING 1
        )
        SELECT count(*) FROM forgotten
        """
    )
)


# A holder that gave it back, or whose time is over, holds it no more; who holds it goes on without a rest.
_TAKE: Final = Statement(
    text(
        """
        INSERT INTO job_leases AS lease (job, holder, held_until)
        VALUES ('purge', :holder, now() + make_interval(secs => :seconds))
        ON CONFLICT (job) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
        WHERE (lease.holder = excluded.holder AND lease.held_until > now())
            OR (
                (lease.holder IS NULL OR lease.held_until <= now())
                AND (lease.done_at IS NULL OR lease.done_at <= now() - make_interval(secs => :rest_seconds))
            )
        RETURNING 1
        """
    )
)
_GIVE_BACK: Final = Statement(
    text(
        """
        UPDATE job_leases SET holder = NULL, done_at = CASE WHEN :is_done THEN now() ELSE done_at END
        WHERE job = 'purge' AND holder = :holder
        RETURNING 1
        """
    )
)


class PostgresPurgeLease:
    """A row in the database; a `ports.retention.PurgeLease`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, *, holder: str, seconds: float, rest_seconds: float = 0.0) -> bool:
        # Repeated after a lost connection, it holds what it holds already.
        row = self._database.fetch_one(_TAKE, holder=holder, seconds=seconds, rest_seconds=rest_seconds)
        return row is not None

    def give_back(self, *, holder: str, is_done: bool) -> None:
        self._database.fetch_one(_GIVE_BACK, holder=holder, is_done=is_done)


class PostgresExpiredRows:
    """Removes rows in autocommit; a `ports.retention.ExpiredRows`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def make_room(self) -> int:
        row = self._database.fetch_one(_ADD_MONTHS, months=_MONTHS_AHEAD)
        return 0 if row is None else int(row[0])

    def remove_some(self, *, now: datetime, limit: int) -> int:
        # Repeated after a lost connection, it removes the next ones, which are due as well.
        row = self._database.fetch_one(
            _REMOVE,
            now=now,
            tokens_before=now - TOKENS_KEPT_FOR,
            revocations_before=now - REVOCATIONS_KEPT_FOR,
            limit=limit,
        )
        return 0 if row is None else int(row[0])

    def forget_passwords(self, *, remembered: int, limit: int) -> int:
        row = self._database.fetch_one(_FORGET, remembered=remembered, limit=limit)
        return 0 if row is None else int(row[0])
