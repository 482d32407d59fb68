"""What pages of filtered lists cost among ten times as many users, in pages of files, and the slowest one."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from benchmarks.dataset.loading import load
from benchmarks.dataset.people import People
from benchmarks.figure import Bench, Figure, Round, at_most
from benchmarks.figures.pages import crowd
from benchmarks.lists import FEW_PAGES, MOST_MILLISECONDS, RATIO, Cost, What, costs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.scene import Installation, Scene

_TIMES: Final = 20
_TITLES: Final = {
    "one": "the page of one filter whose pages of files grow most",
    "two": "the same of two filters together",
    "none": "the same of far pages and look-ups",
}


def _group_of(what: What) -> str:
    name, _ = what
    if name == "no filter" or name.startswith(("page", "look-up", "list")):
        return "none"
    return "two" if " of " in name else "one"


def _more_of_them(scene: Scene) -> Installation:
    """Return an installation with ten times as many users as the crowd, made by the first who asks."""

    def fill() -> contextlib.AbstractContextManager[Installation]:
        installation = scene.installation_in("crowds")
        load(People(users=10 * scene.effort.users, seed=1, until=datetime.now(UTC)), installation.dsn)
        return contextlib.nullcontext(installation)

    return scene.in_run("crowds", fill)


def _costs(scene: Scene) -> Iterator[dict[str, Round]]:
    few_dsn, many_dsn = crowd(scene).dsn, _more_of_them(scene).dsn
    while True:
        few, many = dict(costs_of(few_dsn)), dict(costs_of(many_dsn, times=_TIMES))
        rounds = {f"lists-pages-{group}": _growth(few, many, group) for group in _TITLES}
        slowest = max(cost.slow_milliseconds for cost in many.values())
        middle = max(cost.milliseconds for cost in many.values())
        yield {
            **rounds,
            "lists-slowest": Round(value=slowest, limit=MOST_MILLISECONDS, details={"p50 ms": middle}),
        }


def _growth(few: Mapping[What, Cost], many: Mapping[What, Cost], group: str) -> Round:
    """Return the page that grows most, of those that grow by more than does not count if there are any."""
    those = [what for what in many if _group_of(what) == group]
    growing = [what for what in those if many[what].pages > few[what].pages + FEW_PAGES] or those
    most = max(growing, key=lambda what: many[what].pages / few[what].pages)
    return Round(
        value=many[most].pages,
        limit=few[most].pages,
        details={"most pages": max(many[what].pages for what in those)},
    )


BENCHES: Final = (
    Bench(
        figures=(
            *(
                Figure(
                    name=f"lists-pages-{group}",
                    title=title,
                    unit="pages",
                    limit="the same page among a tenth of the users",
                    goal=at_most(RATIO),
                    row="filters",
                )
                for group, title in _TITLES.items()
            ),
            Figure(
                name="lists-slowest",
                title="the slowest page of a list, 19 of 20 times",
                unit="ms",
                limit="what a page may take",
                goal=at_most(1.0),
                row="filters",
            ),
        ),
        measure=_costs,
        most_rounds=3,
    ),
)
