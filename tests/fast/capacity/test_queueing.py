"""How long requests wait, against hand-computed values and the equations of the states."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.capacity.queueing import (
    Service,
    erlang_b,
    erlang_c,
    mean_waiting_seconds,
    refused_share,
    waiting_seconds,
)

_EXPONENTIAL = Service(mean_seconds=1.0, variation=1.0)


@pytest.mark.parametrize(
    ("servers", "load", "blocked", "waiting"),
    [
        (1, 0.5, 1 / 3, 1 / 2),
        (2, 1.0, 1 / 5, 1 / 3),
        (3, 2.0, 4 / 19, 4 / 9),
        (10, 0.0, 0.0, 0.0),
    ],
)
def test_the_formulas_of_erlang(servers: int, load: float, blocked: float, waiting: float) -> None:
    """By hand: B = (a^c / c!) / sum a^k / k!, and C = B / (1 - a / c (1 - B))."""
    assert erlang_b(servers, load) == pytest.approx(blocked)
    assert erlang_c(servers, load) == pytest.approx(waiting)


def test_one_server_is_the_textbook_case() -> None:
    """M/M/1 at a utilization of one half: on average as long as one service, and 1 of 100 longer than ln 50 times 2."""
    assert mean_waiting_seconds(1, 0.5, _EXPONENTIAL) == pytest.approx(1.0)
    assert waiting_seconds(1, 0.5, _EXPONENTIAL, quantile=0.99) == pytest.approx(2 * math.log(50))


def test_services_that_do_not_vary_halve_the_waiting() -> None:
    """M/D/1 waits half as long as M/M/1 (Pollaczek and Khinchine), which is exact here."""
    assert mean_waiting_seconds(1, 0.5, Service(mean_seconds=1.0, variation=0.0)) == pytest.approx(0.5)


def test_a_mix_of_kinds_varies() -> None:
    """One in two takes 1, one in two takes 3: the mean is 2, the square's is 5, so Cs² is 5/4 - 1."""
    service = Service.of_mix([(10, 1.0), (10, 3.0), (0, 99.0)])

    assert [service.mean_seconds, service.variation] == pytest.approx([2.0, 0.25])


def test_more_than_the_servers_can_do_waits_for_ever() -> None:
    """No figure would be honest there."""
    assert waiting_seconds(2, 2.0, _EXPONENTIAL, quantile=0.99) == math.inf
    assert mean_waiting_seconds(2, 2.5, _EXPONENTIAL) == math.inf


@given(st.integers(1, 20), st.floats(0.01, 60), st.integers(0, 40))
def test_the_share_of_refused_is_that_of_the_states(servers: int, load: float, places: int) -> None:
    """The probability of the full state, from the weights of all states of M/M/c/K."""
    weights = [1.0]
    for state in range(1, servers + places + 1):
        weights.append(weights[-1] * load / min(state, servers))

    assert refused_share(servers, load, places) == pytest.approx(weights[-1] / sum(weights), rel=1e-6, abs=1e-12)


@given(st.integers(1, 50), st.floats(0, 49))
def test_probabilities_are_probabilities_and_more_servers_never_hurt(servers: int, load: float) -> None:
    """Between 0 and 1, and B is never above C."""
    assert 0 <= erlang_b(servers, load) <= erlang_c(servers, load) <= 1
    assert erlang_c(servers + 1, load) <= erlang_c(servers, load)
