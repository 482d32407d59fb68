"""What is tried with events at length, on real servers."""

from __future__ import annotations

import random
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.endurance.groups import come_and_go
from tests.endurance.installation import Installation
from tests.endurance.kills import kill_run
from tests.endurance.late_commits import late_commits
from tests.endurance.outages import (
    Outage,
    broken_off,
    broker_run,
    cluster_run,
    killed,
    killed_in_rebalance,
    leader_killed,
    silent,
    slowed,
    stopped,
)
from tests.endurance.primary_cut import primary_cut
from tests.endurance.revocations import revocations
from tests.servers.kafka import KafkaCluster
from tests.soak.outcomes import Part
from tests.soak.servers import database, folder, servers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.servers.run import ServersOfRun
    from tests.soak.outcomes import Tally, Trials

_LATE_COMMITS: Final = 100_000
_GROUP_SECONDS: Final = 300.0
_REVOCATIONS: Final = 1_000
_KILL_RUNS: Final = 50
_KILLS: Final = 60
_STOPPED_SECONDS: Final = 120.0
_BROKER_KILLS: Final = 20
_LEADER_KILLS: Final = 10
_SLOW_SECONDS: Final = 120.0
_SILENT_SECONDS: Final = 60.0
_CUTS: Final = 40


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


def _late_commits() -> Trials:
    with servers() as run:
        yield _LATE_COMMITS, partial(_commit_late, run)


def _commit_late(run: ServersOfRun, *, seed: int) -> Tally:
    with database(run) as dsn, folder() as logs:
        return late_commits(Installation.on(dsn, run.kafka(), logs), events=_LATE_COMMITS, seed=seed)


def _outages(outages: Sequence[Outage]) -> Trials:
    with servers() as run:
        yield len(outages), partial(_go_without_broker, run, outages)


def _go_without_broker(run: ServersOfRun, outages: Sequence[Outage], *, seed: int) -> Tally:
    with database(run) as dsn, folder() as logs:
        tally, ledger = broker_run(Installation.on(dsn, run.kafka(), logs), run.toxiproxy(), outages, seed=seed)
    for fault in ledger.faults:
        print(fault, file=sys.stderr)
    return tally


def _leaders() -> Trials:
    with servers() as run, folder() as brokers, KafkaCluster(brokers) as cluster:
        for outage in (leader_killed, killed_in_rebalance):
            yield _LEADER_KILLS, partial(_go_without_leader, run, cluster, [outage] * _LEADER_KILLS)


def _go_without_leader(run: ServersOfRun, cluster: KafkaCluster, outages: Sequence[Outage], *, seed: int) -> Tally:
    with database(run) as dsn, folder() as logs:
        tally, ledger = cluster_run(Installation.on(dsn, cluster, logs), outages, seed=seed)
    for fault in ledger.faults:
        print(fault, file=sys.stderr)
    return tally


def _revocations(*, is_cut: bool) -> Trials:
    rounds = _REVOCATIONS // 10 if is_cut else _REVOCATIONS
    with servers() as run:
        yield rounds, partial(_revoke, run, rounds=rounds, is_cut=is_cut)


def _revoke(run: ServersOfRun, *, rounds: int, is_cut: bool, seed: int) -> Tally:
    with database(run) as dsn, folder() as logs:
        return revocations(Installation.on(dsn, run.kafka(), logs), rounds=rounds, seed=seed, is_cut=is_cut)


def _cut_primary() -> Trials:
    with servers() as run:
        yield _CUTS, partial(_revoke_without_primary, run)


def _revoke_without_primary(run: ServersOfRun, *, seed: int) -> Tally:
    with database(run) as dsn, folder() as logs:
        return primary_cut(Installation.on(dsn, run.kafka(), logs), run.toxiproxy(), rounds=_CUTS, seed=seed)


def _groups() -> Trials:
    with servers() as run:
        yield 1, partial(_come_and_go, run)


def _come_and_go(run: ServersOfRun, *, seed: int) -> Tally:
    with database(run) as dsn:
        return come_and_go(dsn, run.kafka(), seconds=_GROUP_SECONDS, seed=seed)


PARTS: Final = (
    Part("events-kills", _kills),
    Part("events-late-commits", _late_commits),
    Part("events-groups", _groups),
    Part("events-broker-stopped", partial(_outages, [stopped(_STOPPED_SECONDS)])),
    Part("events-broker-kills", partial(_outages, [killed] * _BROKER_KILLS)),
    Part("events-broker-line", partial(_outages, [slowed(_SLOW_SECONDS), silent(_SILENT_SECONDS), broken_off(60)])),
    Part("events-broker-rebalances", partial(_outages, [killed_in_rebalance] * _BROKER_KILLS)),
    Part("events-broker-leaders", _leaders),
    Part("events-revocations", partial(_revocations, is_cut=False)),
    Part("events-revocations-cut", partial(_revocations, is_cut=True)),
    Part("events-revocations-without-primary", _cut_primary),
)
