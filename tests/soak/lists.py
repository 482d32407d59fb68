"""What pages of users cost among many users and among ten times as many, and how statements are run there."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import psycopg

from benchmarks.lists import costs_of, faults_of, plot, table_of
from benchmarks.statements import plan_of, samples_of, sorts_of, statements, whole_tables_of
from tests.soak.outcomes import Part, Tally
from tests.soak.servers import servers

if TYPE_CHECKING:
    from tests.soak.outcomes import Trials

_TIMES: Final = 5


def check_list_costs(*, sizes: tuple[int, ...], drawing: str | None, seed: int) -> Tally:
    """
    Make the sets, print what each page costs as a table on standard error, and compare each with the one before.

    Raises:
        AssertionError: If a page is dearer among more users than is documented, or a statement reads a table as a whole
            or sorts what an index has in order.
    """
    del seed  # the same users each time
    with servers() as run:
        dsns = [run.postgres().dsn(run.filled(users)) for users in sizes]
        costs = [dict(costs_of(dsn, times=_TIMES)) for dsn in dsns]
        with contextlib.closing(psycopg.connect(dsns[-1], autocommit=True)) as connection:
            known = samples_of(connection)
            plans = {path: plan_of(connection, statement, known) for path, statement in statements().items()}
    print(table_of(costs), file=sys.stderr)
    if drawing:
        plot(costs, drawing)
    faults: list[object] = [each for each in (faults_of(costs), whole_tables_of(plans), sorts_of(plans)) if each]
    if faults:
        raise AssertionError(faults)
    last = costs[-1].values()
    dearest, slowest = max(cost.pages for cost in last), max(cost.slow_milliseconds for cost in last)
    return Tally(figures={"pages of the dearest": dearest, "ms of the slowest": slowest})


def _lists() -> Trials:
    """Compare a hundred thousand users with a million, or with as many tens of it as `USERS` says; `PLOT` is drawn."""
    most = int(os.environ.get("USERS") or 1_000_000)
    sizes = [most]
    while sizes[0] > 100_000 or len(sizes) == 1:
        sizes.insert(0, sizes[0] // 10)
    yield 1, partial(check_list_costs, sizes=tuple(sizes), drawing=os.environ.get("PLOT"))


PARTS: Final = (Part("lists", _lists),)
