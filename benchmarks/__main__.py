"""
Measure figures, each beside its limit: ``python -m benchmarks``, which ``make bench`` runs.

Everything is on this machine: load, server, database. So a figure by itself says little; its ratio to a limit that was
measured in the same round says what the service costs. Rounds alternate between limit and figure, and medians are
reported. Nothing fails by being slow; the exit status is 1 only where something could not be measured by a fault,
or, if that is asked for, where a request failed.
"""

from __future__ import annotations

import sys
from typing import Final

from benchmarks.command import RESULTS, Command, run
from benchmarks.figures import areas
from benchmarks.scene import Effort

COMMAND: Final = Command(
    module="benchmarks",
    does="Measure figures beside their limits.",
    areas=areas(),
    usual=Effort(),
    quick=Effort(rounds=2, seconds=2.0, flood=200, users=20_000),
    name="latest",
    baseline=RESULTS / "baseline.json",
)

if __name__ == "__main__":
    sys.exit(run(COMMAND))
