"""The checks at length count what they tried, and say how to try it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.soak.__main__ import main, run
from tests.soak.parts import PARTS, Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.soak.parts import Trial


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


def test_a_part_says_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """One line of JSON; a failure is told with its cause, and the other trials go on."""
    seeds = []

    def trials() -> Iterator[tuple[int, Trial]]:
        yield 2, fails
        yield 3, passes

    def fails(*, seed: int) -> None:
        raise AssertionError(f"no luck with {seed}")

    def passes(*, seed: int) -> None:
        seeds.append(seed)

    has_failed = run(Part("sample", trials), seed=7, seconds=0)
    printed = capsys.readouterr()
    line = json.loads(printed.out)

    assert has_failed
    assert seeds == [7]
    assert (line["name"], line["trials"], line["failures"], line["seed"], line["rounds"]) == ("sample", 5, 1, 7, 1)
    assert "no luck with 7" in printed.err
