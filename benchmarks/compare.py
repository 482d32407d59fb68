"""
Tell what got slower since another commit: ``python -m benchmarks.compare REF``, which ``make bench-compare REF=`` runs.

Both commits are measured on this machine by the benchmarks that are here, with the libraries that are installed here, a
round of one and a round of the other in turn. What is compared is not what a round gave but its ratio to the limit of
the same round, so that a machine that is busier for a while slows nothing down. The uncertainty is that of the median
over the rounds, by bootstrap (Efron 1979, percentile interval).
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from benchmarks.figures import all_figures
from benchmarks.report import read_document, result_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

_HERE: Final = Path(__file__).parents[1]
_CONFIDENCE: Final = 0.95
_SAMPLES: Final = 10_000
_RESULT: Final = "compared"
_KEY_ROUTES: Final = "users-me-16,admin-user-16,login-right-16,login-wrong-16"

Ratios = dict[str, list[float]]
"""By figure, the ratio to its limit in each round."""


@attrs.frozen(kw_only=True)
class Change:
    """
    How one figure changed.

    Attributes:
        before: Its ratio to its limit, the median over the rounds of the other commit.
        after: The same here.
        by: The part by which a round here was better than the one beside it, the median; 0.1 is ten percent more of
            what should be much.
        least: The lower end of the interval that holds it with 95 %.
        most: The upper end.
    """

    figure: str
    before: float
    after: float
    by: float
    least: float
    most: float

    def verdict(self, *, tolerance: float) -> str:
        """Return `slower` or `faster` where all of the interval says so, and it is by more than *tolerance*."""
        if self.most < 0 and self.by < -tolerance:
            return "slower"
        if self.least > 0 and self.by > tolerance:
            return "faster"
        return "as before"


def changes(
    before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], *, little: Collection[str] = ()
) -> tuple[Change, ...]:
    """
    Compare the figures that both have, round by round.

    Args:
        little: Figures that are the better, the smaller they are.

    Raises:
        ValueError: If a figure has not as many rounds there as here, or none.
    """
    return tuple(
        _change(figure, before[figure], rounds, sign=-1 if figure in little else 1)
        for figure, rounds in after.items()
        if figure in before
    )


def _change(figure: str, before: Sequence[float], after: Sequence[float], *, sign: int) -> Change:
    logarithms = [sign * math.log(new / old) for old, new in zip(before, after, strict=True)]
    # The same rounds give the same interval.
    chance = random.Random(figure)  # noqa: S311 - no secret
    medians = sorted(statistics.median(chance.choices(logarithms, k=len(logarithms))) for _ in range(_SAMPLES))
    cut = round(_SAMPLES * (1 - _CONFIDENCE) / 2)
    return Change(
        figure=figure,
        before=statistics.median(before),
        after=statistics.median(after),
        by=math.expm1(statistics.median(logarithms)),
        least=math.expm1(medians[cut]),
        most=math.expm1(medians[-cut - 1]),
    )


def table_of(found: Iterable[Change], *, tolerance: float) -> str:
    """Return the changes as lines of a table."""
    lines = [f"{'figure':<26} {'before':>7} {'after':>7} {'change':>8} {'95 % interval':>19}  verdict"]
    lines += [
        f"{change.figure:<26} {change.before:>7.3f} {change.after:>7.3f} {change.by:>+8.1%}"
        f" {change.least:>+8.1%} … {change.most:>+8.1%}  {change.verdict(tolerance=tolerance)}"
        for change in found
    ]
    return "\n".join(lines)


def ratios_of(entries: Iterable[Mapping[str, Any]]) -> Ratios:
    """Return the ratios in what a run of the benchmarks wrote, of the figures that have a limit."""
    return {result.figure.name: list(result.ratios) for result in map(result_of, entries) if result.ratios}


def main() -> int:
    """Measure, print; return 1 if something got slower."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.strip().splitlines()[0])
    parser.add_argument("ref", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=7, help="of each commit")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement of a load")
    parser.add_argument("--only", default=_KEY_ROUTES, help="names of figures, or what they begin with")
    parser.add_argument("--tolerance", type=float, default=3.0, help="percent that are not spoken of")
    given = parser.parse_args()
    options = ["--seconds", str(given.seconds), "--only", given.only]
    before, after = _measured(given.ref, rounds=given.rounds, options=options)
    tolerance = given.tolerance / 100
    little = {figure.name for figure in all_figures() if figure.goal is not None and not figure.goal.is_least}
    found = changes(before, after, little=little)
    print(table_of(found, tolerance=tolerance))
    for name in sorted(before.keys() ^ after.keys()):
        print(f"{name}: only {'there' if name in before else 'here'}")
    return int(any(change.verdict(tolerance=tolerance) == "slower" for change in found))


def _measured(ref: str, *, rounds: int, options: Sequence[str]) -> tuple[Ratios, Ratios]:
    """Return the ratios there and here, of rounds in turn."""
    before: Ratios = defaultdict(list)
    after: Ratios = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="userservice-compare-") as folder:
        there = Path(folder) / "there"
        _git("worktree", "add", "--detach", "--quiet", str(there), ref)
        try:
            _bring_benchmarks(there)
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", file=sys.stderr)
                for checkout, ratios in ((there, before), (_HERE, after)):
                    for figure, values in ratios_of(_round(checkout, options)).items():
                        ratios[figure] += values
        finally:
            _git("worktree", "remove", "--force", str(there))
    return before, after


def _bring_benchmarks(checkout: Path) -> None:
    """Let what measures be the same on both sides, and what an older commit has never had be measured there too."""
    for package in ("benchmarks", "tests/servers"):
        shutil.rmtree(checkout / package, ignore_errors=True)
        shutil.copytree(_HERE / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))


def _round(checkout: Path, options: Sequence[str]) -> list[dict[str, Any]]:
    # In its folder, a checkout's packages go before those that are installed.
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--name", _RESULT, *options]
    result = checkout / "benchmarks" / "results" / f"{_RESULT}.json"
    result.unlink(missing_ok=True)
    try:
        # What cannot be measured on one side is told as being only on the other.
        subprocess.run(command, cwd=checkout, check=False, stdout=subprocess.DEVNULL)
        return read_document(result)
    finally:
        for file in (result, result.with_suffix(".html")):
            file.unlink(missing_ok=True)


def _git(*arguments: str) -> None:
    git = shutil.which("git")
    if git is None:
        sys.exit("git is not installed")
    subprocess.run([git, *arguments], cwd=_HERE, check=True)


if __name__ == "__main__":
    sys.exit(main())
