"""Counters in a table that no log is written for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from userservice_core.infrastructure.postgres.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.limits import Counter

# The newest hit is in front. The one at the limit tells whether there is room: it must have left the window. A rival's
# row is waited for, and its hits are seen, since the conflict is resolved on the newest version of the row. Rows are
# taken in the order of their keys, so that two who count the same things never wait for each other.
_HIT: Final = Statement(
    text(
        """
        INSERT INTO rate_counters AS held (counter_key, times, span, asked_at, hits, free_at, expires_at)
        SELECT asked.counter_key, asked.times, asked.span, clock_timestamp(), ARRAY[clock_timestamp()], NULL,
            clock_timestamp() + asked.span
        FROM (
            SELECT counter_key, times, make_interval(secs => seconds) AS span
            FROM unnest(CAST(:keys AS text[]), CAST(:times AS integer[]), CAST(:seconds AS integer[]))
                AS given (counter_key, times, seconds)
            ORDER BY counter_key
        ) AS asked
        ON CONFLICT (counter_key) DO UPDATE SET
            times = excluded.times,
            span = excluded.span,
            asked_at = greatest(held.asked_at, excluded.asked_at),
            hits = CASE
                WHEN held.hits[excluded.times] + excluded.span > excluded.asked_at THEN held.hits
                ELSE (greatest(held.asked_at, excluded.asked_at) || ARRAY(
                    SELECT hit FROM unnest(held.hits) AS hit WHERE hit + excluded.span > excluded.asked_at
                    ORDER BY hit DESC
                ))[1:excluded.times]
            END,
            free_at = CASE
                WHEN held.hits[excluded.times] + excluded.span > excluded.asked_at
                THEN held.hits[excluded.times] + excluded.span
            END,
            expires_at = greatest(held.expires_at, excluded.expires_at)
        RETURNING greatest(extract(epoch FROM free_at - asked_at)::double precision, 0.000001), free_at IS NULL
        """
    )
)
_TAKE_BACK: Final = Statement(
    text(
        """
        WITH locked AS (
            SELECT counter_key FROM rate_counters WHERE counter_key = ANY(CAST(:keys AS text[]))
            ORDER BY counter_key FOR UPDATE
        )
        UPDATE rate_counters SET hits = hits[2:] FROM locked WHERE rate_counters.counter_key = locked.counter_key
        """
    )
)


class PostgresRateLimiter:
    """One statement in autocommit a hit; a `ports.limits.RateLimiter`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hit(self, counters: Sequence[Counter]) -> float:
        # Repeated after a lost connection, it may count twice: that errs on the safe side.
        rows = self._database.fetch_all(
            _HIT,
            keys=[counter.key for counter in counters],
            times=[counter.limit.times for counter in counters],
            seconds=[counter.limit.seconds for counter in counters],
        )
        return max((0.0 if is_free else float(wait) for wait, is_free in rows), default=0.0)

    def take_back(self, counters: Sequence[Counter]) -> None:
        self._database.execute(_TAKE_BACK, keys=[counter.key for counter in counters])
