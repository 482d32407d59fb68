"""`kill -9` between any two steps, and at any moment: nothing lost, nothing twice, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.endurance.kills import (
    AFTER_COMMIT,
    ANY_MOMENT,
    BEFORE_COMMIT,
    OF_THE_CONSUMER,
    OF_THE_RELAY,
    Installation,
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
