"""The autoscaler's decisions, against what Kubernetes documents, computed by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.capacity.autoscaler import (
    SCALE_DOWN,
    SCALE_UP,
    Autoscaler,
    ExternalMetric,
    Metric,
    Pod,
    PodMetric,
    Policy,
    PolicyKind,
    Rules,
    Select,
    Specification,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_AT_ONCE = Rules(stabilization_seconds=0, policies=(Policy(PolicyKind.PERCENT, 900, 15),))
_DOWN_AT_ONCE = Rules(stabilization_seconds=0, policies=(Policy(PolicyKind.PERCENT, 100, 15),))
_FREE = Specification(least=1, most=1000, scale_up=_AT_ONCE, scale_down=_DOWN_AT_ONCE)


def _cpu(*usages: float | None, target: float = 0.5, more: Sequence[Pod] = ()) -> PodMetric:
    return PodMetric(pods=(*(Pod(usage=usage) for usage in usages), *more), target=target, is_cpu=True)


def _decision(current: int, *metrics: Metric, specification: Specification = _FREE) -> int:
    return Autoscaler(specification).decide(0.0, current, metrics)


def test_twice_the_wanted_value_doubles_and_half_of_it_halves() -> None:
    """The documentation's own example: 200m where 100m are wanted, and 50m."""
    assert _decision(4, _cpu(*[0.2] * 4, target=0.1)) == 8
    assert _decision(4, _cpu(*[0.05] * 4, target=0.1)) == 2
    assert _decision(50, _cpu(*[0.90] * 50, target=0.75)) == 60


def test_nothing_changes_within_a_tenth() -> None:
    """The tolerance: 55 and 45 % where 50 are wanted are left alone, 56 and 44 are not."""
    assert [_decision(10, _cpu(*[usage] * 10)) for usage in (0.55, 0.45)] == [10, 10]
    assert [_decision(10, _cpu(*[usage] * 10)) for usage in (0.56, 0.44)] == [12, 9]


def test_the_tolerance_can_be_another_one_in_each_direction() -> None:
    """`behavior.scaleUp.tolerance` and `scaleDown.tolerance`."""
    specification = attrs.evolve(
        _FREE, scale_up=attrs.evolve(_AT_ONCE, tolerance=0.0), scale_down=attrs.evolve(_DOWN_AT_ONCE, tolerance=0.3)
    )

    assert _decision(10, _cpu(*[0.51] * 10), specification=specification) == 11
    assert _decision(10, _cpu(*[0.36] * 10), specification=specification) == 10


def test_pods_without_a_value_are_counted_against_the_change() -> None:
    """
    Up: as if idle. Two pods at 100 % and one unknown: 200 / 3 is 4/3 of 50 %, times 3 is 4 in place of 6.

    Down: as if they used all they asked for. Three at 20 % and one unknown: 160 / 4 is 40 %, and 0.8 times 4 is 4.
    """
    assert _decision(3, _cpu(1.0, 1.0, None)) == 4
    assert _decision(4, _cpu(0.2, 0.2, 0.2, None)) == 4
    assert _decision(5, _cpu(0.1, 0.1, 0.1, 0.1, None)) == 3


def test_pods_without_a_value_do_not_turn_the_direction() -> None:
    """One at 60 % and two unknown would be 20 % on average, and so fewer; nothing is done then."""
    assert _decision(3, _cpu(0.6, None, None)) == 3


def test_pods_that_start_count_as_idle_on_the_way_up_and_not_at_all_on_the_way_down() -> None:
    """Two at 100 %, two starting: 200 / 4 is the wanted 50 %, so nothing. Two at 20 %: 0.4 times 2 is 1."""
    starting = [Pod(usage=3.0, age_seconds=20.0, is_ready=False, condition_age_seconds=20.0)] * 2

    assert _decision(4, _cpu(1.0, 1.0, more=starting)) == 4
    assert _decision(4, _cpu(0.2, 0.2, more=starting)) == 1


