"""The checks at length count what they tried, and say how to try it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.soak.__main__ import main, run
from tests.soak.outcomes import Part, Tally, Trial, upper_bound
from tests.soak.parts import PARTS

if TYPE_CHECKING:
    from tests.soak.outcomes import Trials


def _part(*trials: tuple[int, Trial]) -> Part:
    def of_a_round() -> Trials:
        yield from trials

    return Part("sample", of_a_round)


def _line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_each_part_has_a_name_of_its_own() -> None:
    """By which it is asked for."""
    names = [part.name for part in PARTS]

    assert len(set(names)) == len(names)


def test_a_part_that_does_not_exist_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Instead of running nothing and reporting success."""
    monkeypatch.setenv("ONLY", "no-such-part")

    assert main() == 2
    assert PARTS[0].name in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "is_meant"), [("events-kills", True), ("events", True), ("event", False), ("kills", False)]
)
def test_parts_of_an_area_are_asked_for_together(name: str, *, is_meant: bool) -> None:
    """By the word that their names begin with."""
    assert Part("events-kills", _part().trials).is_meant_by(name) == is_meant


def test_a_part_says_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """One line of JSON; a failure is told with its cause, and the other trials go on."""
    seeds = []

    def fails(*, seed: int) -> None:
        raise AssertionError(f"no luck with {seed}")

    def passes(*, seed: int) -> None:
        seeds.append(seed)

    has_failed = run(_part((2, fails), (3, passes)), seed=7, seconds=0)
    printed = capsys.readouterr()
    line = json.loads(printed.out)

    assert has_failed
    assert seeds == [7]
    assert (line["name"], line["trials"], line["failures"], line["seed"], line["rounds"]) == ("sample", 5, 1, 7, 1)
    assert "no luck with 7" in printed.err


def test_what_a_trial_counts_is_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is lost, doubled, there without a cause or out of order is a failure of its trial."""
    tallies = [
        Tally(),
        Tally(lost=1, doubled=2),
        Tally(ghosts=3, trials=10),
        Tally(inversions=4, figures={"wait_ms": 5.0}),
    ]

    def counting(tally: Tally) -> Trial:
        return lambda *, seed: tally if seed else None

    has_failed = run(_part(*((1, counting(tally)) for tally in tallies)), seed=1, seconds=0)
    line = _line(capsys)

    assert has_failed
    assert [line[name] for name in ("trials", "failures", "lost", "doubled", "ghosts", "inversions")] == [
        *(13, 3),
        *(1, 2, 3, 4),
    ]
    assert line["figures"] == {"wait_ms": 5.0}


def test_a_figure_that_is_not_what_it_has_to_be_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """And is told all the same."""

    def trials() -> Trials:
        yield 3, lambda *, seed: Tally(failed=True, figures={"auc": seed / 10})

    assert run(Part("sample", trials), seed=7, seconds=0)
    line = json.loads(capsys.readouterr().out)
    assert (line["trials"], line["failures"], line["figures"]) == (3, 1, {"auc": 0.7})


def test_what_is_clean_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """The bound is that of no failure in as many trials; the test that runs such a trial asks for the same."""
    has_failed = run(_part((1000, lambda *, seed: Tally() if seed else None)), seed=1, seconds=0)
    Tally().require_clean()

    with pytest.raises(AssertionError):
        Tally(lost=1).require_clean()
    assert not has_failed
    assert _line(capsys)["upper95"] == pytest.approx(0.003, rel=0.01)


def test_servers_of_a_part_are_stopped_when_its_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Though its trials have not ended."""
    closed = []

    def endless() -> Trials:
        try:
            while True:
                yield 1, lambda *, seed: seed
        finally:
            closed.append(True)

    run(Part("sample", endless), seed=1, seconds=0.01)

    assert closed == [True]
    assert _line(capsys)["trials"] >= 1


@pytest.mark.parametrize(
    ("failures", "trials", "expected"),
    # From the beta quantile, to five digits.
    [(0, 60, 0.048703), (0, 3000, 0.00099808), (1, 10, 0.39416), (5, 100, 0.10225), (3, 3, 1.0), (0, 0, 1.0)],
)
def test_the_bound_is_that_of_clopper_and_pearson(failures: int, trials: int, expected: float) -> None:
    """One-sided, at 95 %."""
    assert upper_bound(failures, trials) == pytest.approx(expected, rel=1e-4)
