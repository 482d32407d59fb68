"""How soon four instances refuse what was ended on one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.endurance.installation import Installation
from tests.endurance.primary_cut import primary_cut
from tests.endurance.revocations import revocations

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.kafka import KafkaBroker
    from tests.servers.toxiproxy import Toxiproxy


@pytest.mark.parametrize(("rounds", "is_cut"), [(200, False), (10, True)], ids=["notified", "cut"])
def test_what_is_ended_is_refused_everywhere(
    rounds: int, database: str, kafka_broker: KafkaBroker, tmp_path: Path, *, is_cut: bool
) -> None:
    """
    Within five seconds though nothing but the database is there, and at once on sensitive routes.

    With notifications it is a matter of milliseconds, which a test on a shared machine does not judge; it tells them.
    """
    installation = Installation.on(database, kafka_broker, tmp_path)

    tally = revocations(installation, rounds=rounds, seed=4711, is_cut=is_cut)

    print(tally.figures)
    tally.require_clean()


def test_without_the_primary_nothing_stands_for_long(
    database: str, kafka_broker: KafkaBroker, toxiproxy: Toxiproxy, tmp_path: Path
) -> None:
    """Instances that cannot reach it take what they know for five seconds, then refuse; sensitive routes at once."""
    installation = Installation.on(database, kafka_broker, tmp_path)

    tally = primary_cut(installation, toxiproxy, rounds=1, seed=4711)

    print(tally.figures)
    tally.require_clean()
