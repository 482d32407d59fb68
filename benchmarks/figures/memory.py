"""What a worker takes after many sign-ins; after how many more it takes no more, the soak part `memory` tells."""

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


class Flood:
    """
    Sign-ins as fast as they go, to a server whose memory is looked at.

    Attributes:
        limit_mb: What a worker of it may take: 100 MB, and the memory of the hashes under way.
    """

    def __init__(self, scene: Scene) -> None:
        port = scene.service()
        cost = scene.installation.settings.hashing_cost
        self._scene = scene
        self._server = server_on(port)
        self._load = sign_in_load(scene, port)
        self.limit_mb = _BASE_MB + hash_slots(scene.effort.workers) * cost.memory_kib * 1024 / _MB

    def sign_in(self, times: int) -> tuple[int, int]:
        """Sign in so often, or less on a slow machine; return how often it went well, and how often not."""
        answers, faults = 0, 0
        until = time.monotonic() + times / _LEAST_PER_SECOND
        while answers < times and time.monotonic() < until:
            seconds = min(_AT_ONCE_SECONDS, 1 + (times - answers) / 50)
            outcome = self._scene.client.run(self._load, clients=64, seconds=seconds)
            answers += outcome.answers - outcome.faults
            faults += outcome.faults
        return answers, faults

    def largest_mb(self) -> float:
        """Return the proportional set size of the largest process of the server."""
        sizes = []
        for process in (self._server, *self._server.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                sizes.append(process.memory_full_info().pss / _MB)
        return max(sizes)


def _memory(scene: Scene) -> Iterator[dict[str, Round]]:
    flood = Flood(scene)
    while True:
        before = flood.largest_mb()
        answers, faults = flood.sign_in(scene.effort.flood)
        details = {"MB before": before, "sign-ins": float(answers)}
        yield {"memory": Round(value=flood.largest_mb(), limit=flood.limit_mb, faults=faults, details=details)}


BENCHES: Final = (
    Bench(
        figures=(
            Figure(
                name="memory",
                title="memory of a worker (PSS) after some thousand sign-ins",
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
