"""
What is ended while instances cannot reach the primary: what they know from before stands for five seconds, and no more.

Then they answer 503 until they can ask again. Routes that skip every cache do so at once.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tests.e2e.processes import eventually
from tests.endurance.kills import Answering
from tests.endurance.revocations import BOUND_SECONDS, Scene, sent
from tests.soak.outcomes import Tally
from userservice_core.domain.roles import ADMIN_ROLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.endurance.installation import Installation
    from tests.servers.toxiproxy import Line, Toxiproxy

_INSTANCES: Final = 2
_PAUSE_SECONDS: Final = 0.02
_OK: Final = 200
_UNAVAILABLE: Final = 503
_CHECK: Final = "/auth/check-permissions"
_EXPORT: Final = "/users/me/export"


def primary_cut(installation: Installation, toxiproxy: Toxiproxy, *, rounds: int, seed: int) -> Tally:
    """
    End something in each of *rounds* while two of three instances cannot reach the primary.

    Returns:
        A tally whose ghosts are what was taken after five seconds, or at all by a route that skips every cache.
    """
    primary = urlsplit(installation.dsn)
    ghosts, waits = 0, [0.0]
    with (
        toxiproxy.line(f"{primary.hostname}:{primary.port}") as line,
        _instances(installation, line) as (near, *far),
        ThreadPoolExecutor(_INSTANCES) as threads,
    ):
        scene = Scene.of(installation, [near], random.Random(seed))  # noqa: S311 - it is to be the same again
        for way, kind in itertools.islice(itertools.cycle(itertools.product(_WAYS, _KINDS)), rounds):
            scene.sign_in_administrator()
            probe = _Probe(scene.user_id, _token_of_administrator(scene))
            for instance in far:
                eventually(partial(probe.is_taken, instance), what="what is ended to be known first")
            with way(line):
                refusal = kind(scene, probe.token)
                ended_at = time.monotonic()
                ghosts += sum(threads.map(probe.is_taken_by_sensitive_route, far))
                waits += threads.map(partial(probe.seconds_taken, ended_at=ended_at), far)
            for instance in far:
                eventually(partial(probe.is_answered, instance, refusal), what=f"{refusal} on every instance")
    ghosts += sum(wait > BOUND_SECONDS for wait in waits)
    return Tally(trials=rounds, ghosts=ghosts, figures={"max_ms": round(max(waits) * 1000, 1)})


@contextlib.contextmanager
def _instances(installation: Installation, line: Line) -> Iterator[Sequence[Answering]]:
    """Run one instance beside the primary, and the others at the end of the line."""
    there = urlsplit(installation.dsn)
    dsn = there._replace(netloc=f"{there.username}:{there.password}@{line.address}").geturl()
    far = installation.with_settings(DATABASE_URL=dsn, DATABASE_DIRECT_URL=dsn)
    running = [Answering(each, background=True) for each in (installation, *[far] * _INSTANCES)]
    try:
        yield running
    finally:
        for instance in running:
            instance.end()


class _Probe:
    """What an administrator asks, and what is answered from memory as long as it is known there."""

    def __init__(self, user_id: str, token: str) -> None:
        self.token = token
        self._question = {"userId": user_id, "permissions": ["role:list"]}

    def is_taken(self, instance: Answering) -> bool:
        """Tell whether the token gets an answer."""
        return self._status(instance) == _OK

    def is_answered(self, instance: Answering, status: int) -> bool:
        """Tell whether it gets this one."""
        return self._status(instance) == status

    def is_taken_by_sensitive_route(self, instance: Answering) -> bool:
        """Tell whether a route that skips every cache takes it."""
        status, _ = instance.send("GET", _EXPORT, None, token=self.token)
        return status < 400

    def seconds_taken(self, instance: Answering, *, ended_at: float) -> float:
        """Ask until it is refused, and return when it was taken for the last time, after the end."""
        last_taken_at = ended_at
        while last_taken_at - ended_at <= 2 * BOUND_SECONDS:
            sent_at = time.monotonic()
            status = self._status(instance)
            if status == _OK:
                last_taken_at = max(ended_at, sent_at)
            elif sent_at - ended_at > BOUND_SECONDS:
                assert status == _UNAVAILABLE, status
                break
            time.sleep(_PAUSE_SECONDS)
        return last_taken_at - ended_at

    def _status(self, instance: Answering) -> int:
        status, _ = instance.send("POST", _CHECK, self._question, token=self.token)
        return status


def _token_of_administrator(scene: Scene) -> str:
    """Have the user be an administrator, with a new session."""
    scene.administrate("POST", f"{scene.path}/roles", {"roleIds": [str(ADMIN_ROLE.id)]})
    return scene.sign_in()


def _take_role(scene: Scene, _token: str) -> int:
    scene.administrate("DELETE", f"{scene.path}/roles?roleId={ADMIN_ROLE.id}")
    return 403


def _sign_out(scene: Scene, token: str) -> int:
    sent(scene.any_instance(), "POST", "/auth/logout", {}, token=token)
    return 401


@contextlib.contextmanager
def _cut(line: Line) -> Iterator[None]:
    """Every connection ends, and none can be made."""
    with line.cut():
        yield


@contextlib.contextmanager
def _silent(line: Line) -> Iterator[None]:
    """Connections stay, and carry nothing."""
    with line.toxic("timeout", timeout=0), line.toxic("timeout", timeout=0, upstream=True):
        yield


_WAYS: Final[tuple[Callable[[Line], contextlib.AbstractContextManager[None]], ...]] = (_cut, _silent)
_KINDS: Final[tuple[Callable[[Scene, str], int], ...]] = (_take_role, _sign_out)
