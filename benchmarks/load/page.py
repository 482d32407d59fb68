"""The report of a load: lines for now, a page of plots to look at, a document for programs."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from benchmarks.load.bottleneck import Interval, Verdict
from benchmarks.load.outcome import Check, Outcome
from benchmarks.load.scenarios import Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from benchmarks.load.outcome import Second


@attrs.frozen(kw_only=True)
class Report:
    """Everything there is to tell of a load."""

    scenario: Scenario
    users: int
    seconds: float
    url: str
    outcome: Outcome
    checks: tuple[Check, ...]
    verdict: Verdict
    intervals: tuple[Interval, ...]
    versions: Mapping[str, object]

    @property
    def passed(self) -> bool:
        """Whether all that was asked of it is met."""
        return all(check.is_met for check in self.checks)


def lines_of(report: Report) -> Iterator[str]:
    """Yield the report for people at a terminal."""
    yield f"{'operation':<44} {'requests':>9} {'1/s':>8} {'faults':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8}"
    for cells in _rows(report.outcome):
        yield "{:<44} {:>9} {:>8} {:>7} {:>8} {:>8} {:>8}".format(*cells)
    for fault in report.outcome.faults:
        yield f"  {fault.times} × {fault.operation}: {fault.text}"
    for times, text in report.outcome.exceptions:
        yield f"  {times} × error of the script: {text}"
    for check in report.checks:
        if not check.is_met:
            yield f"Not met: {_told(check)}"
    yield f"Bottleneck: {report.verdict.sentence}"
    yield f"{'Passed' if report.passed else 'Failed'}: {report.scenario.name}"


def document_of(report: Report) -> dict[str, Any]:
    """Return the report for programs."""
    whole = report.outcome.whole
    return {
        "scenario": report.scenario.name,
        "users": report.users,
        "seconds": report.seconds,
        "url": report.url,
        "passed": report.passed,
        "bottleneck": report.verdict.bottleneck,
        "why": report.verdict.sentence,
        "pressures": [attrs.asdict(pressure) for pressure in report.verdict.pressures],
        "checks": [{**attrs.asdict(check), "met": check.is_met} for check in report.checks],
        "operations": [
            {
                "name": each.name,
                "requests": each.requests,
                "perSecond": round(each.per_second, 3),
                "faults": each.faults,
                **{f"p{part}": each.percentile(part / 100) for part in _PERCENTILES},
            }
            for each in (*report.outcome.operations, whole)
        ],
        "faults": [attrs.asdict(fault) for fault in report.outcome.faults],
        "exceptions": list(report.outcome.exceptions),
        "course": [attrs.asdict(second) for second in report.outcome.course],
        "intervals": [attrs.asdict(interval) for interval in report.intervals],
        "versions": dict(report.versions),
    }


_PERCENTILES: Final = (50, 95, 99)


def _rows(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    for each in (*outcome.operations, outcome.whole):
        times = (f"{each.percentile(part / 100):,.0f}" for part in _PERCENTILES)
        yield each.name, f"{each.requests:,}", f"{each.per_second:,.1f}", f"{each.faults:,}", *times


def _told(check: Check) -> str:
    word = "at least" if check.is_least else "at most"
    return (
        f"{check.what} {check.value:,.6g} {check.unit}".rstrip() + f", {word} {check.bound:,.6g} {check.unit}".rstrip()
    )


# --- the page ---------------------------------------------------------------------------------------------------------


def page_of(report: Report) -> str:
    """Return a page in HTML that needs nothing beside it."""
    pressures = (
        (each.name, "not seen" if each.value is None else f"{each.value:.0%}", each.why)
        for each in report.verdict.pressures
    )
    checks = (
        (
            check.what,
            f"{check.value:,.6g} {check.unit}",
            f"{'≥' if check.is_least else '≤'} {check.bound:,.6g} {check.unit}",
            "met" if check.is_met else "not met",
        )
        for check in report.checks
    )
    faults = [(f"{fault.times:,}", fault.operation, fault.text) for fault in report.outcome.faults]
    faults += [(f"{times:,}", "the script", text) for times, text in report.outcome.exceptions]
    return _PAGE.format(
        name=html.escape(report.scenario.name),
        title=html.escape(report.scenario.title),
        verdict="passed" if report.passed else "failed",
        told=html.escape(f"{report.users} users at the height, {report.seconds:.0f} s, {report.url}"),
        bottleneck=html.escape(report.verdict.sentence),
        plot=_plot(report),
        pressures=_table(("what", "of its limit", "by"), pressures),
        checks=_table(("what was asked", "it is", "it may be", ""), checks),
        operations=_table(
            ("operation", "requests", "a second", "faults", "p50 ms", "p95 ms", "p99 ms"), _rows(report.outcome)
        ),
        faults=_table(("times", "operation", "what went wrong"), faults) if faults else "<p>Nothing went wrong.</p>",
        versions=html.escape(json.dumps(dict(report.versions), indent=1)),
    )


def _table(titles: Sequence[str], rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{html.escape(title)}" for title in titles)
    body = "\n".join(f"<tr>{''.join(f'<td>{html.escape(cell)}' for cell in row)}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _plot(report: Report) -> str:
    """Draw the course of the run, one panel below the other, over the same seconds."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(10, 14), layout="constrained")
    rates, times, states, processors, outbox = drawing.subplots(5, 1, sharex=True)
    _draw_course(rates, times, report.outcome.course)
    at = [interval.at for interval in report.intervals]
    _draw_states(states, at, report.intervals)
    for name in ("machine", "service", "database", "relay", "generator"):
        _line(processors, at, report.intervals, name)
    processors.set_ylabel("processors busy")
    _line(outbox, at, report.intervals, "outbox_records", label="events that wait")
    _line(outbox, at, report.intervals, "outbox_age", label="age of the oldest, s")
    outbox.set_ylabel("outbox")
    outbox.set_xlabel("seconds")
    for axes in (rates, times, states, processors, outbox):
        axes.grid(visible=True, linewidth=0.3)
        axes.set_ylim(bottom=0)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
    text = io.StringIO()
    drawing.savefig(text, format="svg", metadata={"Date": None})
    _, tag, rest = text.getvalue().partition("<svg")
    return tag + rest


