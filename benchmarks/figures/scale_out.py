"""
How workers add up: each with four tenths of a processor, so that even four of them do not fill the machine.

It says something only while all parties together, the database and the callers included, use at most 1.8 of two
processors: past that they wait for each other, and not for their quotas. So each round tells what they used.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import attrs
import psutil

from benchmarks import processes
from benchmarks.callers import call_for
from benchmarks.figure import Bench, CannotMeasureError, Figure, Round, at_least, at_most
from benchmarks.quotas import processor_quota
from benchmarks.usage import seconds_of
from userservice_core.capacity.autoscaler import Specification
from userservice_core.capacity.queueing import Service
from userservice_core.capacity.scaling_law import ScalingLaw
from userservice_core.capacity.simulation import AutoscalerMetrics, PodModel, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.callers import Calls
    from benchmarks.scene import Scene

_UNITS: Final = (1, 2, 4)
_UNIT_PROCESSORS: Final = 0.4
_CALLERS: Final = 2
"""Of each worker: one whose password is hashed, and the next."""
_MAY_BE_OFF_PERCENT: Final = 15.0
_SIMULATED_STEPS: Final = 60


def _scale_out(scene: Scene) -> Iterator[dict[str, Round]]:
    """Sign in to 1, 2 and 4 workers in turn, and compare with so many times one."""
    with contextlib.ExitStack() as running:
        try:
            ports = [_limited_service(scene, running, index) for index in range(max(_UNITS))]
        except OSError as error:
            raise CannotMeasureError(f"workers cannot be limited on this machine: {error}") from error
        accounts = scene.signing_in
        while True:
            done: dict[int, tuple[Calls, float]] = {
                units: _using(
                    lambda: call_for(
                        2 * scene.effort.seconds,
                        ports[:units],  # noqa: B023 - called at once
                        "login",
                        accounts,
                        callers=_CALLERS * units,  # noqa: B023 - as above
                    )
                )
                for units in _UNITS
            }
            rates = {units: calls.per_second for units, (calls, _) in done.items()}
            law = ScalingLaw.fit(rates)
            fitted = {"contention": law.contention, "coherency": law.coherency}
            rounds = {}
            for units, (calls, processors) in done.items():
                rounds[f"scale-out-{units}"] = Round(
                    value=rates[units],
                    limit=None if units == 1 else units * rates[1],
                    faults=calls.faults,
                    details={**({} if units == 1 else fitted), "processors of all parties": processors},
                )
                if units > 1:
                    expected = simulated(units, one=rates[1])
                    rounds[f"scale-out-error-{units}"] = Round(
                        value=100 * abs(rates[units] / expected - 1),
                        limit=_MAY_BE_OFF_PERCENT,
                        details={"1/s simulated": expected, "1/s measured": rates[units]},
                    )
            yield rounds


def _using(act: Callable[[], Calls]) -> tuple[Calls, float]:
    """Return what *act* returns, and how many processors this run and all that it has started used meanwhile."""
    run = psutil.Process()
    began, before = time.perf_counter(), seconds_of(run)
    calls = act()
    return calls, (seconds_of(run) - before) / (time.perf_counter() - began)


def simulated(units: int, *, one: float) -> float:
    """
    Return the sign-ins a second of *units* workers by the simulation that the planning stands on.

    They are asked for twice what they can do, and there is no autoscaler that could add to them.

    Args:
        one: What one of them did, a second.
    """
    pod = PodModel(
        processors=_UNIT_PROCESSORS,
        service=Service(mean_seconds=_UNIT_PROCESSORS / one, variation=0.0),
        start_seconds=0.0,
        longest_wait_seconds=1.0,
    )
    moments = simulate(
        [2 * units * one] * _SIMULATED_STEPS,
        step_seconds=1,
        pod=pod,
        specification=Specification(least=units, most=units),
        metrics=AutoscalerMetrics(utilization=0.7),
        law=ScalingLaw(one=one),
    )
    return moments[-1].rate - moments[-1].refused


def _limited_service(scene: Scene, running: contextlib.ExitStack, index: int) -> int:
    prefix = running.enter_context(processor_quota(f"worker{index}", _UNIT_PROCESSORS))
    variables = {**scene.installation.variables, "USERSERVICE_WORKERS": "1"}
    log = scene.folder / f"worker{index}.log"
    return running.enter_context(processes.service(variables, "starlette", log=log, prefix=prefix))


_ONE: Final = Figure(
    name="scale-out-1",
    title="sign-ins of a worker with 0.4 processors",
    unit="1/s",
    row="scale-out",
)

BENCHES: Final = (
    Bench(
        figures=(
            _ONE,
            *(
                attrs.evolve(
                    _ONE,
                    name=f"scale-out-{units}",
                    title=f"sign-ins of {units} workers with 0.4 processors each",
                    limit=f"{units} times those of one",
                    goal=at_least(0.9),
                )
                for units in _UNITS[1:]
            ),
            *(
                Figure(
                    name=f"scale-out-error-{units}",
                    title=f"the simulation of {units} workers, by what one did, is off by",
                    unit="%",
                    limit="15 %",
                    goal=at_most(1),
                    row="scale-out",
                )
                for units in _UNITS[1:]
            ),
        ),
        measure=_scale_out,
    ),
)
