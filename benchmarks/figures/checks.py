"""Questions that are answered from memory, beside the same answer from bare Starlette."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from benchmarks.accounts import PASSWORD
from benchmarks.figure import Bench, Figure, Round, at_least
from benchmarks.figures.reads import round_of, rounds_of
from benchmarks.processes import FORM, ask
from benchmarks.saturation import Load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scene import Scene

_CLIENTS: Final = 16
_LIMIT: Final = "the same body from bare Starlette, which reads the request's"


def check_load(scene: Scene, port: int) -> Load:
    """Return questions whether each account of the scene may do two things, asked by the administrator."""
    bodies = tuple(
        json.dumps({"userId": account.user_id, "permissions": ["user:list", "user:read"]}) for account in scene.accounts
    )
    token = scene.administrator.access_token
    paths = ("/auth/check-permissions",) * len(bodies)
    return Load(method="POST", port=port, paths=paths, bodies=bodies, tokens=(token,) * len(bodies))


def _alone(scene: Scene, load: Load, name: str, answer: object) -> Load:
    """Return the same requests to the limit, and let it answer so."""
    (scene.answers / name).write_text(json.dumps(answer, separators=(",", ":")))
    return Load(
        method="POST",
        port=scene.limit(),
        paths=(f"/answers/{name}",) * len(load.paths),
        bodies=load.bodies,
        content_type=load.content_type,
    )


def _check(scene: Scene) -> Iterator[dict[str, Round]]:
    load = check_load(scene, scene.service())
    answer = ask(load.port, "POST", load.paths[-1], json.loads(load.bodies[-1]), token=load.tokens[-1])
    loads = {"limit": _alone(scene, load, "check", answer), "check-permissions-16": load}
    for outcomes in rounds_of(loads, scene, clients=_CLIENTS):
        limit = outcomes.pop("limit").per_second
        yield {name: round_of(outcome, limit) for name, outcome in outcomes.items()}


def _introspect(scene: Scene) -> Iterator[dict[str, Round]]:
    port = scene.service()
    # To make a client wants a sign-in of the last minutes.
    signed_in = ask(port, "POST", "/auth/login", {"email": scene.administrator.email, "password": PASSWORD})
    wanted = {"name": f"benchmark {uuid.uuid4()}", "permissions": ["authorization:query"]}
    client = ask(port, "POST", "/admin/clients", wanted, token=signed_in["accessToken"])
    known = {"client_id": client["id"], "client_secret": client["secret"]}
    bodies = tuple(urlencode({**known, "token": account.access_token}) for account in scene.accounts)
    load = Load(method="POST", port=port, paths=("/oauth/introspect",) * len(bodies), bodies=bodies, content_type=FORM)
    answer = ask(port, "POST", load.paths[-1], bodies[-1])
    loads = {"limit": _alone(scene, load, "introspect", answer), "introspect-16": load}
    for outcomes in rounds_of(loads, scene, clients=_CLIENTS):
        limit = outcomes.pop("limit").per_second
        yield {name: round_of(outcome, limit) for name, outcome in outcomes.items()}


def _figure(name: str, title: str) -> Figure:
    return Figure(
        name=f"{name}-{_CLIENTS}",
        title=f"{title}, {_CLIENTS} clients",
        unit="1/s",
        limit=_LIMIT,
        goal=at_least(0.5),
        row="check",
    )


BENCHES: Final = (
    Bench(figures=(_figure("check-permissions", "POST /auth/check-permissions"),), measure=_check),
    Bench(figures=(_figure("introspect", "POST /oauth/introspect"),), measure=_introspect),
)
