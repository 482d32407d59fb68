"""The host on Flask, beside the one on Starlette."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.figure import Bench, Figure, Round, at_least
from benchmarks.figures.checks import check_load
from benchmarks.figures.reads import me_load, round_of, rounds_of
from benchmarks.figures.sign_ins import sign_in_load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.saturation import Load
    from benchmarks.scene import Scene

_CLIENTS: Final = 16


def _bench(name: str, title: str, load: Callable[[Scene, int], Load]) -> Bench:
    def measure(scene: Scene) -> Iterator[dict[str, Round]]:
        loads = {host: load(scene, scene.service(host)) for host in ("starlette", "flask")}
        for outcomes in rounds_of(loads, scene, clients=_CLIENTS):
            yield {name: round_of(outcomes["flask"], outcomes["starlette"].per_second)}

    figure = Figure(
        name=name,
        title=f"{title} on Flask, {_CLIENTS} clients",
        unit="1/s",
        limit="the same on Starlette",
        goal=at_least(0.75),
        row="flask",
    )
    return Bench(figures=(figure,), measure=measure)


BENCHES: Final = (
    _bench("flask-users-me-16", "GET /users/me", me_load),
    _bench("flask-check-permissions-16", "POST /auth/check-permissions", check_load),
    _bench("flask-login-16", "POST /auth/login", sign_in_load),
)