@pytest.mark.parametrize(
    ("pod", "is_set_aside"),
    [
        (Pod(usage=None, age_seconds=None), True),  # pending
        (Pod(usage=1.0, age_seconds=100.0, is_ready=False, condition_age_seconds=90.0), True),
        (Pod(usage=1.0, age_seconds=100.0, condition_age_seconds=10.0), True),  # measured before it was ready
        (Pod(usage=1.0, age_seconds=100.0, condition_age_seconds=40.0), False),
        (Pod(usage=1.0, age_seconds=400.0, is_ready=False, condition_age_seconds=390.0), True),  # never ready
        (Pod(usage=1.0, age_seconds=400.0, is_ready=False, condition_age_seconds=50.0), False),  # no longer ready
        (Pod(usage=1.0, age_seconds=400.0), False),
    ],
)
def test_which_pods_are_not_yet_counted(pod: Pod, *, is_set_aside: bool) -> None:
    """The initialization period of 5 minutes, and the 30 seconds in which a pod may first become ready."""
    assert pod.is_set_aside(is_cpu=True) is is_set_aside


def test_a_pod_that_failed_is_not_there() -> None:
    """Nor is one that is being deleted."""
    assert _decision(3, _cpu(0.5, 0.5, more=[Pod(usage=9.0, is_failed=True)])) == 3


def test_the_most_that_a_metric_asks_for_is_done() -> None:
    """The processor asks for 2 and the lag for 5; without the lag's value nothing is taken away, but more is added."""
    lag = ExternalMetric(value=5000.0, target=1000.0)

    assert _decision(4, _cpu(*[0.25] * 4), lag) == 5
    assert _decision(4, _cpu(*[0.25] * 4), ExternalMetric(value=None, target=1000.0)) == 4
    assert _decision(4, _cpu(*[1.0] * 4), ExternalMetric(value=None, target=1000.0)) == 8
    assert _decision(4, ExternalMetric(value=None, target=1000.0)) == 4


def test_an_average_of_an_external_value() -> None:
    """4,200 for 4 replicas of 1,000 is within a tenth; 4,500 is not, and takes 5."""
    assert _decision(4, ExternalMetric(value=4200.0, target=1000.0)) == 4
    assert _decision(4, ExternalMetric(value=4500.0, target=1000.0)) == 5


def test_replicas_go_at_most_by_four_pods_or_a_tenth_a_minute() -> None:
    """The documentation's example: 80 pods, 10 wanted; 8 go, 8 of 72 (7.2 rounded up), and so on, at last 4 each."""
    rules = Rules(
        stabilization_seconds=0, policies=(Policy(PolicyKind.PODS, 4, 60), Policy(PolicyKind.PERCENT, 10, 60))
    )
    autoscaler = Autoscaler(Specification(least=10, most=100, scale_down=rules))
    replicas, seen = 80, []
    for minute in range(15):
        for tick in range(4):
            replicas = autoscaler.decide(60.0 * minute + 15 * tick, replicas, [_cpu(*[0.01] * replicas)])
        seen.append(replicas)

    assert seen == [72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16, 12, 10, 10]


def test_the_least_change_and_no_change() -> None:
    """`selectPolicy: Min` takes the policy that changes least; `Disabled` changes nothing."""
    policies = (Policy(PolicyKind.PODS, 4, 60), Policy(PolicyKind.PERCENT, 10, 60))
    least = Rules(stabilization_seconds=0, policies=policies, select=Select.MIN)
    disabled = attrs.evolve(least, select=Select.DISABLED)

    down = _cpu(*[0.01] * 80)
    assert _decision(80, down, specification=attrs.evolve(_FREE, scale_down=least)) == 76
    assert _decision(80, down, specification=attrs.evolve(_FREE, scale_down=disabled)) == 80
    assert _decision(80, _cpu(*[5.0] * 80), specification=attrs.evolve(_FREE, scale_up=least)) == 84


def test_by_default_four_pods_or_as_many_again_come_each_fifteen_seconds() -> None:
    """1, 5, 10, 20 and so on up to the most."""
    autoscaler, replicas, seen = Autoscaler(Specification(least=1, most=50)), 1, []
    for tick in range(5):
        replicas = autoscaler.decide(15.0 * tick, replicas, [_cpu(*[9.0] * replicas)])
        seen.append(replicas)

    assert seen == [5, 10, 20, 40, 50]


def test_pods_go_only_when_nothing_asked_for_them_for_five_minutes() -> None:
    """The stabilization window: the highest recommendation of the last 300 seconds counts on the way down."""
    autoscaler = Autoscaler(Specification(least=1, most=20))
    assert autoscaler.decide(0.0, 10, [_cpu(*[0.5] * 10)]) == 10
    decisions = {second: autoscaler.decide(float(second), 10, [_cpu(*[0.2] * 10)]) for second in range(15, 315, 15)}

    assert {second: pods for second, pods in decisions.items() if pods != 10} == {300: 4}


