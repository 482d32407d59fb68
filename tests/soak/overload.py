"""A server that is asked for many times what it can do, for a minute each, and for 10,000 sign-ins at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from tests.endurance.overload import overloaded, peak_of, scene, storm
from tests.soak.outcomes import Part
from tests.soak.servers import database, folder, servers

if TYPE_CHECKING:
    from tests.servers.run import ServersOfRun
    from tests.soak.outcomes import Tally, Trials

_LEAST_SHARES: Final = {2: 0.9, 5: 0.85, 10: 0.8}
_SECONDS: Final = 60
_STORM: Final = 10_000


def _times() -> Trials:
    with servers() as run:
        for times in _LEAST_SHARES:
            yield 1, partial(_overload, run, times)


def _overload(run: ServersOfRun, times: int, *, seed: int) -> Tally:
    del seed  # nothing is drawn
    with database(run) as dsn, folder() as kept, scene(dsn, kept) as server:
        peak_of(server)
        peak = peak_of(server, seconds=10)
        return overloaded(server, peak, times=times, seconds=_SECONDS, least_share=_LEAST_SHARES[times], strictly=True)


def _storms() -> Trials:
    with servers() as run:
        yield _STORM, partial(_storm, run)


def _storm(run: ServersOfRun, *, seed: int) -> Tally:
    del seed  # nothing is drawn
    with database(run) as dsn, folder() as kept, scene(dsn, kept) as server:
        peak_of(server)
        return storm(server, peak_of(server, seconds=10), count=_STORM, strictly=True)


PARTS: Final = (Part("overload-times", _times), Part("overload-storm", _storms))
