"""
What a figure is: a value, the limit it is held to, and the goal that their ratio should reach.

A figure by itself says little, since load, service and database share one machine. Its ratio to a limit that was
measured in the same round says what the service costs, and hardly depends on the machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

from benchmarks.scene import Scene


class CannotMeasureError(Exception):
    """This machine does not let a figure be measured; the text says what is missing."""


@attrs.frozen
class Goal:
    """The ratio of figure and limit that is aimed for."""

    ratio: float
    is_least: bool

    def is_met(self, ratio: float) -> bool:
        """Tell whether a ratio is as good as that or better."""
        return ratio >= self.ratio if self.is_least else ratio <= self.ratio

    def missed_by(self, ratio: float) -> float:
        """Return the part of the goal that is missing, or that is too much; 0 where it is met."""
        return max(0.0, 1 - ratio / self.ratio if self.is_least else ratio / self.ratio - 1)

    def __str__(self) -> str:
        """Return it as a table shows it."""
        return f"{'≥' if self.is_least else '≤'} {self.ratio:g}"


def at_least(ratio: float) -> Goal:
    """Aim for *ratio* or more: of what is the better, the more there is of it."""
    return Goal(ratio, is_least=True)


def at_most(ratio: float) -> Goal:
    """Aim for *ratio* or less: of time, of memory."""
    return Goal(ratio, is_least=False)


@attrs.frozen(kw_only=True)
class Figure:
    """
    What is measured, and what it is held to.

    Attributes:
        name: Small letters, digits and hyphens: by it, or by what it begins with, a figure is chosen.
        title: For people.
        unit: Of the figure and of its limit.
        limit: What the limit is; None of a figure that is only told.
        goal: Of their ratio; None of a ratio that is only told.
        row: The row of the goals that it belongs to, a key of :data:`benchmarks.goals.ROWS`; None of what is only told.
    """

    name: str
    title: str
    unit: str
    limit: str | None = None
    goal: Goal | None = None
    row: str | None = None


@attrs.frozen(kw_only=True)
class Round:
    """
    One measurement of a figure, and of its limit right before or after.

    Attributes:
        faults: Of the requests, those that were not answered as expected; they do not count in the value.
        details: What else is worth telling, like a percentile; by name with its unit.
    """

    value: float
    limit: float | None = None
    faults: int = 0
    details: Mapping[str, float] = attrs.field(factory=dict[str, float])


@attrs.frozen(kw_only=True)
class Bench:
    """
    Figures that are measured together, since they share what is started or their limit.

    Attributes:
        figures: All that a round has.
        measure: Yields rounds without end, each with every figure by name; it is closed when there are enough. It
            raises :class:`CannotMeasureError` where the machine does not let it.
        most_rounds: No more than so many, of what takes long.
    """

    figures: tuple[Figure, ...]
    measure: Callable[[Scene], Iterator[Mapping[str, Round]]]
    most_rounds: int | None = None

    @property
    def is_of_goals(self) -> bool:
        """Whether one of the figures belongs to the goals; the others are measured when they are asked for."""
        return any(figure.row is not None for figure in self.figures)


_FEW: Final = 2


@attrs.frozen(kw_only=True)
class Result:
    """
    What came of a figure.

    Attributes:
        others: Processors that other programs of this machine kept busy meanwhile.
    """

    figure: Figure
    rounds: tuple[Round, ...]
    others: float = 0.0

    @property
    def value(self) -> float:
        """The median of its rounds."""
        return statistics.median(each.value for each in self.rounds)

    @property
    def limit(self) -> float | None:
        """The median of its limit's rounds."""
        limits = [each.limit for each in self.rounds if each.limit is not None]
        return statistics.median(limits) if limits else None

    @property
    def ratios(self) -> tuple[float, ...]:
        """The ratio in each round; empty without a limit."""
        return tuple(each.value / each.limit for each in self.rounds if each.limit)

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios, since what slows a round down slows both."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def spread(self) -> float:
        """How far the ratios, or without a limit the values, lie apart, as a part of their median."""
        told = self.ratios or tuple(each.value for each in self.rounds)
        middle = statistics.median(told)
        return (max(told) - min(told)) / middle if len(told) >= _FEW and middle else 0.0

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        goal, ratio = self.figure.goal, self.ratio
        return None if goal is None or ratio is None else goal.is_met(ratio)

    @property
    def missed_by(self) -> float | None:
        """See :meth:`Goal.missed_by`; None where there is no goal."""
        goal, ratio = self.figure.goal, self.ratio
        return None if goal is None or ratio is None else goal.missed_by(ratio)

    @property
    def faults(self) -> int:
        """Of all rounds."""
        return sum(each.faults for each in self.rounds)

    @property
    def details(self) -> dict[str, float]:
        """The medians of what else was told."""
        names = dict.fromkeys(name for each in self.rounds for name in each.details)
        return {
            name: statistics.median(each.details[name] for each in self.rounds if name in each.details)
            for name in names
        }