def test_a_window_on_the_way_up_takes_the_least_of_it() -> None:
    """A peak of one reading does not add pods where scaling up has a window of a minute."""
    up = Rules(stabilization_seconds=60, policies=_AT_ONCE.policies)
    autoscaler = Autoscaler(attrs.evolve(_FREE, scale_up=up))

    assert autoscaler.decide(0.0, 4, [_cpu(*[0.5] * 4)]) == 4
    assert [autoscaler.decide(15.0 * tick, 4, [_cpu(*[1.0] * 4)]) for tick in range(1, 5)] == [4, 4, 4, 8]


_PODS = st.builds(
    Pod,
    usage=st.none() | st.floats(0, 10),
    age_seconds=st.none() | st.floats(0, 1000),
    is_ready=st.booleans(),
    condition_age_seconds=st.floats(0, 1000),
    is_failed=st.booleans(),
)
_METRICS = st.builds(
    PodMetric, pods=st.lists(_PODS, max_size=12).map(tuple), target=st.floats(0.05, 2), is_cpu=st.booleans()
) | st.builds(ExternalMetric, value=st.none() | st.floats(0, 1e6), target=st.floats(1, 1e4))
_RULES = st.builds(
    Rules,
    stabilization_seconds=st.integers(0, 600),
    policies=st.lists(
        st.builds(Policy, st.sampled_from(PolicyKind), st.integers(1, 200), st.integers(15, 300)),
        min_size=1,
        max_size=3,
    ).map(tuple),
    select=st.sampled_from(Select),
)


@given(st.data())
def test_whatever_is_measured_replicas_stay_within_their_bounds_and_policies(data: st.DataObject) -> None:
    """Never below the least, never above the most, never faster than the widest policy, never with one disabled."""
    least = data.draw(st.integers(1, 10))
    most = data.draw(st.integers(least, 40))
    up, down = data.draw(_RULES), data.draw(_RULES)
    autoscaler = Autoscaler(Specification(least=least, most=most, scale_up=up, scale_down=down))
    replicas = data.draw(st.integers(least, most))
    for tick in range(data.draw(st.integers(1, 12))):
        decided = autoscaler.decide(15.0 * tick, replicas, data.draw(st.lists(_METRICS, max_size=2)))
        assert least <= decided <= most
        widest = [
            policy.value if policy.kind is PolicyKind.PODS else math.ceil(most * policy.value / 100)
            for policy in (up if decided > replicas else down).policies
        ]
        if decided != replicas:
            assert (up if decided > replicas else down).select is not Select.DISABLED
            assert abs(decided - replicas) <= max(widest)
        replicas = decided


@given(st.integers(1, 40), st.lists(st.floats(0.91, 1.09), min_size=1, max_size=30), st.floats(0.1, 1))
def test_it_never_flaps_within_the_tolerance(replicas: int, ratios: list[float], target: float) -> None:
    """However the load moves within a tenth of what is wanted, nothing is started and nothing stopped."""
    autoscaler = Autoscaler(Specification(least=1, most=50))
    decisions = [
        autoscaler.decide(15.0 * tick, replicas, [_cpu(*[target * ratio] * replicas, target=target)])
        for tick, ratio in enumerate(ratios)
    ]

    assert set(decisions) == {replicas}


@given(st.integers(1, 30), st.floats(0.01, 20), st.floats(0.01, 20))
def test_more_use_never_means_fewer_pods(replicas: int, one: float, other: float) -> None:
    """The decision grows with what is measured."""
    less, more = sorted((one, other))

    assert _decision(replicas, _cpu(*[less] * replicas)) <= _decision(replicas, _cpu(*[more] * replicas))


def test_the_defaults_are_those_of_kubernetes() -> None:
    """As documented: no window up, 300 seconds down; 100 % or 4 pods up and 100 % down in 15 seconds."""
    assert SCALE_UP.stabilization_seconds == 0
    assert {(policy.kind, policy.value) for policy in SCALE_UP.policies} == {("Pods", 4), ("Percent", 100)}
    assert Rules(stabilization_seconds=300, policies=(Policy(PolicyKind.PERCENT, 100, 15),)) == SCALE_DOWN
