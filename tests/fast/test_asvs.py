"""The markers of the tests and the page about the standard agree."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import pytest

from docs.asvs import NOT_APPLICABLE, ROWS, marked_tests, standing

_GIVEN: Final = Path(__file__).parents[3] / "shared" / "asvs.csv"
_DOCS: Final = Path(__file__).parents[2] / "docs"


def test_a_marker_names_a_row_that_has_a_statement() -> None:
    """What a test is said to show is on the page."""
    assert set(marked_tests()) - set(ROWS) == set()


def test_a_row_is_shown_by_a_test_or_says_why_not() -> None:
    """No row is claimed without one."""
    silent = [
        name for name, row in ROWS.items() if name not in marked_tests() and not (row.short or row.page or row.outside)
    ]

    assert silent == []
    assert [row.page for row in ROWS.values() if row.page and not (_DOCS / row.page).exists()] == []


def test_no_row_is_listed_twice() -> None:
    """A row has a statement or a reason to have none."""
    without = [row for rows in NOT_APPLICABLE.values() for row in rows.split()]

    assert len(without) == len(set(without))
    assert set(without) & set(ROWS) == set()


def test_a_row_in_part_is_not_called_met() -> None:
    """What falls short is said beside the tests."""
    (name, row) = next((name, row) for name, row in ROWS.items() if row.short)

    assert row.short in standing(row, ["a test"]), name
    assert standing(row, []).startswith("**not met**")


@pytest.mark.skipif(not _GIVEN.parent.exists(), reason="the list of rows is in ../shared, which is not here")
def test_every_row_of_the_first_level_that_can_be_tested_is() -> None:
    """And every row of the first two levels is on the page."""
    with _GIVEN.open(encoding="utf-8", newline="") as file:
        given = {row["asvs_id"].removeprefix("V"): row for row in csv.DictReader(file)}
    without = {row for rows in NOT_APPLICABLE.values() for row in rows.split()}
    tested = set(marked_tests())

    assert [
        name for name, row in given.items() if row["level"] in "12" and name not in without and name not in ROWS
    ] == []
    assert [name for name, row in ROWS.items() if given[name]["level"] != str(row.level)] == []
    assert [
        name
        for name, row in given.items()
        if row["level"] == "1" and row["status"] in {"T", "L"} and name not in tested
    ] == []
