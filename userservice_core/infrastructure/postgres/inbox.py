"""
The inbox in PostgreSQL, in a database of whoever consumes: beside the effects, in their transaction.

It works on connections of psycopg and of SQLAlchemy alike, and imports neither. What it says and remembers is in
functions of their own, for transactions of the service, which begin and end elsewhere (:mod:`.own_inbox`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from userservice_core.ports.consuming import AfterDeadLetter, KeyState, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from userservice_core.ports.consuming import ConsumedEvent

T = TypeVar("T")

CREATE_INBOX: Final = """
CREATE TABLE IF NOT EXISTS userservice_inbox (
    group_name text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    last_sequence bigint NOT NULL,
    previous_sequence bigint NOT NULL DEFAULT 0,
    parked text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (group_name, topic, key)
) WITH (fillfactor = 80);
CREATE TABLE IF NOT EXISTS userservice_inbox_event (
    group_name text NOT NULL,
    topic text NOT NULL,
    identity text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_name, topic, identity)
);
CREATE INDEX IF NOT EXISTS ix_userservice_inbox_event_seen_at ON userservice_inbox_event (seen_at);
"""
"""The tables of an inbox, for a migration of the database that it is in; harmless where they are there."""

# One statement for any number of events: it locks each key, moves it on, and tells where it stood before, which is
# what previous_sequence is for. The order of the keys is the same for all, so that two batches wait for each other.
MOVE_ON: Final = """
INSERT INTO userservice_inbox AS inbox (group_name, topic, key, last_sequence)
SELECT %(group)s, topic, key, max(sequence)
FROM unnest(CAST(%(topics)s AS text[]), CAST(%(keys)s AS text[]), CAST(%(sequences)s AS bigint[]))
    AS new (topic, key, sequence)
GROUP BY topic, key ORDER BY topic, key
ON CONFLICT (group_name, topic, key) DO UPDATE SET
    previous_sequence = inbox.last_sequence,
    last_sequence = CASE WHEN %(parks)s AND inbox.parked <> '{}' THEN inbox.last_sequence
        ELSE greatest(inbox.last_sequence, excluded.last_sequence) END
RETURNING topic, key, previous_sequence, parked
"""
UNPARK: Final = """
UPDATE userservice_inbox SET parked = array_remove(parked, %(id)s)
WHERE group_name = %(group)s AND topic = %(topic)s AND key = %(key)s
    AND (parked[1] = %(id)s OR NOT %(parks)s AND %(id)s = ANY (parked))
RETURNING 1
"""
STATE: Final = """
SELECT last_sequence, parked FROM userservice_inbox
WHERE group_name = %(group)s AND topic = %(topic)s AND key = %(key)s
"""
SEE: Final = """
INSERT INTO userservice_inbox_event (group_name, topic, identity)
SELECT DISTINCT %(group)s, topic, identity
FROM unnest(CAST(%(topics)s AS text[]), CAST(%(identities)s AS text[])) AS new (topic, identity)
ORDER BY topic, identity
ON CONFLICT DO NOTHING RETURNING topic, identity
"""
IS_SEEN: Final = """
SELECT 1 FROM userservice_inbox_event
WHERE group_name = %(group)s AND topic = %(topic)s AND identity = %(identity)s
"""
PARK: Final = """
INSERT INTO userservice_inbox AS inbox (group_name, topic, key, last_sequence, parked)
VALUES (%(group)s, %(topic)s, %(key)s, %(sequence)s, ARRAY[%(id)s])
ON CONFLICT (group_name, topic, key) DO UPDATE SET
    last_sequence = excluded.last_sequence, parked = inbox.parked || excluded.parked
