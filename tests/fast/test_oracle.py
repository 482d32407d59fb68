"""What judges a run with faults sees each fault."""

from __future__ import annotations

import pytest

from tests.endurance.oracle import Witnessed, compared
from tests.soak.outcomes import Tally

_A1, _A2, _A3 = (Witnessed(f"a{number}", "users", "a", number) for number in (1, 2, 3))
_B1 = Witnessed("b1", "users", "b", 1)
_FREE = Witnessed("free", "auth", "x", None)
_ALL = (_A1, _A2, _A3, _B1, _FREE)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ((_B1, *_ALL[:3], _FREE), Tally()),
        ((_A1, _A2, _A1, _A2, _A3, _B1, _FREE), Tally(doubled=2)),
        ((_A2, _A1, _A3, _B1, _FREE), Tally(inversions=1)),
        ((_A3, _A1, _A2, _B1, _FREE), Tally(inversions=2)),
        ((_A1, _A3, _B1), Tally(lost=2)),
        ((*_ALL, Witnessed("ghost", "users", "a", 4)), Tally(ghosts=1)),
        ((_A1, _A2, _A3, _B1, Witnessed("free", "users", "x", None)), Tally(lost=1, ghosts=1)),
    ],
)
def test_what_differs_is_counted(seen: tuple[Witnessed, ...], expected: Tally) -> None:
    """Keys by themselves, and repeats where there are to be none."""
    assert compared(_ALL, seen, may_repeat=False) == expected


def test_repeats_are_allowed_after_a_first_occurrence() -> None:
    """In a topic, though not among effects."""
    assert compared(_ALL, (*_ALL, _A1, _A3), may_repeat=True) == Tally()
