"""What is tried with the database at length: a primary and two replicas, all real."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.integration.replicas.failing_over import fail_over, own_servers, restart_primary
from tests.integration.replicas.instances import Installation, address
from tests.integration.replicas.pairs import write_and_read
from tests.soak.outcomes import Part
from tests.soak.servers import folder, servers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.replication import ReplicatedPostgres
    from tests.servers.run import ServersOfRun
    from tests.soak.outcomes import Tally, Trials

_PAIRS: Final = 25_000
_PAIR_RUNS: Final = 4
_PAUSES: Final = (1, 5, 60)
_FAILOVERS: Final = 50
_RESTARTS: Final = 50


def _freshness() -> Trials:
    with servers() as run:
        for number in range(_PAIR_RUNS):
            yield _PAIRS, partial(_pairs, run, number=number)


def _pairs(run: ServersOfRun, *, number: int, seed: int) -> Tally:
    seed_of_run = random.Random(f"{seed}/{number}").randrange(2**16)  # noqa: S311 - it is to be the same again
    with folder() as kept:
        installation = _installed(run, run.replicated(), kept)
        replicas = run.replicated().replicas
        return write_and_read(installation, replicas, pairs=_PAIRS, pauses=_PAUSES, seed=seed_of_run)


def _restarts() -> Trials:
    with servers() as run:
        yield _RESTARTS, partial(_restart, run)


def _restart(run: ServersOfRun, *, seed: int) -> Tally:
    del seed  # nothing is drawn
    with folder() as kept:
        return restart_primary(_installed(run, run.replicated(), kept), run.replicated().primary, times=_RESTARTS)


def _failovers() -> Trials:
    with servers() as run:
        for _ in range(_FAILOVERS):
            yield 1, partial(_fail_over, run)


def _fail_over(run: ServersOfRun, *, seed: int) -> Tally:
    del seed  # nothing is drawn
    with folder() as kept, own_servers(run.folder) as own:
        return fail_over(own, kept)


def _installed(run: ServersOfRun, replicated: ReplicatedPostgres, kept: Path) -> Installation:
    """Return an installation with a database of its own."""
    primary = replicated.primary
    name = primary.create_database(template=run.migrated_template(primary))
    replicated.catch_up()
    return Installation(
        primary=primary.dsn(name),
        replicas=tuple(address(replica, name) for replica in replicated.replicas),
        folder=kept,
    )


PARTS: Final = (
    Part("data-freshness", _freshness),
    Part("data-restarts", _restarts),
    Part("data-failovers", _failovers),
)
