"""The results of a run: a table for now, a document for later, a page of plots to look at."""

from __future__ import annotations

import html
import io
import json
import statistics
from typing import TYPE_CHECKING, Any, Final

import attrs

from benchmarks.figure import Figure, Goal, Result, Round

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


def table_of(results: Iterable[Result]) -> str:
    """Return the results as lines of a table."""
    numbers = f"{'value':>11} {'limit':>11} {'unit':<6} {'ratio':>6} {'goal':>7} {'spread':>7}"
    lines = [f"{'figure':<44} {numbers} {'faults':>6} {'others':>6}  the goal is"]
    for result in results:
        figure = result.figure
        goal = "" if figure.goal is None else str(figure.goal)
        limit = "" if result.limit is None else f"{result.limit:,.2f}"
        ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
        lines.append(
            f"{figure.name:<44} {result.value:>11,.2f} {limit:>11} {figure.unit:<6} {ratio:>6} {goal:>7}"
            f" {result.spread:>7.0%} {result.faults:>6} {result.others:>6.2f}  {told(result.missed_by)}"
        )
        if result.details:
            lines.append(f"  {', '.join(f'{name} {value:,.2f}' for name, value in result.details.items())}")
    return "\n".join(lines)


def told(missed_by: float | None) -> str:
    """Say whether a goal is met, or how far it is."""
    if missed_by is None:
        return "none"
    return f"missed by {missed_by:.0%}" if missed_by else "met"


# --- the document -----------------------------------------------------------------------------------------------------


def entry_of(result: Result, *, versions: Mapping[str, object]) -> dict[str, Any]:
    """Return one result as the document has it; from it, :func:`result_of` makes the result again."""
    figure = result.figure
    return {
        "figure": figure.name,
        "title": figure.title,
        "value": round(result.value, 5),
        "unit": figure.unit,
        "limit": None if result.limit is None else round(result.limit, 5),
        "limitIs": figure.limit,
        "ratio": None if result.ratio is None else round(result.ratio, 4),
        "goal": None if figure.goal is None else figure.goal.ratio,
        "goalIs": None if figure.goal is None else "at least" if figure.goal.is_least else "at most",
        "met": result.is_met,
        "spread": round(result.spread, 4),
        "faults": result.faults,
        "details": {name: round(value, 4) for name, value in result.details.items()},
        "others": round(result.others, 3),
        "row": figure.row,
        "rounds": [attrs.asdict(each) for each in result.rounds],
        "versions": dict(versions),
    }


def result_of(entry: Mapping[str, Any]) -> Result:
    """Read an entry of a document."""
    goal = None if entry["goal"] is None else Goal(entry["goal"], is_least=entry["goalIs"] == "at least")
    return Result(
        figure=Figure(
            name=entry["figure"],
            title=entry["title"],
            unit=entry["unit"],
            limit=entry["limitIs"],
            goal=goal,
            row=entry["row"],
        ),
        rounds=tuple(Round(**each) for each in entry["rounds"]),
        others=entry["others"],
    )


def read_document(file: Path) -> list[dict[str, Any]]:
    """Return the entries of a file; none if it is not there."""
    found: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    return found


def write_document(file: Path, measured: Iterable[dict[str, Any]], *, order: Sequence[str]) -> list[dict[str, Any]]:
    """
    Write what was measured, and keep what the file has of other figures, each with the versions it was measured with.

    Args:
        order: The names of all figures there are; what has another name is left out.

    Returns:
        All entries of the file.
    """
    by_name = {entry["figure"]: entry for entry in (*read_document(file), *measured)}
    entries = [by_name[name] for name in order if name in by_name]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(entries, indent=1) + "\n")
    return entries


# --- the page ---------------------------------------------------------------------------------------------------------


def page_of(results: Sequence[Result], *, versions: Mapping[str, object]) -> str:
    """Return a page in HTML that needs nothing beside it: a plot of the ratios of each row, and the table."""
    with_goal = [result for result in results if result.figure.goal is not None and result.ratios]
    return _PAGE.format(
        versions=html.escape(json.dumps(versions, indent=1)),
        plot=_plot(with_goal) if with_goal else "",
        rows="\n".join(map(_row, results)),
    )


def _plot(results: Sequence[Result]) -> str:
    """
    Draw each round of each figure against its goal, all on one axis.

    To the right of the line is better than the goal: of a ratio that should be small, the reciprocal is drawn.
    """
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(9, 1 + 0.32 * len(results)), layout="constrained")
    axes = drawing.subplots()
    for place, result in enumerate(results):
        goal = result.figure.goal
        assert goal is not None
        parts = [_part_of(goal, each) for each in result.ratios]
        colour = "tab:green" if result.is_met else "tab:red"
        axes.plot(parts, [place] * len(parts), "o", color=colour, alpha=0.4, markersize=5)
        axes.plot(statistics.median(parts), place, "|", color=colour, markersize=14)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks([0.25, 0.5, 1, 2, 4], ["¼", "½", "goal", "2 ×", "4 ×"])
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(results)), [result.figure.title for result in results])
    axes.invert_yaxis()
    axes.set_xlabel("ratio to the limit, as a part of the goal; each round a dot")
    text = io.StringIO()
    drawing.savefig(text, format="svg", metadata={"Date": None})
    _, tag, rest = text.getvalue().partition("<svg")
    return tag + rest


def _part_of(goal: Goal, ratio: float) -> float:
    least = 0.01  # of what could not be measured at all, there is no logarithm
    return max(least, ratio / goal.ratio if goal.is_least else goal.ratio / max(least, ratio))


def _row(result: Result) -> str:
    figure = result.figure
    cells = (
        figure.title,
        f"{result.value:,.2f} {figure.unit}",
        "" if result.limit is None else f"{result.limit:,.2f} {figure.unit}",
        figure.limit or "",
        "" if result.ratio is None else f"{result.ratio:.2f}",
        figure.goal or "",
        told(result.missed_by),
        f"{result.spread:.0%}",
        ", ".join(f"{name} {value:,.2f}" for name, value in result.details.items()),
    )
    return f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in cells)}</tr>"


_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Figures</title>
<style>
body {{ font-family: sans-serif; margin: 2rem; }}
svg {{ max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; font-size: 0.9rem; }}
td, th {{ border-bottom: 1px solid #ccc; padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }}
</style>
<h1>Figures and their limits</h1>
{plot}
<table>
<thead><tr><th>figure<th>value<th>limit<th>which is<th>ratio<th>goal<th>it is<th>spread<th>besides</tr></thead>
<tbody>
{rows}
</tbody>
</table>
<details><summary>Versions</summary><pre>{versions}</pre></details>
</html>
"""
