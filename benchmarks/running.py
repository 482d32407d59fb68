"""Measures benches, round by round."""

from __future__ import annotations

import itertools
import time
import traceback
from typing import TYPE_CHECKING

import attrs

from benchmarks.figure import Bench, CannotMeasureError, Result
from benchmarks.usage import watch_others

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from benchmarks.figures import Area
    from benchmarks.scene import Scene


@attrs.frozen(kw_only=True)
class Measured:
    """
    What came of a bench.

    Attributes:
        results: Of the figures that were asked for; none if something went wrong.
        cannot: Why this machine cannot measure it.
        failed: The trace of what went wrong.
    """

    bench: Bench
    seconds: float
    results: tuple[Result, ...] = ()
    cannot: str | None = None
    failed: str | None = None


def measure(areas: Iterable[Area], wanted: Collection[str], scene: Scene) -> Iterator[Measured]:
    """Measure each bench in turn, and stop after each area what it has started; a bench that fails ends no other."""
    for area in areas:
        with scene.area():
            for bench in area.benches:
                yield _measure(bench, wanted, scene)


def _measure(bench: Bench, wanted: Collection[str], scene: Scene) -> Measured:
    began = time.perf_counter()
    number = min(scene.effort.rounds, bench.most_rounds or scene.effort.rounds)
    rounds, used_by_others = bench.measure(scene), watch_others()
    try:
        measured = list(itertools.islice(rounds, number))
    except CannotMeasureError as error:
        return Measured(bench=bench, seconds=time.perf_counter() - began, cannot=str(error))
    except Exception:  # noqa: BLE001 - the others are measured all the same, and it is told
        return Measured(bench=bench, seconds=time.perf_counter() - began, failed=traceback.format_exc())
    finally:
        close = getattr(rounds, "close", None)
        if close is not None:
            close()
    others = used_by_others()
    results = tuple(
        Result(figure=figure, rounds=tuple(each[figure.name] for each in measured), others=others)
        for figure in bench.figures
        if figure.name in wanted
    )
    return Measured(bench=bench, seconds=time.perf_counter() - began, results=results)
