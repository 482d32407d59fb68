"""
The figures, a module an area; each has its benches as ``BENCHES``.

What a module has started for its figures is stopped before the next one begins.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

import attrs

from benchmarks.figure import Bench, Figure

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.frozen
class Area:
    """The benches of one module, by the module's name."""

    name: str
    benches: tuple[Bench, ...]


def areas() -> tuple[Area, ...]:
    """Return all benches."""
    return tuple(
        Area(module.name, importlib.import_module(f"{__name__}.{module.name}").BENCHES)
        for module in pkgutil.iter_modules(__path__)
    )


def all_figures() -> tuple[Figure, ...]:
    """Return all figures, in the order in which they are measured."""
    return figures_of(areas())


def figures_of(some: Sequence[Area]) -> tuple[Figure, ...]:
    """Return the figures of some areas, in the order in which they are measured."""
    return tuple(figure for area in some for bench in area.benches for figure in bench.figures)


def chosen(every: Sequence[Area], prefixes: Sequence[str]) -> tuple[tuple[Area, ...], frozenset[str]]:
    """
    Choose by the names of figures, or what they begin with; without any, all benches that belong to the goals.

    Returns:
        The areas with the benches that are needed, and the names of the figures that are asked for.

    Raises:
        ValueError: If a prefix is that of no figure.
    """
    names = [figure.name for figure in figures_of(every)]
    unknown = [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in names)]
    if unknown:
        raise ValueError(f"no figure begins with {' or '.join(map(repr, unknown))}; there are: {', '.join(names)}")
    wanted = frozenset(
        figure.name
        for area in every
        for bench in area.benches
        for figure in bench.figures
        if (figure.name.startswith(tuple(prefixes)) if prefixes else bench.is_of_goals)
    )
    needed = (
        Area(area.name, tuple(bench for bench in area.benches if wanted & {figure.name for figure in bench.figures}))
        for area in every
    )
    return tuple(area for area in needed if area.benches), wanted
