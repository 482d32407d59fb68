"""`kill -9` between any two steps, and at any moment: nothing lost, nothing twice, in order."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections import Counter
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.e2e.flow import PASSWORD
from tests.endurance.forks import KILLED
from tests.endurance.kills import (
    AFTER_COMMIT,
    ANY_MOMENT,
    BEFORE_COMMIT,
    OF_THE_CONSUMER,
    OF_THE_RELAY,
    Answering,
    Installation,
    ProcessDiedError,
    kill_run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.kafka import KafkaBroker


@pytest.mark.asvs("2.3.3")
def test_no_kill_loses_or_doubles_anything(database: str, kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    """
    Processes that answer, relay and consume die at each of their steps, and at random, while the others go on.

    Before COMMIT nothing of a request remains, after it both the change and its events do; each event arrives in its
    topic, in order, and has its effect once.
    """
    installation = Installation.on(database, kafka_broker, tmp_path)

    tally, ledger = kill_run(installation, kills=72, seed=4711)

    assert ledger.faults == []
    assert ledger.kills.total() >= 60
    assert set(ledger.kills) == {*BEFORE_COMMIT, *AFTER_COMMIT, *OF_THE_RELAY, *OF_THE_CONSUMER, ANY_MOMENT}
    tally.require_clean()


def test_a_keyed_call_that_was_killed_anywhere_takes_effect_once(
    database: str, kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    """Sent again with its key it is answered, and always the same: one user, one event, one mail."""
    installation = Installation.on(database, kafka_broker, tmp_path)
    survivor = Answering(installation)
    deaths, answers = set(), {}
    # A keyed call takes its place in a transaction first, so each step of one is passed more than once.
    for step, time in itertools.product((*BEFORE_COMMIT, *AFTER_COMMIT), (1, 2)):
        email = f"{step}-{time}@example.com".replace("_", "-")
        key, body = uuid.uuid4().hex, {"email": email, "password": PASSWORD}
        killed = Answering(installation, f"{step}:{time}")
        with contextlib.suppress(ProcessDiedError):
            killed.send("POST", "/auth/register", body, key=key)
        if killed.end() == KILLED:
            deaths.add(step)

        given = [survivor.send("POST", "/auth/register", body, key=key) for _ in range(2)]

        assert [status for status, _ in given] == [201, 201], (step, time, given)
        assert given[0] == given[1]
        answers[email] = given[0][1]["id"]
    survivor.end()

    assert deaths == {*BEFORE_COMMIT, *AFTER_COMMIT}
    with psycopg.connect(database) as connection:
        stored = connection.execute("SELECT email, user_id::text FROM users").fetchall()
        told = connection.execute("SELECT type, aggregateid, count(*) FROM outbox GROUP BY 1, 2").fetchall()
    assert dict(stored) == answers
    assert Counter(kind for kind, _, times in told if times == 1) == dict.fromkeys(
        ("userservice.user.registered.v1", "userservice.notification.requested.v1"), len(answers)
    )
    assert len(told) == 2 * len(answers)
