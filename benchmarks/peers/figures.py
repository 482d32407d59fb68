"""The figures: what the service does a second, beside what each peer does by the same load."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.figure import Bench, Figure, Goal, Round, at_least
from benchmarks.figures import Area
from benchmarks.peers.parties import PEERS, Party, service
from benchmarks.saturation import Load
from benchmarks.scene import settle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.saturation import Outcome
    from benchmarks.scene import Scene

_SERVICE: Final = "service"
_LEAST_HASHING_SECONDS: Final = 4.0


@attrs.frozen(kw_only=True)
class Operation:
    """
    What everybody is asked to do.

    Attributes:
        hashes: It hashes a password, so there are few answers: it is measured for longer, and needs no warming up.
    """

    name: str
    title: str
    load: Callable[[Party], Load]
    clients: tuple[int, ...] = (16,)
    goal: Goal | None = None
    hashes: bool = False


OPERATIONS: Final = (
    Operation(name="users-me", title="GET /users/me", load=Party.me, clients=(16, 64), goal=at_least(5)),
    Operation(name="admin-user", title="GET /admin/users/{id}", load=Party.user, clients=(16, 64), goal=at_least(5)),
    Operation(name="admin-users", title="GET /admin/users, the first 50", load=Party.first_page),
    Operation(name="admin-users-deep", title="GET /admin/users, 50 far behind", load=Party.deep_page),
    Operation(name="login", title="POST /auth/login, each by its own default hash", load=Party.login, hashes=True),
    Operation(name="register", title="POST /auth/register, the same", load=Party.register, hashes=True),
)


def _parties(scene: Scene) -> dict[str, Party]:
    peers = {peer.name: scene.in_area(peer.name, partial(peer.serving, scene)) for peer in PEERS}
    return {_SERVICE: scene.in_area(_SERVICE, lambda: contextlib.nullcontext(service(scene))), **peers}


def _send(operation: Operation, party: Party, scene: Scene, *, clients: int) -> Outcome:
    if not operation.hashes:
        return scene.send(operation.load(party), clients=clients)
    seconds = max(_LEAST_HASHING_SECONDS, scene.effort.seconds)
    outcome = scene.client.run(operation.load(party), clients=clients, seconds=seconds)
    settle()
    return outcome


def _beside(service: Outcome, peer: Outcome) -> Round:
    """Return a round; what a peer did not answer well makes it look slow, and so is a fault as well."""
    return Round(
        value=service.per_second,
        limit=peer.per_second,
        faults=service.faults + peer.faults,
        details={"p50 ms": service.p50, "p99 ms": service.p99, "its p50 ms": peer.p50, "its p99 ms": peer.p99},
    )


def _bench(operation: Operation, clients: int) -> Bench:
    def measure(scene: Scene) -> Iterator[dict[str, Round]]:
        parties = _parties(scene)
        for number in itertools.count():
            names = list(parties)[:: 1 if number % 2 == 0 else -1]
            outcomes = {name: _send(operation, parties[name], scene, clients=clients) for name in names}
            ours = outcomes.pop(_SERVICE)
            yield {_name(operation, clients, name): _beside(ours, theirs) for name, theirs in outcomes.items()}

    return Bench(
        figures=tuple(
            Figure(
                name=_name(operation, clients, peer.name),
                title=f"{operation.title}, {clients} clients, beside {peer.title}",
                unit="1/s",
                limit=f"the same of {peer.title}",
                goal=operation.goal,
                row="peers",
            )
            for peer in PEERS
        ),
        measure=measure,
    )


def _name(operation: Operation, clients: int, peer: str) -> str:
    return f"{operation.name}-{clients}-{peer}"


AREA: Final = Area(
    "peers", tuple(_bench(operation, clients) for operation in OPERATIONS for clients in operation.clients)
)