def _draw_course(rates: Axes, times: Axes, course: Sequence[Second]) -> None:
    began = course[0].at if course else 0.0
    at = [second.at - began for second in course]
    rates.plot(at, [second.users for second in course], label="users", color="tab:gray", linestyle=":")
    rates.plot(at, [second.per_second for second in course], label="requests a second")
    rates.plot(at, [second.faults_per_second for second in course], label="faults a second", color="tab:red")
    rates.set_ylabel("load")
    for name in ("p50", "p95", "p99"):
        times.plot(at, [getattr(second, name) for second in course], label=name)
    times.set_ylabel("ms, of the last 10 s")


def _draw_states(axes: Axes, at: Sequence[float], intervals: Sequence[Interval]) -> None:
    """Stack what requests under way are doing; what is timed nowhere is the rest."""
    names = {
        "hash_waiting": "wait to hash",
        "hashing": "hash",
        "pool_waiting": "wait for a connection",
        "in_database": "in the database",
    }
    parts = [[getattr(interval, name) or 0.0 for interval in intervals] for name in names]
    if at:
        axes.stackplot(at, *parts, labels=tuple(names.values()), alpha=0.6)
    _line(axes, at, intervals, "in_flight", label="under way", color="black")
    axes.set_ylabel("requests at once")


def _line(axes: Axes, at: Sequence[float], intervals: Sequence[Interval], name: str, **style: Any) -> None:  # noqa: ANN401 - as matplotlib takes it
    seen = [
        (time, value) for time, each in zip(at, intervals, strict=True) if (value := getattr(each, name)) is not None
    ]
    if seen:
        axes.plot(*zip(*seen, strict=True), **{"label": name, **style})


_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Load: {name}, {verdict}</title>
<style>
body {{ font-family: sans-serif; margin: 2rem; }}
svg {{ max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; font-size: 0.9rem; margin-bottom: 1.5rem; }}
td, th {{ border-bottom: 1px solid #ccc; padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }}
.passed {{ color: #1a7f37; }}
.failed {{ color: #b3261e; }}
</style>
<h1>Load: {name}, <span class="{verdict}">{verdict}</span></h1>
<p>{title}. {told}.</p>
<p><strong>Bottleneck: {bottleneck}</strong></p>
{pressures}
<h2>What was asked</h2>
{checks}
<h2>Operations</h2>
{operations}
<h2>What went wrong</h2>
{faults}
<h2>The course of it</h2>
{plot}
<details><summary>Versions</summary><pre>{versions}</pre></details>
</html>
"""
