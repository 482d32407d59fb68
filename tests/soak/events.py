"""What is tried with events at length, on real servers."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.endurance.kills import Installation, kill_run
from tests.soak.outcomes import Part
from tests.soak.servers import database, folder, servers

if TYPE_CHECKING:
    from tests.servers.run import ServersOfRun
    from tests.soak.outcomes import Tally, Trials

_KILL_RUNS: Final = 50
_KILLS: Final = 60


def _kills() -> Trials:
    with servers() as run:
        for number in range(_KILL_RUNS):
            yield _KILLS, partial(_kill, run, number=number)


def _kill(run: ServersOfRun, *, number: int, seed: int) -> Tally:
    with database(run) as dsn, folder() as logs:
        seed_of_run = random.Random(f"{seed}/{number}").randrange(2**32)  # noqa: S311 - it is to be the same again
        tally, ledger = kill_run(Installation.on(dsn, run.kafka(), logs), kills=_KILLS, seed=seed_of_run)
    assert not ledger.faults, ledger.faults
    return tally


PARTS: Final = (Part("events-kills", _kills),)
