"""
The decisions of Kubernetes' HorizontalPodAutoscaler (autoscaling/v2), taken without a cluster.

Sources: the Kubernetes documentation, "Horizontal Pod Autoscaling", sections "Algorithm details" and "Configurable
scaling behavior" (https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/), and where they
leave something open, the controller itself (kubernetes/kubernetes, `pkg/controller/podautoscaler`).
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SYNC_SECONDS: Final = 15.0
"""`--horizontal-pod-autoscaler-sync-period`."""

TOLERANCE: Final = 0.1
"""`--horizontal-pod-autoscaler-tolerance`."""

CPU_INITIALIZATION_SECONDS: Final = 300.0
"""`--horizontal-pod-autoscaler-cpu-initialization-period`."""

INITIAL_READINESS_SECONDS: Final = 30.0
"""`--horizontal-pod-autoscaler-initial-readiness-delay`."""


class Select(enum.StrEnum):
    """Which of several policies counts."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


class PolicyKind(enum.StrEnum):
    """What a policy limits by."""

    PODS = "Pods"
    PERCENT = "Percent"


@attrs.frozen
class Policy:
    """So many pods, or so many percent of those that there were, may come or go in a period."""

    kind: PolicyKind
    value: int
    period_seconds: int


@attrs.frozen(kw_only=True)
class Rules:
    """How fast replicas may change in one direction."""

    stabilization_seconds: int
    policies: tuple[Policy, ...]
    select: Select = Select.MAX
    tolerance: float = TOLERANCE


# The defaults of autoscaling/v2.
SCALE_UP: Final = Rules(
    stabilization_seconds=0, policies=(Policy(PolicyKind.PODS, 4, 15), Policy(PolicyKind.PERCENT, 100, 15))
)
SCALE_DOWN: Final = Rules(stabilization_seconds=300, policies=(Policy(PolicyKind.PERCENT, 100, 15),))


@attrs.frozen(kw_only=True)
class Pod:
    """
    A pod as the controller sees it.

    Attributes:
        usage: What the metric says, None where there is none: for a resource as a share of the request.
        age_seconds: Since it was started; None while it is pending.
        is_ready: Its condition `Ready`.
        condition_age_seconds: Since that condition changed.
        metric_window_seconds: Over how long the metric was taken.
        is_failed: Whether it failed or is being deleted.
    """

    usage: float | None
    age_seconds: float | None = math.inf
    is_ready: bool = True
    condition_age_seconds: float = math.inf
    metric_window_seconds: float = 30.0
    is_failed: bool = False

    def is_set_aside(self, *, is_cpu: bool) -> bool:
        """
        Return whether it is not yet ready to be counted.

        For the processor, whose use tells nothing while a pod starts: within the initialization period, a pod that is
        not ready or whose metric reaches back before it was; after it, one that has never been ready.
        """
        if self.age_seconds is None:
            return True
        if not is_cpu or self.usage is None:
            return False
        if self.age_seconds < CPU_INITIALIZATION_SECONDS:
            return not self.is_ready or self.condition_age_seconds < self.metric_window_seconds
        changed_at = self.age_seconds - self.condition_age_seconds
        return not self.is_ready and changed_at < INITIAL_READINESS_SECONDS


@attrs.frozen(kw_only=True)
class PodMetric:
    """
    A metric of each pod: `Resource` with a target of utilization, or `Pods` with a target of an average value.

    Attributes:
        pods: Every pod of the deployment.
        target: As a share of the request, or as a value.
        is_cpu: Whether it is the utilization of the processor.
    """

    pods: tuple[Pod, ...]
    target: float
    is_cpu: bool = False

    def proposal(self, current: int, *, is_within: Callable[[float], bool]) -> int | None:
        """Return how many replicas it asks for, None where no ready pod has a value."""
        pods = [pod for pod in self.pods if not pod.is_failed]
        set_aside = [pod for pod in pods if pod.is_set_aside(is_cpu=self.is_cpu)]
        counted = [pod for pod in pods if not pod.is_set_aside(is_cpu=self.is_cpu)]
        usages = [pod.usage for pod in counted if pod.usage is not None]
        missing = len(counted) - len(usages)
        if not usages:
            return None
        ratio = sum(usages) / len(usages) / self.target
        takes_set_aside = bool(set_aside) and ratio > 1
        if not takes_set_aside and not missing:
            return current if is_within(ratio) else _ceil(ratio * len(usages))
        if ratio < 1:
            # Before pods are taken away, those that say nothing count as if they used all they asked for.
            usages += [max(1.0, self.target) if self.is_cpu else self.target] * missing
        elif ratio > 1:
            usages += [0.0] * missing
        if takes_set_aside:
            usages += [0.0] * len(set_aside)
        again = sum(usages) / len(usages) / self.target
        if is_within(again) or (ratio < 1 < again) or (again < 1 < ratio):
            return current
        proposal = _ceil(again * len(usages))
        turns = (again < 1 and proposal > current) or (again > 1 and proposal < current)
        return current if turns else proposal