WHERE inbox.last_sequence < excluded.last_sequence
"""
FORGET: Final = """
DELETE FROM userservice_inbox_event WHERE seen_at < now() - make_interval(secs => %(seconds)s)
"""

STATEMENTS: Final = (MOVE_ON, UNPARK, STATE, SEE, IS_SEEN, PARK, FORGET)
"""Each of them, with its parameters as psycopg takes them."""

# SQLSTATE classes of a server that is away, out of something, or about to end the connection.
_OUTAGE_CLASSES: Final = frozenset({"08", "53", "57", "58"})
_NO_CONNECTION: Final = {
    ("psycopg", "OperationalError"),
    ("psycopg", "InterfaceError"),
    ("psycopg_pool", "PoolTimeout"),
    ("sqlalchemy", "TimeoutError"),
}


class PostgresInbox(Generic[T]):
    """
    Implements :class:`~userservice_core.ports.consuming.Inbox` on connections that it is lent.

    Handlers get what *begin* yields, within its transaction: a connection of psycopg (`pool.connection`), one of
    SQLAlchemy (`engine.begin`), or a session (`sessionmaker.begin`). A transaction is READ COMMITTED, the default.
    """

    def __init__(self, begin: Callable[[], AbstractContextManager[T]]) -> None:
        """
        Name the database.

        Args:
            begin: Begins a transaction, commits at the end of the block, and rolls back when it raises.
        """
        self._begin = begin

    def create_tables(self) -> None:
        """Create the tables where they are missing; :data:`CREATE_INBOX` is for those who migrate otherwise."""
        with self._begin() as transaction:
            _run(transaction, CREATE_INBOX)

    def judge(self, group: str, event: ConsumedEvent, *, rule: AfterDeadLetter, is_replay: bool = False) -> Verdict:
        with self._begin() as transaction:
            return judge(transaction, group, event, rule=rule, is_replay=is_replay)

    def apply(
        self,
        group: str,
        events: Sequence[ConsumedEvent],
        effect: Callable[[Sequence[ConsumedEvent], T], None],
        *,
        rule: AfterDeadLetter,
        is_replay: bool = False,
    ) -> tuple[Verdict, ...]:
        with self._begin() as transaction:
            verdicts = take(transaction, group, events, rule=rule, is_replay=is_replay)
            fresh = [event for event, verdict in zip(events, verdicts, strict=True) if verdict is Verdict.FRESH]
            if fresh:
                effect(fresh, transaction)
            return verdicts

    def park(self, group: str, event: ConsumedEvent) -> None:
        if event.sequence is not None:
            with self._begin() as transaction:
                _run(transaction, PARK, **of_event(group, event))

    def forget(self, *, older_than_seconds: float) -> None:
        with self._begin() as transaction:
            _run(transaction, FORGET, seconds=older_than_seconds)

    def is_outage(self, error: BaseException) -> bool:
        # SQLAlchemy wraps the driver's errors.
        cause = getattr(error, "orig", None) or error
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        if state is not None:
            return state[:2] in _OUTAGE_CLASSES and state != _CANCELED
        # No connection could be had, or it broke.
        kinds = {(parent.__module__.partition(".")[0], parent.__name__) for parent in type(cause).__mro__}
        return not kinds.isdisjoint(_NO_CONNECTION)


_CANCELED: Final = "57014"
"""A statement that took too long says nothing of the server."""


def judge(
    transaction: object, group: str, event: ConsumedEvent, *, rule: AfterDeadLetter, is_replay: bool = False
) -> Verdict:
    """Return what :func:`take` would say at this moment."""
    if event.sequence is None:
        seen = _run(transaction, IS_SEEN, **of_event(group, event)).fetchone()
        return Verdict.FRESH if seen is None else Verdict.REPEATED
    state = _state(transaction, group, event)
    return state.judge(event.id, event.sequence, rule=rule, is_replay=is_replay)


def take(
    transaction: object,
    group: str,
    events: Sequence[ConsumedEvent],
    *,
    rule: AfterDeadLetter,
    is_replay: bool = False,
) -> tuple[Verdict, ...]:
    """Lock the keys of *events*, judge these, and remember the fresh ones."""
    if is_replay:
        return tuple(_replayed(transaction, group, event, rule) for event in events)
    return tuple(_judged(transaction, group, events, rule))


def _judged(transaction: object, group: str, events: Sequence[ConsumedEvent], rule: AfterDeadLetter) -> list[Verdict]:
    """Judge events and remember the fresh ones; what is told of a key is what it was before."""
    states = _moved_on(transaction, group, [event for event in events if event.sequence is not None], rule)
    unseen = _newly_seen(transaction, group, [event for event in events if event.sequence is None])
    verdicts = []
    for event in events:
        if event.sequence is None:
            identity = (event.topic, event.identity)
            verdicts.append(Verdict.FRESH if identity in unseen else Verdict.REPEATED)
            unseen.discard(identity)
        else:
            state = states[event.topic, event.key]
            verdict = state.judge(event.id, event.sequence, rule=rule, is_replay=False)
            if verdict is Verdict.FRESH:
                states[event.topic, event.key] = state.applied(event.id, event.sequence)
            verdicts.append(verdict)
    return verdicts


def _moved_on(
    transaction: object, group: str, events: Sequence[ConsumedEvent], rule: AfterDeadLetter
) -> dict[tuple[str, str], KeyState]:
    if not events:
        return {}
    rows = _run(
        transaction,
        MOVE_ON,
        group=group,
        topics=[event.topic for event in events],
        keys=[event.key for event in events],
        sequences=[event.sequence for event in events],
        parks=rule is AfterDeadLetter.PARK_KEY,
    ).fetchall()
    return {(topic, key): KeyState(previous, tuple(parked)) for topic, key, previous, parked in rows}


def _newly_seen(transaction: object, group: str, events: Sequence[ConsumedEvent]) -> set[tuple[str, str]]:
    if not events:
        return set()
    rows = _run(
        transaction,
        SEE,
        group=group,
        topics=[event.topic for event in events],
        identities=[event.identity for event in events],
    ).fetchall()
    return {(topic, identity) for topic, identity in rows}


def _replayed(transaction: object, group: str, event: ConsumedEvent, rule: AfterDeadLetter) -> Verdict:
    """Judge a dead letter: one that is parked becomes fresh in its turn, any other is judged like all."""
    if event.sequence is not None:
        parks = rule is AfterDeadLetter.PARK_KEY
        if _run(transaction, UNPARK, **of_event(group, event), parks=parks).fetchone() is not None:
            return Verdict.FRESH
        if event.id in _state(transaction, group, event).parked:
            return Verdict.BEHIND
    (verdict,) = _judged(transaction, group, [event], rule)
    return verdict


def _state(transaction: object, group: str, event: ConsumedEvent) -> KeyState:
    row = _run(transaction, STATE, **of_event(group, event)).fetchone()
    return KeyState() if row is None else KeyState(row[0], tuple(row[1]))


def of_event(group: str, event: ConsumedEvent) -> dict[str, Any]:
    """Return what the statements of one event take."""
    return {
        "group": group,
        "topic": event.topic,
        "key": event.key,
        "id": event.id,
        "sequence": event.sequence,
        "identity": event.identity,
    }


def _run(transaction: Any, statement: str, **params: Any) -> Any:  # noqa: ANN401 - of two libraries
    """Run a statement on a connection of psycopg or SQLAlchemy, or on a session of the latter."""
    given: Mapping[str, Any] | None = params or None
    if hasattr(transaction, "get_bind"):
        transaction = transaction.connection()
    if hasattr(transaction, "exec_driver_sql"):
        return transaction.exec_driver_sql(statement, given)
    return transaction.execute(statement, given)
