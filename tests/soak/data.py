"""What is tried with the database at length: a primary and two replicas, all real."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.integration.postgres.troubles import ambiguous_commits, pooler_troubles, slowness, stall, storm
from tests.integration.replicas.failing_over import fail_over, own_servers, restart_primary
from tests.integration.replicas.histories import long_forks, roles_taken_away
from tests.integration.replicas.instances import Installation, address
from tests.integration.replicas.pairs import write_and_read
from tests.soak.outcomes import Part
from tests.soak.servers import database, folder, servers

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
_COMMITS: Final = 1_000
_STORM: Final = 20_000
_STALLED_CALLS: Final = 200
_DELAYS: Final = (0.1, 0.5, 5.0)
_POOLER_ROUNDS: Final = 10
_FORK_SECONDS: Final = 600.0
_ROLE_ROUNDS: Final = 200


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


def _commits() -> Trials:
    with servers() as run:
        yield _COMMITS, partial(_ambiguous, run)


def _ambiguous(run: ServersOfRun, *, seed: int) -> Tally:
    with database(run) as dsn, folder() as kept:
        return ambiguous_commits(dsn, kept, commits=_COMMITS, seed=seed)


def _storms() -> Trials:
    with servers() as run:
        yield _STORM, partial(_storm, run)


def _storm(run: ServersOfRun, *, seed: int) -> Tally:
    del seed  # the server draws
    with database(run) as dsn, folder() as kept:
        return storm(dsn, kept, writes=_STORM)


def _stalls() -> Trials:
    """Let five connections stand still for two hundred calls, and all of them be slow."""
    with servers() as run:
        yield _STALLED_CALLS, partial(_stall, run)
        yield _STALLED_CALLS, partial(_slow, run)


def _stall(run: ServersOfRun, *, seed: int) -> Tally:
    del seed  # nothing is drawn
    with database(run) as dsn, folder() as kept:
        return stall(dsn, kept, calls=_STALLED_CALLS, pool_size=5, seconds=5.0)


def _slow(run: ServersOfRun, *, seed: int) -> Tally:
    del seed  # nothing is drawn
    with database(run) as dsn, folder() as kept:
        return slowness(dsn, kept, delays=_DELAYS, seconds=5.0, calls=8)


def _pooler() -> Trials:
    with servers() as run:
        yield 1, partial(_trouble_pooler, run)


def _trouble_pooler(run: ServersOfRun, *, seed: int) -> Tally:
    del seed  # nothing is drawn
    with database(run) as dsn, folder() as kept:
        return pooler_troubles(run.pgbouncer(), dsn, kept, seconds=4.0, rounds=_POOLER_ROUNDS)


def _histories() -> Trials:
    with servers() as run:
        yield 1, partial(_long_forks, run)
        yield _ROLE_ROUNDS, partial(_roles, run)


def _long_forks(run: ServersOfRun, *, seed: int) -> Tally:
    del seed  # nothing is drawn
    with folder() as kept:
        return long_forks(_installed(run, run.replicated(), kept), seconds=_FORK_SECONDS)


def _roles(run: ServersOfRun, *, seed: int) -> Tally:
    del seed  # nothing is drawn
    with folder() as kept:
        installation = _installed(run, run.replicated(), kept)
        return roles_taken_away(installation, run.replicated().replicas, rounds=_ROLE_ROUNDS)


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
    Part("data-commits", _commits),
    Part("data-storms", _storms),
    Part("data-stalls", _stalls),
    Part("data-pooler", _pooler),
    Part("data-histories", _histories),
)
