"""The universal scalability law, and fitting it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.capacity.scaling_law import ScalingLaw


@given(st.floats(1, 1000), st.floats(0, 0.5), st.floats(0, 0.01))
def test_what_follows_the_law_is_found_again(one: float, contention: float, coherency: float) -> None:
    """From five exact points."""
    law = ScalingLaw(one=one, contention=contention, coherency=coherency)
    fitted = ScalingLaw.fit({units: law.throughput(units) for units in (1, 2, 4, 8, 16)})

    assert fitted.one == pytest.approx(one, rel=1e-6)
    assert fitted.contention == pytest.approx(contention, abs=1e-6)
    assert fitted.coherency == pytest.approx(coherency, abs=1e-6)


@given(st.dictionaries(st.integers(1, 64), st.floats(0.1, 1e5), min_size=1, max_size=6))
def test_nothing_measured_makes_units_help_each_other(measured: dict[int, float]) -> None:
    """However noisy it was, no coefficient is below 0, so a plan never counts on more than linear growth."""
    law = ScalingLaw.fit(measured)

    assert law.one > 0
    assert law.contention >= 0
    assert law.coherency >= 0


def test_one_point_is_linear_and_two_have_contention() -> None:
    """As many coefficients as points: 2 units that do 1.8 have a contention of 1/9."""
    assert ScalingLaw.fit({1: 10.0}) == ScalingLaw(one=10.0)
    law = ScalingLaw.fit({1: 10.0, 2: 18.0})
    assert [law.one, law.contention, law.coherency] == pytest.approx([10, 1 / 9, 0])


def test_how_many_units_are_best() -> None:
    """The square root of (1 - contention) / coherency; none is too many without coherency."""
    assert ScalingLaw(one=1, contention=0.19, coherency=0.01).best_units == pytest.approx(9)
    assert ScalingLaw(one=1, contention=0.5).best_units == math.inf