@attrs.frozen(kw_only=True)
class ExternalMetric:
    """
    A metric from outside with a target of an average value, such as the lag of a consumer.

    Attributes:
        value: Of all together, None where it cannot be had.
        target: For each replica.
    """

    value: float | None
    target: float

    def proposal(self, current: int, *, is_within: Callable[[float], bool]) -> int | None:
        """Return how many replicas it asks for, None where it has no value."""
        if self.value is None:
            return None
        if is_within(self.value / (self.target * current)):
            return current
        return _ceil(self.value / self.target)


Metric = PodMetric | ExternalMetric


def _ceil(value: float) -> int:
    """Round up, past what is only the error of floating point numbers."""
    return math.ceil(round(value, 9))


@attrs.frozen(kw_only=True)
class Specification:
    """
    What a manifest says of an autoscaler, apart from its metrics.

    Attributes:
        least: `minReplicas`.
        most: `maxReplicas`.
    """

    least: int
    most: int
    scale_up: Rules = SCALE_UP
    scale_down: Rules = SCALE_DOWN


@attrs.frozen
class _Change:
    at: float
    pods: int


class Autoscaler:
    """One autoscaler, with what it remembers: earlier recommendations, and what it changed."""

    def __init__(self, specification: Specification) -> None:
        self._specification = specification
        self._recommendations: list[_Change] = []
        self._added: list[_Change] = []
        self._removed: list[_Change] = []

    def decide(self, now: float, current: int, metrics: Sequence[Metric]) -> int:
        """
        Return how many replicas there shall be from now on.

        Args:
            now: In seconds, never less than in an earlier call.
            current: Replicas that the deployment has, at least 1.
        """
        specification = self._specification
        if not specification.least <= current <= specification.most:
            return max(specification.least, min(specification.most, current))
        wanted = self._stabilized(now, current, self._proposal(current, metrics))
        decided = self._limited(now, current, wanted)
        if decided > current:
            self._added.append(_Change(now, decided - current))
        elif decided < current:
            self._removed.append(_Change(now, current - decided))
        return decided

    def _proposal(self, current: int, metrics: Sequence[Metric]) -> int:
        """Return the most that a metric asks for; while one of them is unknown, nothing is taken away."""
        proposals = [metric.proposal(current, is_within=self._is_within) for metric in metrics]
        known = [proposal for proposal in proposals if proposal is not None]
        if not known:
            return current
        most = max(known)
        return current if len(known) < len(proposals) and most < current else most

    def _is_within(self, ratio: float) -> bool:
        specification = self._specification
        least, most = 1 - specification.scale_down.tolerance, 1 + specification.scale_up.tolerance
        return least - 1e-9 <= ratio <= most + 1e-9

    def _stabilized(self, now: float, current: int, wanted: int) -> int:
        """Return the nearest to *current* of what was recommended in the window of either direction."""
        up_after = now - self._specification.scale_up.stabilization_seconds
        down_after = now - self._specification.scale_down.stabilization_seconds
        least = min([wanted, *(past.pods for past in self._recommendations if past.at > up_after)])
        most = max([wanted, *(past.pods for past in self._recommendations if past.at > down_after)])
        oldest = min(up_after, down_after)
        self._recommendations = [past for past in self._recommendations if past.at > oldest]
        self._recommendations.append(_Change(now, wanted))
        return min(max(current, least), most)

    def _limited(self, now: float, current: int, wanted: int) -> int:
        specification = self._specification
        if wanted > current:
            limit = max(current, self._bound(now, current, specification.scale_up, direction=1))
            return min(wanted, limit, specification.most)
        if wanted < current:
            limit = min(current, self._bound(now, current, specification.scale_down, direction=-1))
            return max(wanted, limit, specification.least)
        return wanted

    def _bound(self, now: float, current: int, rules: Rules, *, direction: int) -> int:
        """Return the farthest that *rules* let the replicas go."""
        if rules.select is Select.DISABLED:
            return current
        bounds = []
        for policy in rules.policies:
            began = now - policy.period_seconds
            added = sum(change.pods for change in self._added if change.at > began)
            removed = sum(change.pods for change in self._removed if change.at > began)
            before = current - added + removed
            if policy.kind is PolicyKind.PODS:
                bounds.append(before + direction * policy.value)
            elif direction > 0:
                bounds.append(_ceil(before * (1 + policy.value / 100)))
            else:
                bounds.append(math.floor(round(before * (1 - policy.value / 100), 9)))
        farthest, nearest = (max, min) if direction > 0 else (min, max)
        return (farthest if rules.select is Select.MAX else nearest)(bounds)
