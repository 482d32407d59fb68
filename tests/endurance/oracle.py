"""
What must hold once all faults are over: each committed event is in its topic, in order, and has its effect once.

What was committed is told by the database itself: a trigger writes down each row of the outbox within the transaction
that inserts it, so that what relays delete is still known.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import attrs
import psycopg

from tests.soak.outcomes import Tally

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from tests.integration.messaging.topics import Arrival

_WITNESS: Final = """
CREATE TABLE witness (
    number bigint GENERATED ALWAYS AS IDENTITY,
    id text PRIMARY KEY,
    topic text NOT NULL,
    key text NOT NULL,
    type text NOT NULL,
    sequence bigint
);
CREATE FUNCTION bear_witness() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness (id, topic, key, type, sequence)
    VALUES (NEW.id, NEW.aggregatetype, NEW.aggregateid, NEW.type, NEW.sequence);
    RETURN NULL;
END
$$;
CREATE TRIGGER witness AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION bear_witness();
"""

# Each compares what a change left in the state with what it said of itself; rows that differ are torn.
_TORN: Final = (
    # A user without the event of their registration, and the reverse.
    """
    SELECT u.user_id::text, w.key FROM users AS u
    FULL JOIN (SELECT key FROM witness WHERE type = 'userservice.user.registered.v1') AS w ON w.key = u.user_id::text
    WHERE u.user_id IS NULL OR w.key IS NULL
    """,
    # Half a registration.
    """
    SELECT user_id FROM users AS u WHERE NOT EXISTS (SELECT FROM credentials AS c WHERE c.user_id = u.user_id)
        OR NOT EXISTS (SELECT FROM user_emails AS e WHERE e.user_id = u.user_id)
        OR NOT EXISTS (SELECT FROM login_states AS l WHERE l.user_id = u.user_id)
    """,
    # A counter that did not move with its events, or events without a number of their own.
    """
    SELECT u.user_id, u.event_version, count(w.id) FROM users AS u
    LEFT JOIN witness AS w ON w.key = u.user_id::text AND w.topic LIKE '%users'
    GROUP BY u.user_id, u.event_version HAVING u.event_version <> count(DISTINCT w.sequence)
        OR u.event_version <> count(w.id) OR u.event_version <> max(w.sequence)
    """,
    """
    SELECT l.user_id, l.event_version, count(w.id) FROM login_states AS l
    LEFT JOIN witness AS w ON w.key = l.user_id::text AND w.topic LIKE '%auth'
    GROUP BY l.user_id, l.event_version HAVING l.event_version <> count(DISTINCT w.sequence)
        OR l.event_version <> count(w.id) OR l.event_version <> coalesce(max(w.sequence), 0)
    """,
    """
    SELECT p.user_id, p.version, count(w.id) FROM user_profiles AS p
    LEFT JOIN witness AS w ON w.key = p.user_id::text AND w.type = 'userservice.profile.updated.v1'
    GROUP BY p.user_id, p.version HAVING p.version <> count(w.id)
    """,
    """
    SELECT key, count(*), (SELECT count(*) FROM addresses WHERE user_id::text = w.key) FROM witness AS w
    WHERE type = 'userservice.address.added.v1' GROUP BY key
    HAVING count(*) <> (SELECT count(*) FROM addresses WHERE user_id::text = w.key)
    """,
)


@attrs.frozen
class Witnessed:
    """An event that was committed, or an effect of one."""

    id: str
    topic: str
    key: str
    sequence: int | None


class Oracle:
    """Knows what was committed in one database since it was asked to look."""

    def __init__(self, dsn: str) -> None:
        """Begin to write down what is committed."""
        self._dsn = dsn
        with psycopg.connect(dsn) as connection:
            connection.execute(_WITNESS)

    def committed(self, topics: Collection[str]) -> list[Witnessed]:
        """Return the events of *topics* that were committed."""
        with contextlib.closing(psycopg.connect(self._dsn)) as connection:
            rows = connection.execute(
                "SELECT id, topic, key, sequence FROM witness WHERE topic = ANY (%s) ORDER BY number", (list(topics),)
            )
            return [Witnessed(*row) for row in rows.fetchall()]

    def effects(self) -> list[Witnessed]:
        """Return the effects that were committed, in order."""
        with contextlib.closing(psycopg.connect(self._dsn)) as connection:
            rows = connection.execute("SELECT event_id, topic, key, sequence FROM effect ORDER BY number")
            return [Witnessed(*row) for row in rows.fetchall()]

    def torn(self) -> list[tuple[object, ...]]:
        """Return what tells of a state without its event, or of an event without its state."""
        with contextlib.closing(psycopg.connect(self._dsn)) as connection:
            return [row for statement in _TORN for row in connection.execute(statement.encode()).fetchall()]

    def judge(
        self, arrivals: Mapping[str, Iterable[Arrival]], *, with_effects: bool, trials: int | None = None
    ) -> Tally:
        """
        Compare what was committed with what is in the topics, which *arrivals* has by their names.

        Args:
            arrivals: What is in each topic, in order within a key.
            with_effects: Whether each event was to have an effect.
            trials: For the tally.
        """
        committed = self.committed(list(arrivals))
        published = [
            Witnessed(arrival.headers["ce_id"], topic, arrival.key, _sequence(arrival))
            for topic, found in arrivals.items()
            for arrival in found
            if "ce_id" in arrival.headers
        ]
        tally = compared(committed, published, may_repeat=True)
        tally = attrs.evolve(
            tally, trials=trials, figures={"events": len(committed), "repeats": len(published) - len(committed)}
        )
        if not with_effects:
            return tally
        effects = compared(committed, self.effects(), may_repeat=False)
        return attrs.evolve(
            tally,
            lost=tally.lost + effects.lost,
            doubled=effects.doubled,
            ghosts=tally.ghosts + effects.ghosts,
            inversions=tally.inversions + effects.inversions,
        )


def compared(committed: Iterable[Witnessed], seen: Iterable[Witnessed], *, may_repeat: bool) -> Tally:
    """Compare what was committed with what is seen of it, in the order in which it was seen."""
    expected = set(committed)
    first_seen = list(dict.fromkeys(seen := list(seen)))
    return Tally(
        lost=len(expected.difference(first_seen)),
        doubled=0 if may_repeat else len(seen) - len(first_seen),
        ghosts=len(set(first_seen) - expected),
        inversions=_inversions(first_seen),
    )


def _inversions(first_seen: Iterable[Witnessed]) -> int:
    """Count what came after something that it precedes."""
    highest: defaultdict[tuple[str, str], int] = defaultdict(int)
    found = 0
    for each in first_seen:
        if each.sequence is None:
            continue
        place = (each.topic, each.key)
        found += each.sequence < highest[place]
        highest[place] = max(highest[place], each.sequence)
    return found


def _sequence(arrival: Arrival) -> int | None:
    text = arrival.headers.get("ce_sequence")
    return None if text is None else int(text)
