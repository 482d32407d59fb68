"""Sign-ins, right and wrong, and registrations, beside the hash alone; and reads while sign-ins take all they can."""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from typing import TYPE_CHECKING, Final

from benchmarks.accounts import PASSWORD
from benchmarks.figure import Bench, Figure, Round, at_least, at_most
from benchmarks.figures.reads import me_load, round_of
from benchmarks.hashing import verifications_per_second
from benchmarks.saturation import Load
from benchmarks.scene import settle
from userservice_core.bootstrap import effective_cpus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scene import Scene

_CLIENTS: Final = (16, 64)
_LIMIT: Final = "verifications of Argon2 by as many threads as processors"
_READERS: Final = 4
_REGISTRATIONS: Final = 20_000


def sign_in_load(scene: Scene, port: int) -> Load:
    """Return sign-ins to accounts of the scene in turn."""
    bodies = tuple(json.dumps({"email": account.email, "password": PASSWORD}) for account in scene.signing_in)
    return Load(method="POST", port=port, paths=("/auth/login",) * len(bodies), bodies=bodies)


def _hashes(scene: Scene) -> float:
    seconds = scene.effort.seconds
    return verifications_per_second(scene.installation.settings, threads=effective_cpus(), seconds=seconds)


def _sign_ins(clients: int) -> Bench:
    def measure(scene: Scene) -> Iterator[dict[str, Round]]:
        service = scene.service()
        loads = {
            f"login-right-{clients}": sign_in_load(scene, service),
            f"login-wrong-{clients}": _strangers(service),
        }
        while True:
            limit = _hashes(scene)
            yield {name: round_of(scene.send(load, clients=clients), limit) for name, load in loads.items()}

    return Bench(
        figures=tuple(
            Figure(
                name=f"login-{kind}-{clients}",
                title=f"POST /auth/login, {kind}, {clients} clients",
                unit="1/s",
                limit=_LIMIT,
                goal=at_least(0.90),
                row="sign-in",
            )
            for kind in ("right", "wrong")
        ),
        measure=measure,
    )


def _strangers(port: int) -> Load:
    """Return sign-ins to accounts that nobody has: an account that there is would be locked after some."""
    bodies = tuple(json.dumps({"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD}) for _ in range(200))
    return Load(method="POST", port=port, paths=("/auth/login",) * len(bodies), bodies=bodies, status=401)


def _registrations(scene: Scene) -> Iterator[dict[str, Round]]:
    service = scene.service()
    while True:
        limit = _hashes(scene)
        bodies = tuple(
            json.dumps({"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD})
            for _ in range(_REGISTRATIONS)
        )
        load = Load(method="POST", port=service, paths=("/auth/register",) * len(bodies), bodies=bodies)
        outcome = scene.client.run(load, clients=16, seconds=scene.effort.seconds)
        settle()
        yield {"register-16": round_of(outcome, limit)}


def _reads_beside_sign_ins(scene: Scene) -> Iterator[dict[str, Round]]:
    service = scene.service()
    reads = me_load(scene, service)
    sign_ins = sign_in_load(scene, service)
    for _ in itertools.count():
        idle = scene.send(reads, clients=_READERS)
        seconds = scene.effort.seconds + 2
        flood = threading.Thread(target=lambda s=seconds: scene.client.run(sign_ins, clients=64, seconds=s))
        flood.start()
        beside = scene.send(reads, clients=_READERS)
        flood.join()
        settle()
        yield {
            "users-me-beside-login": Round(
                value=beside.p95,
                limit=idle.p95,
                faults=beside.faults,
                details={"reads/s": beside.per_second, "idle reads/s": idle.per_second},
            )
        }


BENCHES: Final = (
    *map(_sign_ins, _CLIENTS),
    Bench(
        figures=(
            Figure(
                name="register-16",
                title="POST /auth/register, 16 clients",
                unit="1/s",
                limit=_LIMIT,
                goal=at_least(0.85),
                row="registration",
            ),
        ),
        measure=_registrations,
    ),
    Bench(
        figures=(
            Figure(
                name="users-me-beside-login",
                title=f"GET /users/me, p95 for {_READERS} clients while 64 sign in",
                unit="ms",
                limit="the same while nobody signs in",
                goal=at_most(3),
                row="fairness",
            ),
        ),
        measure=_reads_beside_sign_ins,
    ),
)
