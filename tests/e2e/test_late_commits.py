"""Commits that come after later ones, with relays that come, go and freeze."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.endurance.installation import Installation
from tests.endurance.late_commits import late_commits

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.kafka import KafkaBroker


def test_no_late_commit_is_skipped(database: str, kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    """Of ten thousand events by 64 writers; what a relay sends that was frozen past its lease is a repeat."""
    tally = late_commits(Installation.on(database, kafka_broker, tmp_path), events=10_000, seed=4711)

    tally.require_clean()
    # The frozen one held what others had sent by the time it went on.
    assert tally.figures["repeats"]
