"""What pages of users cost among many users and among ten times as many, on a server of their own."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.lists import costs_of, ratio_of, table_of
from tests.soak.outcomes import Part
from tests.soak.servers import servers

if TYPE_CHECKING:
    from tests.soak.outcomes import Trials

_A_FEW_PAGES: Final = 20


def check_list_costs(*, few: int, many: int, seed: int) -> None:
    """
    Make both sets, print what each page costs as a table on standard error, and compare.

    Raises:
        AssertionError: If a page is dearer among many than is documented.
    """
    del seed  # the same users each time
    with servers() as run:
        costs = {users: dict(costs_of(run.postgres().dsn(run.filled(users)))) for users in (few, many)}
    print(table_of(costs[few], costs[many]), file=sys.stderr)
    dearer = {
        what: (costs[few][what], after)
        for what, after in costs[many].items()
        if after.pages > ratio_of(what) * costs[few][what].pages + _A_FEW_PAGES
    }
    if dearer:
        raise AssertionError(dearer)


def _lists() -> Trials:
    """Compare a million users, or as many as `USERS` says, with a tenth of them."""
    users = int(os.environ.get("USERS") or 1_000_000)
    yield 1, partial(check_list_costs, few=users // 10, many=users)


PARTS: Final = (Part("lists", _lists),)
