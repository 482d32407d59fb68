"""What a worker takes after many sign-ins."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import psutil

from benchmarks.figure import Bench, Figure, Round, at_most
from benchmarks.figures.sign_ins import sign_in_load
from benchmarks.processes import server_on
from userservice_core.bootstrap import hash_slots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scene import Scene

_MB: Final = 1e6
_BASE_MB: Final = 100.0
_AT_ONCE_SECONDS: Final = 10.0
_LEAST_PER_SECOND: Final = 10.0


def _memory(scene: Scene) -> Iterator[dict[str, Round]]:
    port = scene.service()
    server = server_on(port)
    settings = scene.installation.settings
    limit = _BASE_MB + hash_slots(scene.effort.workers) * settings.hashing_cost.memory_kib * 1024 / _MB
    load = sign_in_load(scene, port)
    while True:
        before, answers, faults = _largest(server), 0, 0
        # A machine that is slow or busy floods less.
        until = time.monotonic() + scene.effort.flood / _LEAST_PER_SECOND
        while answers < scene.effort.flood and time.monotonic() < until:
            outcome = scene.client.run(load, clients=64, seconds=min(_AT_ONCE_SECONDS, 1 + scene.effort.flood / 50))
            answers += outcome.answers - outcome.faults
            faults += outcome.faults
        details = {"MB before": before, "sign-ins": float(answers)}
        yield {"memory": Round(value=_largest(server), limit=limit, faults=faults, details=details)}


def _largest(server: psutil.Process) -> float:
    """Return the proportional set size of the largest process of a server."""
    sizes = []
    for process in (server, *server.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            sizes.append(process.memory_full_info().pss / _MB)
    return max(sizes)


BENCHES: Final = (
    Bench(
        figures=(
            Figure(
                name="memory",
                title="memory of a worker (PSS) after a flood of sign-ins",
                unit="MB",
                limit="100 MB and what the hashes under way take",
                goal=at_most(1),
                row="memory",
            ),
        ),
        measure=_memory,
        most_rounds=1,
    ),
)
