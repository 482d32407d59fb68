"""Instances that are restarted, upgraded and rolled back at length, while requests do not stop."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.endurance.rolling import restarted, upgraded
from tests.endurance.versions import checked_out, earlier_commits
from tests.soak.outcomes import Part
from tests.soak.servers import database, folder, servers

if TYPE_CHECKING:
    from tests.servers.run import ServersOfRun
    from tests.soak.outcomes import Tally, Trials

_REQUESTS: Final = 100_000
_RESTARTS: Final = 20
_UPGRADES: Final = 5
_VERSIONS: Final = 2


def _restart_all() -> Trials:
    with servers() as run:
        yield _REQUESTS, partial(_restart, run)


def _restart(run: ServersOfRun, *, seed: int) -> Tally:
    del seed  # nothing is drawn
    with database(run) as dsn, folder() as kept:
        return restarted(dsn, kept, requests=_REQUESTS, rounds=_RESTARTS)


def _upgrade_all() -> Trials:
    found = list(itertools.islice(earlier_commits(), _VERSIONS))
    assert found, "earlier versions are taken from the history, which is not here"
    with servers() as run:
        for commit, needed in found:
            yield _REQUESTS, partial(_upgrade, run, commit, needed)


def _upgrade(run: ServersOfRun, commit: str, needed: str, *, seed: int) -> Tally:
    del seed  # nothing is drawn
    server = run.postgres()
    name = server.create_database()
    try:
        with folder() as kept:
            earlier = checked_out(commit, needed, kept / "earlier")
            return upgraded(server.dsn(name), kept, earlier, requests=_REQUESTS, rounds=_UPGRADES)
    finally:
        server.drop_database(name)


PARTS: Final = (Part("lifecycle-restart", _restart_all), Part("lifecycle-upgrade", _upgrade_all))
