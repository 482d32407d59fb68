"""
Measure figures, each beside its limit: ``python -m benchmarks``, which ``make bench`` runs.

Everything is on this machine: load, server, database. So a figure by itself says little; its ratio to a limit that was
measured in the same round says what the service costs. Rounds alternate between limit and figure, and medians are
reported. Nothing fails by being slow; the exit status is 1 only where something could not be measured by a fault,
or, if that is asked for, where a request failed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from benchmarks.baseline import compared_with
from benchmarks.figures import all_figures, areas, chosen
from benchmarks.machine import describe_machine
from benchmarks.report import entry_of, page_of, read_document, result_of, table_of, write_document
from benchmarks.running import Measured, measure
from benchmarks.scene import Effort, scene_for

if TYPE_CHECKING:
    from benchmarks.figure import Result

_RESULTS: Final = Path(__file__).parent / "results"
_QUICK: Final = {"rounds": 2, "seconds": 2.0, "flood": 200, "users": 20_000}


def main() -> int:
    """Measure, print, write."""
    given = _parser().parse_args()
    if given.list:
        for figure in all_figures():
            print(f"{figure.name:<26} {figure.title}")
        return 0
    prefixes = [prefix for prefix in given.only.split(",") if prefix]
    try:
        needed, wanted = chosen(areas(), prefixes)
    except ValueError as error:
        sys.exit(str(error))
    versions = describe_machine()
    began, failures, entries = time.perf_counter(), 0, list[dict[str, Any]]()
    results: list[Result] = []
    effort = _effort(given)
    with scene_for(effort) as scene:
        versions |= {"client": scene.client.name, "effort": attrs.asdict(effort)}
        for measured in measure(needed, wanted, scene):
            _tell(measured, seconds=time.perf_counter() - began)
            failures += measured.failed is not None
            results += measured.results
            versions |= {"postgresql": scene.postgres_version}
            entries += [entry_of(result, versions=versions) for result in measured.results]
    print()
    print(table_of(results))
    print()
    for line in compared_with(read_document(given.baseline), entries):
        print(line)
    file = _RESULTS / f"{given.name}.json"
    kept = write_document(file, entries, order=[figure.name for figure in all_figures()])
    file.with_suffix(".html").write_text(page_of([result_of(entry) for entry in kept], versions=versions))
    print(f"Written to {file} and {file.with_suffix('.html').name} in {time.perf_counter() - began:.0f} s")
    faults = sum(result.faults for result in results) if given.no_faults else 0
    return int(failures > 0 or faults > 0)


def _parser() -> argparse.ArgumentParser:
    usual = Effort()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure figures beside their limits.")
    parser.add_argument("--only", default="", metavar="NAMES", help="names of figures, or what they begin with")
    parser.add_argument("--list", action="store_true", help="tell the figures, and measure none")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: whether it works, not how fast")
    parser.add_argument("--rounds", type=int, help=f"of each figure ({usual.rounds})")
    parser.add_argument("--seconds", type=float, help=f"of each measurement of a load ({usual.seconds:g})")
    parser.add_argument("--workers", type=int, help=f"processes that serve ({usual.workers})")
    parser.add_argument("--users", type=int, help=f"in the database that lists are measured with ({usual.users})")
    parser.add_argument("--flood", type=int, help=f"sign-ins before the memory is read ({usual.flood})")
    parser.add_argument(
        "--no-faults", action="store_true", help="end with 1 if a request was not answered as it was to be"
    )
    parser.add_argument("--name", default="latest", help="of the files in benchmarks/results")
    parser.add_argument("--baseline", type=Path, default=_RESULTS / "baseline.json", help="results to compare with")
    return parser


def _effort(given: argparse.Namespace) -> Effort:
    names = [field.name for field in attrs.fields(Effort)]
    said = {name: value for name in names if (value := getattr(given, name, None)) is not None}
    return Effort(**{**(_QUICK if given.quick else {}), **said})


def _tell(measured: Measured, *, seconds: float) -> None:
    first, *further = (figure.name for figure in measured.bench.figures)
    names = f"{first} and {len(further)} more" if further else first
    if measured.cannot is not None:
        print(f"{names}: cannot be measured here: {measured.cannot}", file=sys.stderr)
    elif measured.failed is not None:
        print(f"{names}: failed:\n{measured.failed}", file=sys.stderr)
    else:
        print(f"{names}: {measured.seconds:.0f} s, {seconds:.0f} s in all", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
