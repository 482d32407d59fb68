"""A broker that goes away under load: nobody who sends requests notices, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.endurance.installation import Installation
from tests.endurance.outages import broker_run, killed_in_rebalance, slowed, stopped

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.kafka import KafkaBroker
    from tests.servers.toxiproxy import Toxiproxy


@pytest.mark.exclusive
def test_a_broker_that_goes_away_is_noticed_by_no_request(
    database: str, kafka_broker: KafkaBroker, toxiproxy: Toxiproxy, tmp_path: Path
) -> None:
    """
    Stopped for five seconds, killed while a group's partitions move, at the end of a slow line.

    Meanwhile the outbox grows, and its metric says so; afterwards all arrives in order, each event has its effect once,
    and each partition has one owner. What only takes long is not sent twice, and waited for without a transaction.
    """
    installation = Installation.on(database, kafka_broker, tmp_path)

    tally, ledger = broker_run(installation, toxiproxy, [stopped(5), killed_in_rebalance, slowed(3)], seed=4711)

    print(tally.figures)
    assert ledger.faults == []
    tally.require_clean()
