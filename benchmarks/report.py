"""From the rounds of a run to its figures: medians, ratios to the limit of the same run, a table, a document."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.load import Outcome


@attrs.frozen(kw_only=True)
class Figure:
    """
    One figure of a run.

    Attributes:
        name: What was measured.
        limit: What it is compared with.
        goal: The ratio that is aimed for, None where the ratio is only told.
        rounds: Of the figure, a second, one each round.
        limit_rounds: The same of its limit, in the same rounds.
        p99: Milliseconds, the median over the rounds.
        faults: Of all rounds.
    """

    name: str
    limit: str
    goal: float | None
    rounds: tuple[float, ...]
    limit_rounds: tuple[float, ...]
    p99: float
    faults: int

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.rounds)

    @property
    def limit_median(self) -> float:
        """Its limit."""
        return statistics.median(self.limit_rounds)

    @property
    def ratio(self) -> float:
        """The median of the ratios of each round, since what slows a round down slows both."""
        return statistics.median(one / limit for one, limit in zip(self.rounds, self.limit_rounds, strict=True))


def figure_of(
    name: str, outcomes: Sequence[Outcome], *, limit: str, limit_rounds: Iterable[float], goal: float | None
) -> Figure:
    """Sum the rounds of one figure up."""
    return Figure(
        name=name,
        limit=limit,
        goal=goal,
        rounds=tuple(outcome.per_second for outcome in outcomes),
        limit_rounds=tuple(limit_rounds),
        p99=statistics.median(outcome.p99 for outcome in outcomes),
        faults=sum(outcome.faults for outcome in outcomes),
    )


def table_of(figures: Iterable[Figure]) -> str:
    """Return the figures as lines of a table."""
    lines = [f"{'figure':<44} {'a second':>9} {'limit':>9} {'ratio':>6} {'goal':>6} {'p99 ms':>8} {'faults':>7}"]
    for figure in figures:
        goal = "" if figure.goal is None else f"{figure.goal:.2f}"
        lines.append(
            f"{figure.name:<44} {figure.median:>9,.1f} {figure.limit_median:>9,.1f} {figure.ratio:>6.2f} {goal:>6}"
            f" {figure.p99:>8.1f} {figure.faults:>7}"
        )
    return "\n".join(lines)


def write_document(
    file: Path, figures: Iterable[Figure], *, machine: Mapping[str, object], run: Mapping[str, object]
) -> None:
    """Write everything that was measured, and what it depends on."""
    document = {"machine": machine, "run": run, "figures": [_summary(figure) for figure in figures]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n")


def _summary(figure: Figure) -> dict[str, object]:
    derived = {"median": figure.median, "limit_median": figure.limit_median, "ratio": figure.ratio}
    return {**attrs.asdict(figure), **{name: round(value, 3) for name, value in derived.items()}}
