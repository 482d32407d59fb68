"""A day of an installation under an autoscaler: replicas, waiting, and what is refused, second by second."""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.capacity import autoscaler as hpa
from userservice_core.capacity.queueing import Service, refused_share, waiting_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from userservice_core.capacity.scaling_law import ScalingLaw

DAY_SECONDS: Final = 86_400


@attrs.frozen(kw_only=True)
class Sale:
    """
    A flash sale: at a known time, many times as many requests come within minutes.

    Attributes:
        at_seconds: Since midnight.
        factor: By which the rate is multiplied at its height.
        ramp_seconds: Until it is reached, and until it is over again.
        height_seconds: How long it stays there.
    """

    at_seconds: float
    factor: float
    ramp_seconds: float
    height_seconds: float

    def multiplier(self, second: float) -> float:
        """Return by what the rate is multiplied at *second*."""
        since = second - self.at_seconds
        if since < 0:
            return 1.0
        if since < self.ramp_seconds:
            share = since / self.ramp_seconds
        elif since < self.ramp_seconds + self.height_seconds:
            share = 1.0
        else:
            share = 1 - (since - self.ramp_seconds - self.height_seconds) / self.ramp_seconds
        return 1 + (self.factor - 1) * max(0.0, share)


def day_of(*, peak: float, night: float, sale: Sale | None, step_seconds: int) -> list[float]:
    """
    Return the requests a second of each step of a day: a sine, least at four in the morning, with a sale on it.

    Args:
        peak: Of the day without the sale, in requests a second.
        night: The least as a share of the peak.
    """
    rates = []
    for second in range(0, DAY_SECONDS, step_seconds):
        height = (1 - math.cos(2 * math.pi * (second / DAY_SECONDS - 4 / 24))) / 2
        rate = peak * (night + (1 - night) * height)
        rates.append(rate if sale is None else rate * sale.multiplier(second))
    return rates


@attrs.frozen(kw_only=True)
class PodModel:
    """
    What a pod can do.

    Attributes:
        processors: That it asks for, and may use.
        service: What a request takes of one.
        start_seconds: From its creation to its first request.
        longest_wait_seconds: What would wait longer is refused: the deadline of a request, or the bound of its queue.
        metric_window_seconds: Over how long its use of the processor is averaged, and how old that is at most.
    """

    processors: float
    service: Service
    start_seconds: float
    longest_wait_seconds: float
    metric_window_seconds: float = 30.0


@attrs.frozen(kw_only=True)
class Moment:
    """
    What one step was like.

    Attributes:
        at_seconds: When it began.
        rate: Requests a second that came.
        replicas: Pods that there were to be.
        ready: Pods that served.
        utilization: Of the processors of those pods.
        wait_seconds: That 99 of 100 served requests did not wait longer than.
        latency_seconds: That wait, and the time that a request takes of a processor on average.
        refused: Requests a second.
    """

    at_seconds: float
    rate: float
    replicas: int
    ready: int
    utilization: float
    wait_seconds: float
    latency_seconds: float
    refused: float


@attrs.define
class _SimulatedPod:
    created_at: float
    ready_at: float


@attrs.frozen(kw_only=True)
class AutoscalerMetrics:
    """
    What the autoscaler of the simulation looks at.

    Attributes:
        utilization: Target of the processor's, as a share of the request.
        rate: Target of requests a second and pod; None for not looking at them.
    """

    utilization: float
    rate: float | None = None


def simulate(
    rates: Sequence[float],
    *,
    step_seconds: int,
    pod: PodModel,
    specification: hpa.Specification,
    metrics: AutoscalerMetrics,
    law: ScalingLaw,
) -> list[Moment]:
    """
    Run an installation through *rates*, one for each step, with an autoscaler that decides every fifteen seconds.

    Within a step the ready pods are a queue with as many servers as they have processors. What they cannot do in a
    step waits for the next one, and what would wait too long is refused. A pod that is taken away finishes its requests
    and takes no further ones.

    Args:
        law: By which pods slow each other down; only its ratios count.
    """
    scene = _Scene(pod=pod, law=law, step_seconds=step_seconds, replicas=specification.least)
    autoscaler = hpa.Autoscaler(specification)
    moments, next_sync = [], hpa.SYNC_SECONDS
    for index, rate in enumerate(rates):
        now = float(index * step_seconds)
        if now >= next_sync:
            scene.scale(now, autoscaler.decide(now, scene.replicas, list(scene.metrics(now, metrics))))
            next_sync += hpa.SYNC_SECONDS
        moments.append(scene.step(now, rate))
    return moments


