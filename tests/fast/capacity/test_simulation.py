"""A simulated day: replicas follow the load, what cannot be carried is refused, and nothing is lost on the way."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.figures.scale_out import simulated
from userservice_core.capacity.autoscaler import Specification
from userservice_core.capacity.queueing import Service, waiting_seconds
from userservice_core.capacity.scaling_law import ScalingLaw
from userservice_core.capacity.simulation import (
    DAY_SECONDS,
    AutoscalerMetrics,
    Moment,
    PodModel,
    Sale,
    day_of,
    simulate,
    summarize,
)

_LAW = ScalingLaw(one=1.0)
_POD = PodModel(
    processors=1.0,
    service=Service(mean_seconds=0.01, variation=1.0),
    start_seconds=20.0,
    longest_wait_seconds=1.0,
)
_FIXED = Specification(least=2, most=2)
_METRICS = AutoscalerMetrics(utilization=0.7)


def _simulate(
    rates: list[float], *, specification: Specification = _FIXED, pod: PodModel = _POD, law: ScalingLaw = _LAW
) -> list[Moment]:
    return simulate(rates, step_seconds=5, pod=pod, specification=specification, metrics=_METRICS, law=law)


def test_a_steady_load_waits_as_the_queue_says() -> None:
    """Two pods of 100 requests a second, 150 of which come: M/M/2 at three quarters, and nothing refused."""
    moment = _simulate([150.0] * 10)[-1]

    assert moment.utilization == pytest.approx(0.75)
    assert moment.wait_seconds == pytest.approx(waiting_seconds(2, 150.0, _POD.service, quantile=0.99))
    assert moment.latency_seconds == pytest.approx(moment.wait_seconds + 0.01)
    assert moment.refused == pytest.approx(0, abs=1e-6)


def test_what_is_more_than_the_pods_can_do_waits_and_is_then_refused() -> None:
    """300 a second for two pods of 100 each: after the first second's worth of waiting, 100 a second are refused."""
    first, *_, last = _simulate([300.0] * 10)

    assert first.wait_seconds == pytest.approx(1.0)
    assert last.refused == pytest.approx(100.0)
    assert last.wait_seconds == pytest.approx(1.0)
    assert last.utilization == pytest.approx(1.0)


def test_a_new_pod_serves_when_it_has_started() -> None:
    """The autoscaler decides at 15 seconds, and its pods serve 20 seconds after that."""
    moments = _simulate([190.0] * 40, specification=Specification(least=2, most=10))
    wanted = next(moment.at_seconds for moment in moments if moment.replicas > 2)
    served = next(moment.at_seconds for moment in moments if moment.ready > 2)

    assert (wanted, served) == (15.0, 35.0)
    assert moments[-1].utilization <= 0.7 * 1.1


def test_workers_that_slow_each_other_down_carry_less() -> None:
    """With a contention of one half, two pods do what 4/3 of one do."""
    moment = _simulate([120.0] * 5, law=ScalingLaw(one=1.0, contention=0.5))[-1]

    assert moment.utilization == pytest.approx(120 / (100 * 4 / 3))


def test_a_day_with_a_sale_is_carried_by_pods_that_come_and_go() -> None:
    """Pods come within the ramp, and are gone some minutes after the sale; a slower start refuses more."""
    sale = Sale(at_seconds=12 * 3600, factor=4, ramp_seconds=120, height_seconds=1800)
    rates = day_of(peak=300.0, night=0.15, sale=sale, step_seconds=5)
    specification = Specification(least=2, most=30)
    moments = _simulate(rates, specification=specification)
    slow = _simulate(rates, specification=specification, pod=attrs.evolve(_POD, start_seconds=240.0))
    at_night = [moment for moment in moments if moment.at_seconds < 6 * 3600]
    in_sale = [moment for moment in moments if 12.2 * 3600 < moment.at_seconds < 12.4 * 3600]
    afterwards = [moment for moment in moments if 13 * 3600 < moment.at_seconds < 14 * 3600]

    assert len(moments) == DAY_SECONDS // 5
    assert {moment.replicas for moment in at_night} == {2}
    # At noon there are 300 x (0.15 + 0.85 x 3/4) requests a second, and four times that in the sale: 945.
    assert min(moment.replicas for moment in in_sale) >= 945 / 100 / 0.7 / 1.1
    assert max(moment.utilization for moment in in_sale) < 0.8
    assert max(moment.replicas for moment in afterwards) <= 6
    refused = [summarize(day, step_seconds=5, wanted_wait_seconds=0.1).refused_share for day in (moments, slow)]
    assert 0 < refused[0] < 0.01
    assert refused[0] < refused[1]


def test_a_summary_counts_pods_by_the_hour_and_changes() -> None:
    """Two pods for an hour are two hours of pods."""
    moments = _simulate([10.0] * 720)
    summary = summarize(moments, step_seconds=5, wanted_wait_seconds=0.1)

    assert summary.pod_hours == pytest.approx(2.0)
    assert summary.requests == pytest.approx(36_000)
    assert (summary.changes, summary.most_replicas) == (0, 2)
    assert [summary.refused_share, summary.slow_share] == pytest.approx([0, 0], abs=1e-9)


@settings(max_examples=40)
@given(st.lists(st.floats(0, 2000), min_size=1, max_size=60), st.integers(1, 4), st.integers(4, 12))
def test_every_request_is_served_or_refused_or_waits(rates: list[float], least: int, most: int) -> None:
    """Whatever comes, the sums agree, utilization is at most all, and waiting at most what is allowed."""
    moments = _simulate(rates, specification=Specification(least=least, most=most))
    served = sum(moment.utilization * moment.ready * 100 * 5 for moment in moments)
    refused = sum(moment.refused * 5 for moment in moments)
    came = sum(rates) * 5

    assert served + refused <= came * (1 + 1e-9) + 1e-6
    assert served + refused >= came - most * 100 * 1.0 - 1e-6  # what still waits at the end
    for moment in moments:
        assert least <= moment.replicas <= most
        assert 0 <= moment.ready <= moment.replicas
        assert 0 <= moment.utilization <= 1 + 1e-9
        assert 0 <= moment.wait_seconds <= 1 + 1e-9
        assert moment.refused >= 0


def test_a_day_is_least_at_four_in_the_morning_and_highest_twelve_hours_later() -> None:
    """Its night is the share that was asked for."""
    rates = day_of(peak=100.0, night=0.2, sale=None, step_seconds=3600)

    assert rates[4] == pytest.approx(20.0)
    assert rates[16] == pytest.approx(100.0)
    assert math.isclose(max(rates), rates[16])


@pytest.mark.parametrize("units", [2, 4])
def test_more_workers_than_were_measured_are_foretold_by_one(units: int) -> None:
    """Asked for more than they can do, workers that share nothing do so many times what one did."""
    assert simulated(units, one=12.5) == pytest.approx(units * 12.5)
