"""Reads of one user, on each host, beside the SELECT alone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from benchmarks.figure import Bench, Figure, Round, at_least
from benchmarks.saturation import Load, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.scene import Scene

_CLIENTS: Final = (16, 64)
_LIMIT: Final = "one SELECT by psycopg in threads behind bare Starlette"


def rounds_of(loads: Mapping[str, Load], scene: Scene, *, clients: int) -> Iterator[dict[str, Outcome]]:
    """Send each load in turn, again and again; the other way round in every second round."""
    for number in itertools.count():
        names = list(loads)[:: 1 if number % 2 == 0 else -1]
        yield {name: scene.send(loads[name], clients=clients) for name in names}


def round_of(outcome: Outcome, limit: float) -> Round:
    """Return good answers a second and how long they took, beside a limit that is so many a second."""
    details = {"p50 ms": outcome.p50, "p99 ms": outcome.p99}
    return Round(value=outcome.per_second, limit=limit, faults=outcome.faults, details=details)


def me_load(scene: Scene, port: int) -> Load:
    """Return the accounts of the scene, each reading itself."""
    tokens = tuple(account.access_token for account in scene.accounts)
    return Load(method="GET", port=port, paths=("/users/me",) * len(tokens), tokens=tokens)


def _loads(scene: Scene) -> dict[str, Load]:
    accounts = scene.accounts
    administrators = (scene.administrator.access_token,) * len(accounts)
    service, limit = scene.service(), scene.limit()
    of_each = tuple(account.user_id for account in accounts)
    return {
        "limit": Load(method="GET", port=limit, paths=tuple(f"/users/{user_id}" for user_id in of_each)),
        "users-me": me_load(scene, service),
        "admin-user": Load(
            method="GET",
            port=service,
            paths=tuple(f"/admin/users/{user_id}" for user_id in of_each),
            tokens=administrators,
        ),
    }


def _reads(clients: int) -> Bench:
    def measure(scene: Scene) -> Iterator[dict[str, Round]]:
        for outcomes in rounds_of(_loads(scene), scene, clients=clients):
            limit = outcomes.pop("limit").per_second
            yield {f"{name}-{clients}": round_of(outcome, limit) for name, outcome in outcomes.items()}

    titles = {"users-me": "GET /users/me", "admin-user": "GET /admin/users/{id}"}
    return Bench(
        figures=tuple(
            Figure(
                name=f"{name}-{clients}",
                title=f"{title}, {clients} clients",
                unit="1/s",
                limit=_LIMIT,
                goal=at_least(0.75),
                row="read",
            )
            for name, title in titles.items()
        ),
        measure=measure,
    )


BENCHES: Final = tuple(map(_reads, _CLIENTS))
