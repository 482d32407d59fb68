"""Whether those who read replicas see one history, and whether a role that was taken away is ever used again."""

from __future__ import annotations

import contextlib
import itertools
import time
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

import attrs

from tests.integration.replicas.instances import Installation, run_all, served_by_replicas, token_of
from tests.soak.outcomes import Tally
from userservice_core.domain.ids import RoleId
from userservice_core.domain.roles import AssignedRole
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.servers.replication import PostgresReplica
    from userservice_core.bootstrap import UserService
    from userservice_core.domain.users import User

_USES_AFTER: Final = 5
_LISTS_USERS: Final = "user:list"


def long_forks(installation: Installation, *, seconds: float) -> Tally:
    """
    Let two write, each their own counter, and two read both counters at once, each on a replica of their own.

    One who has seen the first write without the second, and one who has seen the second without the first, have not
    seen one history (long fork, as in Adya, "Weak Consistency", 1999, and in Jepsen's test of that name).
    """
    writers = [installation.add_administrator() for _ in range(2)]
    seen: list[list[tuple[int, int]]] = [[], []]
    with contextlib.ExitStack() as opened:
        primary = opened.enter_context(attrs.evolve(installation, replicas=()).instance())
        readers = [
            opened.enter_context(attrs.evolve(installation, replicas=(replica,)).instance())
            for replica in installation.replicas
        ]
        ended_at = time.monotonic() + seconds
        run_all(
            *(partial(_count_up, primary, user, until=ended_at) for user in writers),
            *(
                partial(_look, service, writers, found, until=ended_at)
                for service, found in zip(readers, seen, strict=True)
            ),
        )
        served = sum(map(served_by_replicas, readers))
    looked = sum(map(len, seen))
    # In one history all that was seen can be put in an order in which neither counter goes back.
    ordered = sorted([(0, 0), *seen[0], *seen[1]])
    forks = sum(later[1] < earlier[1] for earlier, later in itertools.pairwise(ordered))
    return Tally(
        trials=looked,
        inversions=forks,
        failed=served < looked / 2 or min(ordered[-1]) == 0,
        figures={"looks at replicas": served, "last seen": str(ordered[-1])},
    )


def _count_up(service: UserService, user: User, *, until: float) -> None:
    client, token, number = PipelineClient(service.pipeline), token_of(service, user), 0
    while time.monotonic() < until:
        number += 1
        body = {"attributes": {"n": number}}
        response = send_json(client, "PATCH", f"/admin/users/{user.id}", body, token=token)
        assert response.status == 200, response.body


def _look(service: UserService, users: Sequence[User], found: list[tuple[int, int]], *, until: float) -> None:
    client, token = PipelineClient(service.pipeline), token_of(service, users[0])
    first, second = (str(user.id) for user in users)
    while time.monotonic() < until:
        # One statement, and so one moment of the replica.
        response = send_json(client, "GET", f"/admin/users?id={first}&id={second}", token=token)
        assert response.status == 200, response.body
        counters = {user["id"]: int(user["attributes"].get("n", 0)) for user in json_of(response)["data"]}
        if len(counters) == 2:
            found.append((counters[first], counters[second]))


def roles_taken_away(installation: Installation, replicas: Sequence[PostgresReplica], *, rounds: int) -> Tally:
    """
    Take a role from somebody who uses it on two instances, while no replica replays anything.

    An instance that has refused once refuses from then on, the one on which it was taken away at once. A use that is
    let through after that is a ghost.
    """
    administrator = installation.add_administrator()
    with contextlib.ExitStack() as opened:
        # Told past a pooler, so that they hear of each other's changes at once.
        direct = installation.primary
        instances = [opened.enter_context(installation.instance(DATABASE_DIRECT_URL=direct)) for _ in range(2)]
        role = _role(instances[0], administrator)
        user = installation.add_user(AssignedRole(role, "lister"))
        for replica in replicas:
            opened.enter_context(replica.replay_paused())
        ghosts = 0
        uses = [_use_of(service, user) for service in instances]
        target = f"/admin/users/{user.id}/roles"
        client = PipelineClient(instances[0].pipeline)
        for _ in range(rounds):
            for use in uses:
                eventually(partial(_answers, use, 200))
            token = token_of(instances[0], administrator)
            assert send_json(client, "DELETE", f"{target}?roleId={role}", token=token).status == 200
            ghosts += sum(uses[0]() != 403 for _ in range(_USES_AFTER))
            eventually(partial(_answers, uses[1], 403))
            ghosts += sum(use() != 403 for use in uses for _ in range(_USES_AFTER))
            given = send_json(client, "POST", target, {"roleIds": [str(role)]}, token=token)
            assert given.status == 200, given.body
    return Tally(trials=rounds, ghosts=ghosts)


def _answers(use: Callable[[], int], status: int) -> bool:
    return use() == status


def _role(service: UserService, administrator: User) -> RoleId:
    """Make a role that may list users."""
    client, token = PipelineClient(service.pipeline), token_of(service, administrator)
    made = json_of(send_json(client, "POST", "/admin/roles", {"name": "lister"}, token=token))
    permissions = json_of(send_json(client, "GET", "/admin/permissions?limit=100", token=token))["data"]
    (wanted,) = (each["id"] for each in permissions if each["name"] == _LISTS_USERS)
    given = send_json(
        client, "POST", f"/admin/roles/{made['id']}/permissions", {"permissionIds": [wanted]}, token=token
    )
    assert given.status == 200, given.body
    return RoleId(UUID(made["id"]))


def _use_of(service: UserService, user: User) -> Callable[[], int]:
    client, token = PipelineClient(service.pipeline), token_of(service, user)
    return lambda: send_json(client, "GET", "/admin/users?limit=1", token=token).status
