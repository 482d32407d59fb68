"""
The universal scalability law, fitted to measured throughputs.

Source: N. J. Gunther, "Guerrilla Capacity Planning" (2007), chapters 4 to 6. N units do as much as one of them times
N / (1 + contention (N - 1) + coherency N (N - 1)): contention is for what is serial, coherency for what each unit has
to learn of each other one. In Gunther's letters these are sigma and kappa, and what one does is lambda.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TERMS: Final = 3
_COHERENCY: Final = 2


@attrs.frozen(kw_only=True)
class ScalingLaw:
    """
    How throughput grows with the number of units.

    Attributes:
        one: What one unit does alone.
        contention: At least 0.
        coherency: At least 0.
    """

    one: float
    contention: float = 0.0
    coherency: float = 0.0

    def throughput(self, units: float) -> float:
        """Return what *units* do together; at least 1."""
        return self.one * units * self.efficiency(units)

    def efficiency(self, units: float) -> float:
        """Return what each of *units* does as a share of what one does alone."""
        return 1 / (1 + self.contention * (units - 1) + self.coherency * units * (units - 1))

    @property
    def best_units(self) -> float:
        """Number of units past which more of them do less; infinite where there is none."""
        if self.coherency == 0:
            return math.inf
        return max(1.0, math.sqrt(max(0.0, 1 - self.contention) / self.coherency))

    def units_for(self, throughput: float) -> int | None:
        """Return how many units do *throughput*, or None if no number of them does."""
        if throughput <= self.one:
            return 1
        limit = self.best_units
        if math.isinf(limit) and self.contention and throughput >= self.one / self.contention:
            return None
        units = 1
        while self.throughput(units) < throughput:
            units += 1
            if units > limit:
                return None
        return units

    @classmethod
    def fit(cls, measured: Mapping[int, float]) -> ScalingLaw:
        """
        Fit the law to *measured*: throughput by number of units, at least one, each above 0.

        N by its throughput is linear in the three coefficients, each divided by what one does. The relative errors are
        made least in the sense of squares, and neither contention nor coherency may be below 0. With fewer than three
        points there are as many coefficients as points, contention before coherency.
        """
        points = sorted(measured.items())
        best: tuple[float, Sequence[float]] | None = None
        for terms in itertools.chain.from_iterable(
            itertools.combinations(range(1, _TERMS), count) for count in range(min(_TERMS, len(points)))
        ):
            if len(points) < _TERMS and _COHERENCY in terms:
                continue
            coefficients = _least_squares(points, (0, *terms))
            if coefficients is None or coefficients[0] <= 0 or min(coefficients) < 0:
                continue
            error = sum((1 - _inverse(coefficients, units) * rate / units) ** 2 for units, rate in points)
            if best is None or error < best[0]:
                best = error, coefficients
        if best is None:  # nothing but a single coefficient of the least error is left, and that one is above 0
            raise ValueError("throughputs are above 0")
        inverse, contention, coherency = best[1]
        return cls(one=1 / inverse, contention=contention / inverse, coherency=coherency / inverse)


def _row(units: int) -> tuple[float, float, float]:
    return 1.0, units - 1.0, units * (units - 1.0)


def _inverse(coefficients: Sequence[float], units: int) -> float:
    return sum(coefficient * value for coefficient, value in zip(coefficients, _row(units), strict=True))


def _least_squares(points: Sequence[tuple[int, float]], terms: tuple[int, ...]) -> list[float] | None:
    """Solve the normal equations for *terms*, the others 0; None where the points do not tell them apart."""
    rows = [[_row(units)[term] * rate / units for term in terms] for units, rate in points]
    matrix = [
        [*(sum(row[i] * row[j] for row in rows) for j in range(len(terms))), sum(row[i] for row in rows)]
        for i in range(len(terms))
    ]
    for column in range(len(terms)):
        pivot = max(range(column, len(terms)), key=lambda line: abs(matrix[line][column]))
        if abs(matrix[pivot][column]) < 1e-12 * max(1.0, abs(matrix[0][0])):
            return None
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        for line in range(len(terms)):
            if line != column:
                factor = matrix[line][column] / matrix[column][column]
                matrix[line] = [a - factor * b for a, b in zip(matrix[line], matrix[column], strict=True)]
    solved = dict(zip(terms, (matrix[i][-1] / matrix[i][i] for i in range(len(terms))), strict=True))
    return [solved.get(term, 0.0) for term in range(_TERMS)]
