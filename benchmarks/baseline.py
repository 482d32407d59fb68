"""Compares what was measured with the baseline that is kept beside the code, by the ratios to the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.report import result_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.figure import Result

_LEAST_CHANGE: Final = 0.1
"""Another machine shifts ratios by some percent; the exact comparison is that of two commits on one machine."""


def compared_with(baseline: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """
    Yield a line for each figure that is better or worse than its baseline.

    It is where the rounds of one are all on one side of those of the other, and the medians lie a tenth apart.
    """
    before = {entry["figure"]: result_of(entry) for entry in baseline}
    told = 0
    for result in map(result_of, measured):
        known = before.get(result.figure.name)
        if known is None or not known.ratios or not result.ratios:
            continue
        told += 1
        if verdict := _verdict(known, result):
            yield f"{result.figure.name}: {verdict} than the baseline, {result.ratio:.3f} after {known.ratio:.3f}"
    yield f"Compared with the baseline: {told} of {len(measured)} figures."


def _verdict(before: Result, after: Result) -> str | None:
    sign = 1 if after.figure.goal is None or after.figure.goal.is_least else -1
    old, new = before.ratio or 0.0, after.ratio or 0.0
    if abs(new - old) <= _LEAST_CHANGE * old:
        return None
    if min(after.ratios) > max(before.ratios):
        return "better" if sign > 0 else "worse"
    if max(after.ratios) < min(before.ratios):
        return "worse" if sign > 0 else "better"
    return None
