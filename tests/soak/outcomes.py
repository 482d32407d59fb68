"""
What a part of the checks at length is made of, and what came of it.

A part is a name and rounds of trials. A trial takes a seed; it raises if something is wrong, or returns a
:class:`Tally` of what it counted. Parts whose names begin with the same word and a hyphen are asked for by that word.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Generator, Mapping
from typing import Final, Protocol

import attrs

_CONFIDENCE: Final = 0.95
_HALVINGS: Final = 60


@attrs.frozen(kw_only=True)
class Tally:
    """
    What one trial counted, once all that should have happened had the time to.

    Attributes:
        trials: How many times it tried, where that is known only afterwards; otherwise what the part said.
        lost: What was promised, and is not there.
        doubled: Effects of one cause that are there more than once.
        ghosts: What is there though it never came to be: the event of a transaction that did not commit, a stale value.
        inversions: First occurrences that came before one that precedes them.
        failed: Whether a figure is not what it has to be.
        figures: Whatever else is worth knowing, in units that the names say; the last trial's are told.
    """

    trials: int | None = None
    lost: int = 0
    doubled: int = 0
    ghosts: int = 0
    inversions: int = 0
    failed: bool = False
    figures: Mapping[str, float | str] = attrs.Factory(dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.ghosts or self.inversions or self.failed)

    def require_clean(self) -> None:
        """Fail if something is wrong, for the tests that run a trial in short."""
        assert self.is_clean, self


class Trial(Protocol):
    """Raises if something is wrong, or returns a :class:`Tally`; whatever else it returns means that nothing was."""

    def __call__(self, *, seed: int) -> object:
        """Try what comes of *seed*."""
        ...


Trials = Generator[tuple[int, Trial], None, None]
"""Trials, each with how many requests, kills or the like it counts for."""


@attrs.frozen
class Part:
    """
    Something to run at length.

    Attributes:
        trials: Makes the trials of one round. Servers that they need are started in there, and stopped when it is
            closed.
    """

    name: str
    trials: Callable[[], Trials]

    def is_meant_by(self, name: str) -> bool:
        """Tell whether somebody who asks for *name* gets this part."""
        return self.name == name or self.name.startswith(f"{name}-")


@attrs.define
class Outcome:
    """What came of a part."""

    trials: int = 0
    failures: int = 0
    lost: int = 0
    doubled: int = 0
    ghosts: int = 0
    inversions: int = 0
    figures: dict[str, float | str] = attrs.Factory(dict)

    def add(self, trial: Trial, *, counts_for: int, seed: int) -> None:
        """Run *trial*, and print why it failed if it does."""
        try:
            tally = trial(seed=seed)
        except Exception:  # noqa: BLE001 - whatever it is, the other trials are of interest too
            self.trials += counts_for
            self.failures += 1
            traceback.print_exc()
            return
        if not isinstance(tally, Tally):
            self.trials += counts_for
            return
        self.trials += counts_for if tally.trials is None else tally.trials
        self.failures += not tally.is_clean
        self.lost += tally.lost
        self.doubled += tally.doubled
        self.ghosts += tally.ghosts
        self.inversions += tally.inversions
        self.figures.update(tally.figures)

    @property
    def upper_bound(self) -> float:
        """How often a trial may fail, at most, for what was seen to be no wonder (95 %)."""
        return upper_bound(self.failures, self.trials)


def upper_bound(failures: int, trials: int) -> float:
    """
    Return the one-sided upper limit of Clopper and Pearson (1934) at 95 % for the rate of failures.

    It is the rate at which as few failures as these, or fewer, are seen in one of twenty runs; without failures that is
    close to three over *trials*. Without trials nothing is known, and the bound is 1.
    """
    if failures >= trials:
        return 1.0
    if failures == 0:
        return -math.expm1(math.log(1 - _CONFIDENCE) / trials)
    low, high = failures / trials, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_most(failures, trials, middle) > 1 - _CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _at_most(failures: int, trials: int, rate: float) -> float:
    """Return how likely it is to see *failures* or fewer."""
    return math.fsum(
        math.exp(
            math.lgamma(trials + 1)
            - math.lgamma(number + 1)
            - math.lgamma(trials - number + 1)
            + number * math.log(rate)
            + (trials - number) * math.log1p(-rate)
        )
        for number in range(failures + 1)
    )
