"""How workers add up: each with four tenths of a processor, so that even four of them do not fill the machine."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks import processes
from benchmarks.callers import call_for
from benchmarks.figure import Bench, CannotMeasureError, Figure, Round, at_least
from benchmarks.quotas import processor_quota
from userservice_core.capacity.scaling_law import ScalingLaw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scene import Scene

_UNITS: Final = (1, 2, 4)
_UNIT_PROCESSORS: Final = 0.4
_CALLERS: Final = 2
"""Of each worker: one whose password is hashed, and the next."""


def _scale_out(scene: Scene) -> Iterator[dict[str, Round]]:
    """Sign in to 1, 2 and 4 workers in turn, and compare with so many times one."""
    with contextlib.ExitStack() as running:
        try:
            ports = [_limited_service(scene, running, index) for index in range(max(_UNITS))]
        except OSError as error:
            raise CannotMeasureError(f"workers cannot be limited on this machine: {error}") from error
        accounts = scene.signing_in
        while True:
            calls = {
                units: call_for(2 * scene.effort.seconds, ports[:units], "login", accounts, callers=_CALLERS * units)
                for units in _UNITS
            }
            rates = {units: of_units.per_second for units, of_units in calls.items()}
            law = ScalingLaw.fit(rates)
            details = {"contention": law.contention, "coherency": law.coherency}
            yield {
                f"scale-out-{units}": Round(
                    value=rates[units],
                    limit=None if units == 1 else units * rates[1],
                    faults=calls[units].faults,
                    details={} if units == 1 else details,
                )
                for units in _UNITS
            }


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
        ),
        measure=_scale_out,
    ),
)