class _Scene:
    def __init__(self, *, pod: PodModel, law: ScalingLaw, step_seconds: int, replicas: int) -> None:
        self._pod = pod
        self._law = law
        self._step_seconds = step_seconds
        self._pods = [_SimulatedPod(-math.inf, -math.inf) for _ in range(replicas)]
        self._backlog = 0.0
        window = max(1, round(pod.metric_window_seconds / step_seconds))
        self._measured: deque[tuple[float, float]] = deque(maxlen=window)

    @property
    def replicas(self) -> int:
        return len(self._pods)

    def scale(self, now: float, replicas: int) -> None:
        """Start pods, or take away those that are youngest, as a deployment does."""
        for _ in range(replicas - len(self._pods)):
            self._pods.append(_SimulatedPod(now, now + self._pod.start_seconds))
        del self._pods[replicas:]

    def metrics(self, now: float, looked_at: AutoscalerMetrics) -> Iterator[hpa.Metric]:
        """Yield what the autoscaler is told: what the pods did on average in the last window."""
        if not self._measured:
            return
        usage = sum(usage for usage, _ in self._measured) / len(self._measured)
        served = sum(served for _, served in self._measured) / len(self._measured)
        seen = tuple(self._seen(pod, now) for pod in self._pods)
        yield hpa.PodMetric(
            pods=tuple(attrs.evolve(pod, usage=usage) for pod in seen), target=looked_at.utilization, is_cpu=True
        )
        if looked_at.rate is not None:
            rated = tuple(attrs.evolve(pod, usage=served if pod.is_ready else None) for pod in seen)
            yield hpa.PodMetric(pods=rated, target=looked_at.rate)

    def _seen(self, pod: _SimulatedPod, now: float) -> hpa.Pod:
        is_ready = pod.ready_at <= now
        return hpa.Pod(
            usage=None,
            age_seconds=now - pod.created_at,
            is_ready=is_ready,
            condition_age_seconds=now - (pod.ready_at if is_ready else pod.created_at),
            metric_window_seconds=self._pod.metric_window_seconds,
        )

    def step(self, now: float, rate: float) -> Moment:
        """Serve what comes in a step."""
        pod, seconds = self._pod, self._step_seconds
        ready = sum(each.ready_at <= now for each in self._pods)
        efficiency = self._law.efficiency(max(1.0, ready * pod.processors))
        possible = ready * pod.processors / pod.service.mean_seconds * efficiency
        places = possible * pod.longest_wait_seconds
        offered = self._backlog + rate * seconds
        served = min(offered, possible * seconds)
        left = offered - served
        self._backlog = min(left, places)
        refused = left - self._backlog
        wait = self._backlog / possible
        if self._backlog == 0:
            servers = max(1, round(ready * pod.processors))
            steady = attrs.evolve(pod.service, mean_seconds=servers / possible)
            wait = min(waiting_seconds(servers, rate, steady, quantile=0.99), pod.longest_wait_seconds)
            refused = served * refused_share(servers, rate * steady.mean_seconds, round(places))
            served -= refused
        utilization = served / (possible * seconds)
        self._measured.append((utilization, served / seconds / ready))
        return Moment(
            at_seconds=now,
            rate=rate,
            replicas=len(self._pods),
            ready=ready,
            utilization=utilization,
            wait_seconds=wait,
            latency_seconds=wait + pod.service.mean_seconds / efficiency,
            refused=refused / seconds,
        )


@attrs.frozen(kw_only=True)
class Summary:
    """
    What a day came to.

    Attributes:
        pod_hours: That were paid for.
        most_replicas: At any time.
        changes: How often the number of replicas changed.
        refused_share: Of all requests.
        slow_share: Of all requests, those that came while 99 of 100 did not get through within the wanted time.
    """

    requests: float
    pod_hours: float
    most_replicas: int
    changes: int
    refused_share: float
    slow_share: float


def summarize(moments: Sequence[Moment], *, step_seconds: int, wanted_wait_seconds: float) -> Summary:
    """Sum *moments* up."""
    requests = sum(moment.rate for moment in moments) * step_seconds
    slow = sum(moment.rate for moment in moments if moment.wait_seconds > wanted_wait_seconds) * step_seconds
    return Summary(
        requests=requests,
        pod_hours=sum(moment.replicas for moment in moments) * step_seconds / 3600,
        most_replicas=max(moment.replicas for moment in moments),
        changes=sum(before.replicas != after.replicas for before, after in itertools.pairwise(moments)),
        refused_share=sum(moment.refused for moment in moments) * step_seconds / requests if requests else 0.0,
        slow_share=slow / requests if requests else 0.0,
    )
