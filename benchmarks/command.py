"""What the commands that measure do: choose figures, measure them, print and write what came of it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from benchmarks.baseline import compared_with
from benchmarks.figures import Area, chosen, figures_of
from benchmarks.machine import describe_machine
from benchmarks.report import entry_of, page_of, read_document, result_of, table_of, write_document
from benchmarks.running import Measured, measure
from benchmarks.scene import Effort, scene_for

if TYPE_CHECKING:
    from benchmarks.figure import Result

RESULTS: Final = Path(__file__).parent / "results"


@attrs.frozen(kw_only=True)
class Command:
    """
    A command that measures.

    Attributes:
        module: That is run.
        does: In a sentence.
        areas: Whose figures there are.
        usual: What is done for a figure if nothing else is said.
        quick: What is done with `--quick`.
        name: Of the files with the results, if no other is given.
        baseline: Results to compare with, if no others are given.
        versions: What the results depend on beside the machine and the packages here.
    """

    module: str
    does: str
    areas: tuple[Area, ...]
    usual: Effort
    quick: Effort
    name: str
    baseline: Path | None = None
    versions: Mapping[str, object] = attrs.field(factory=dict[str, object])


def run(command: Command) -> int:
    """Measure, print, write, and return the status to end with."""
    given = _parser(command).parse_args()
    figures = figures_of(command.areas)
    if given.list:
        for figure in figures:
            print(f"{figure.name:<26} {figure.title}")
        return 0
    prefixes = [prefix for prefix in given.only.split(",") if prefix]
    try:
        needed, wanted = chosen(command.areas, prefixes)
    except ValueError as error:
        sys.exit(str(error))
    versions = {**describe_machine(), **command.versions}
    began, failures, entries = time.perf_counter(), 0, list[dict[str, Any]]()
    results: list[Result] = []
    effort = _effort(command, given)
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
    if given.baseline is not None:
        for line in compared_with(read_document(given.baseline), entries):
            print(line)
    file = RESULTS / f"{given.name}.json"
    kept = write_document(file, entries, order=[figure.name for figure in figures])
    file.with_suffix(".html").write_text(page_of([result_of(entry) for entry in kept], versions=versions))
    print(f"Written to {file} and {file.with_suffix('.html').name} in {time.perf_counter() - began:.0f} s")
    faults = sum(result.faults for result in results) if given.no_faults else 0
    return int(failures > 0 or faults > 0)


def _parser(command: Command) -> argparse.ArgumentParser:
    usual = command.usual
    parser = argparse.ArgumentParser(prog=f"python -m {command.module}", description=command.does)
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
    parser.add_argument("--name", default=command.name, help="of the files in benchmarks/results")
    parser.add_argument("--baseline", type=Path, default=command.baseline, help="results to compare with")
    return parser


def _effort(command: Command, given: argparse.Namespace) -> Effort:
    names = [field.name for field in attrs.fields(Effort)]
    said = {name: value for name in names if (value := getattr(given, name, None)) is not None}
    return attrs.evolve(command.quick if given.quick else command.usual, **said)


def _tell(measured: Measured, *, seconds: float) -> None:
    first, *further = (figure.name for figure in measured.bench.figures)
    names = f"{first} and {len(further)} more" if further else first
    if measured.cannot is not None:
        print(f"{names}: cannot be measured here: {measured.cannot}", file=sys.stderr)
    elif measured.failed is not None:
        print(f"{names}: failed:\n{measured.failed}", file=sys.stderr)
    else:
        print(f"{names}: {measured.seconds:.0f} s, {seconds:.0f} s in all", file=sys.stderr)
