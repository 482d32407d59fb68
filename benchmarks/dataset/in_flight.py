"""What comes and goes beside users: events, keys, counters, revocations; no table stays small to the planner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import psycopg

_EVENT: Final = "'userservice.user.updated.v1', '{}', 'urn:userservice', id, now(), 1, NULL"
_MANY: Final = "generate_series(1, %(rows)s) AS number, LATERAL (SELECT md5(number::text)::uuid::text AS id) AS drawn"
_SOME_USERS: Final = "(SELECT user_id FROM users ORDER BY user_id LIMIT %(rows)s) AS chosen"
_DIGEST: Final = "sha256(convert_to(user_id::text, 'UTF8'))"

# ruff: noqa: S608 - constants of ours
_STATEMENTS: Final = (
    f"""
    INSERT INTO outbox (slot, lane, id, aggregatetype, aggregateid, type, payload, source, subject, occurred_at,
        sequence, traceparent)
    SELECT number %% 3, number %% 64, id::uuid, 'userservice.' || number %% 4, id, {_EVENT} FROM {_MANY}
    """,
    f"""
    INSERT INTO outbox_parked (seq, lane, id, aggregatetype, aggregateid, type, payload, source, subject, occurred_at,
        sequence, traceparent, created_at, cause)
    SELECT -number, number %% 64, id::uuid, 'userservice.users', id, {_EVENT}, now(), 'too large' FROM {_MANY}
    """,
    "INSERT INTO bus_group (name) VALUES ('first'), ('second')",
    """
    INSERT INTO bus_lane (group_name, lane, fence, expires_at)
    SELECT name, lane, 0, '-infinity' FROM bus_group, generate_series(0, 63) AS lane
    """,
    f"""
    WITH event AS (
        INSERT INTO bus_event (lane, id, topic, key, type, payload, source, subject, occurred_at, sequence, traceparent)
        SELECT number %% 64, id::uuid, 'userservice.users', id, {_EVENT} FROM {_MANY} RETURNING lane, seq
    )
    INSERT INTO bus_delivery (group_name, lane, seq) SELECT name, lane, seq FROM event, bus_group
    """,
    f"""
    INSERT INTO bus_dead_letter (group_name, seq, id, lane, topic, key, type, payload, source, subject, occurred_at,
        sequence, traceparent, cause, attempts)
    SELECT 'first', number, id::uuid, number %% 64, 'userservice.users', id, {_EVENT}, 'none', 1 FROM {_MANY}
    """,
    f"""
    INSERT INTO userservice_inbox (group_name, topic, key, last_sequence)
    SELECT 'first', 'userservice.users', id, 1 FROM {_MANY}
    """,
    f"""
    INSERT INTO userservice_inbox_event (group_name, topic, identity)
    SELECT 'first', 'billing.invoices', id FROM {_MANY}
    """,
    f"""
    INSERT INTO idempotency_keys (owner_id, digest, answer, expires_at)
    SELECT user_id, {_DIGEST}, '{{}}', now() + interval '1 day' FROM {_SOME_USERS}
    """,
    f"""
    INSERT INTO revocations (kind, subject, not_before, version, at, expires_at)
    SELECT 'sid', id, now(), 1, now() - number * interval '1 second', now() + interval '10 minutes' FROM {_MANY}
    """,
    f"""
    INSERT INTO rate_counters (counter_key, times, span, asked_at, hits, expires_at)
    SELECT id, 10, interval '15 minutes', now(), ARRAY[now()], now() + interval '15 minutes' FROM {_MANY}
    """,
    f"""
    INSERT INTO one_time_tokens (user_id, digest, email_key, purpose, created_at, expires_at, used_at)
    SELECT user_id, {_DIGEST}, 'nobody@example.org', 'reset_password', now() - interval '1 hour', now(), now()
    FROM {_SOME_USERS}
    """,
    f"""
    INSERT INTO mfa_factors (user_id, secret, created_at, failed_at)
    SELECT user_id, 'of nobody', now(), ARRAY[]::timestamptz[] FROM {_SOME_USERS}
    """,
    f"INSERT INTO recovery_codes (user_id, digest, created_at) SELECT user_id, {_DIGEST}, now() FROM {_SOME_USERS}",
)


def add_in_flight(connection: psycopg.Connection, *, rows: int) -> None:
    """
    Add *rows* rows to each table of what comes and goes, of two groups of consumers, and gather statistics.

    They are good for plans, and for nothing else: no secret can be opened, and no event was one.

    Args:
        connection: In autocommit.
        rows: Of each table.
    """
    for statement in _STATEMENTS:
        connection.execute(statement.encode(), {"rows": rows})
    connection.execute("VACUUM (ANALYZE)")
