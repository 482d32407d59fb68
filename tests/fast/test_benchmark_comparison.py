"""What a comparison with another commit says of measured rounds; not what they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare import Change, changes, ratios_of, table_of
from benchmarks.figure import Figure, Result, Round
from benchmarks.report import entry_of

_ROUNDS = st.lists(st.floats(0.01, 100), min_size=1, max_size=9)


def _one(before: list[float], after: list[float]) -> Change:
    (change,) = changes({"read": before}, {"read": after})
    return change


def test_what_gave_less_in_every_round_is_slower() -> None:
    """By as much as the round in the middle says, however the machine was at the time."""
    change = _one([0.80, 0.40, 0.60, 0.50, 0.70], [0.72, 0.36, 0.54, 0.45, 0.63])

    assert (change.before, change.after) == (0.60, 0.54)
    assert change.by == pytest.approx(-0.10)
    assert [change.least, change.most] == pytest.approx([-0.10, -0.10])
    assert change.verdict(tolerance=0.03) == "slower"
    assert change.verdict(tolerance=0.2) == "as before"


def test_what_gave_now_more_and_now_less_is_as_before() -> None:
    """An interval that holds no change at all says nothing, whatever the median is."""
    change = _one([0.5] * 7, [0.6, 0.6, 0.6, 0.6, 0.4, 0.4, 0.4])

    assert change.by == pytest.approx(0.2)
    assert change.least < 0 < change.most
    assert change.verdict(tolerance=0.03) == "as before"


def test_what_should_be_little_is_slower_when_it_is_more() -> None:
    """Of a time or of memory, less is better."""
    (change,) = changes({"wait": [1.0, 2.0]}, {"wait": [1.25, 2.5]}, little={"wait"})

    assert change.by == pytest.approx(-0.2)
    assert change.verdict(tolerance=0.03) == "slower"


@given(_ROUNDS, st.floats(0.1, 10))
def test_a_factor_is_found_again(before: list[float], factor: float) -> None:
    """With no doubt, if it is the same in every round; and seen from the other side it is its reciprocal."""
    after = [factor * ratio for ratio in before]

    there, back = _one(before, after), _one(after, before)

    assert 1 + there.by == pytest.approx(factor)
    assert 1 + there.least == pytest.approx(factor)
    assert 1 + there.most == pytest.approx(factor)
    assert 1 + back.by == pytest.approx(1 / factor)


@given(_ROUNDS.flatmap(lambda before: st.tuples(st.just(before), st.permutations(before))))
def test_the_interval_holds_the_median_and_is_the_same_again(rounds: tuple[list[float], list[float]]) -> None:
    """It is drawn, but always alike."""
    change = _one(*rounds)

    assert change.least <= change.by <= change.most
    assert _one(*rounds) == change


def test_figures_of_one_side_are_left_out_and_rounds_have_to_match() -> None:
    """A figure that is new has nothing to be compared with."""
    assert changes({"gone": [1.0]}, {"new": [1.0]}) == ()
    with pytest.raises(ValueError, match="shorter"):
        changes({"read": [1.0, 1.0]}, {"read": [1.0]})


def test_a_result_is_read_as_ratios_and_the_table_tells_the_verdict() -> None:
    """Each round by its own limit."""
    read = Figure(name="read", title="a read", unit="1/s", limit="the least")
    size = Figure(name="size", title="a size, which has no limit", unit="B")
    rounds = (Round(value=50.0, limit=100.0), Round(value=90.0, limit=100.0))
    results = (Result(figure=read, rounds=rounds), Result(figure=size, rounds=(Round(value=1.0),)))

    ratios = ratios_of(entry_of(result, versions={}) for result in results)
    table = table_of(changes(ratios, {"read": [0.25, 0.45]}), tolerance=0.03)

    assert ratios == {"read": [0.5, 0.9]}
    assert table.splitlines()[1].split() == ["read", "0.700", "0.350", "-50.0%", "-50.0%", "…", "-50.0%", "slower"]
