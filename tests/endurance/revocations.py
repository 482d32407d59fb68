"""What is ended on one of four instances, and how long the others still take it."""

from __future__ import annotations

import contextlib
import itertools
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg

from tests.e2e.flow import PASSWORD
from tests.e2e.processes import eventually, free_port
from tests.endurance import processes
from tests.endurance.forks import end, fork
from tests.endurance.kills import Answering
from tests.soak.outcomes import Tally
from userservice_core.domain.roles import ADMIN_ROLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.endurance.installation import Installation

BOUND_SECONDS: Final = 5.0
"""After which nobody takes what was ended, with every fast way cut."""

_INSTANCES: Final = 4
_PAUSE_SECONDS: Final = 0.002
_SIGN_IN_AGAIN_AFTER: Final = 50
_SENSITIVE_EACH: Final = 4
_PASSWORDS: Final = (PASSWORD, "another horse battery staple")
_ROLES: Final = "/admin/roles"
_ME: Final = "/users/me"
_EXPORT: Final = "/users/me/export"


def revocations(installation: Installation, *, rounds: int, seed: int, is_cut: bool = False) -> Tally:
    """
    End something in each of *rounds*, and see for how long four instances still take it.

    Args:
        installation: Where.
        rounds: How many.
        seed: What decides on which instance, and what of the user.
        is_cut: Whether there are neither notifications nor a shared cache, as when the network between is cut.

    Returns:
        A tally whose ghosts are what was taken after five seconds, or at all by a sensitive route.
    """
    chance = random.Random(seed)  # noqa: S311 - it is to be the same again
    environment = dict(installation.environment)
    if is_cut:
        del environment["USERSERVICE_DATABASE_DIRECT_URL"]
        environment["USERSERVICE_CACHE_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    cut = attrs.evolve(installation, environment=environment)
    with _instances(cut) as instances, ThreadPoolExecutor(_INSTANCES) as threads:
        scene = Scene.of(cut, instances, chance)
        waits: list[float] = []
        ghosts = 0
        for number, kind in zip(range(rounds), itertools.cycle(_KINDS), strict=False):
            if number % _SIGN_IN_AGAIN_AFTER == 0:
                scene.sign_in_administrator()
            probe = kind(scene)
            if number % _SENSITIVE_EACH == _SENSITIVE_EACH - 1:
                ghosts += sum(threads.map(probe.is_taken_by_sensitive_route, instances))
            waits += threads.map(partial(probe.seconds_taken, ended_at=time.monotonic()), instances)
            scene.mend()
    ghosts += sum(wait > BOUND_SECONDS for wait in waits)
    cuts = statistics.quantiles(waits, n=100, method="inclusive")
    return Tally(
        trials=rounds,
        ghosts=ghosts,
        figures={
            "p50_ms": round(cuts[49] * 1000, 1),
            "p99_ms": round(cuts[98] * 1000, 1),
            "max_ms": round(max(waits) * 1000, 1),
        },
    )


@contextlib.contextmanager
def _instances(installation: Installation) -> Iterator[Sequence[Answering]]:
    running = [Answering(installation, background=True) for _ in range(_INSTANCES)]
    try:
        yield running
    finally:
        for instance in running:
            instance.end()


@attrs.frozen(kw_only=True)
class _Probe:
    """A request that was taken a moment ago, and is to be refused from now on."""

    token: str
    path: str
    refusal: int
    sensitive: tuple[str, str]

    def seconds_taken(self, instance: Answering, *, ended_at: float) -> float:
        """Send it until it is refused, and return when it was taken for the last time, after the answer of the end."""
        last_taken_at = ended_at
        while True:
            sent_at = time.monotonic()
            status, _ = instance.send("GET", self.path, None, token=self.token)
            if status == self.refusal:
                return last_taken_at - ended_at
            assert status == 200, status
            last_taken_at = max(ended_at, sent_at)
            if last_taken_at - ended_at > 2 * BOUND_SECONDS:
                return last_taken_at - ended_at
            time.sleep(_PAUSE_SECONDS)

    def is_taken_by_sensitive_route(self, instance: Answering) -> bool:
        """Tell whether a route that skips every cache takes it."""
        method, path = self.sensitive
        status, _ = instance.send(method, path, None, token=self.token)
        return status < 400


@attrs.define
class Scene:
    """An administrator, a user, and four instances that know both."""

    instances: Sequence[Answering]
    chance: random.Random
    user_id: str
    administrator: str = ""
    password: str = PASSWORD
    is_suspended: bool = False

    @classmethod
    def of(cls, installation: Installation, instances: Sequence[Answering], chance: random.Random) -> Scene:
        """Register the two."""
        relay = fork(processes.relay, installation.environment, "r", str(installation.mails), log=installation.log)
        for email in ("root@example.com", "ada@example.com"):
            sent(instances[0], "POST", "/auth/register", {"email": email, "password": PASSWORD})
        eventually(lambda: len(installation.mailed("verify_email")) == 2, what="two mails")
        end(relay)
        for mail in installation.mailed("verify_email"):
            sent(instances[0], "POST", "/auth/verify-email", {"token": mail["token"]})
        with contextlib.closing(psycopg.connect(installation.dsn, autocommit=True)) as connection:
            connection.execute(
                "INSERT INTO user_roles (user_id, role_id) SELECT user_id, %s FROM users WHERE email = %s",
                (ADMIN_ROLE.id, "root@example.com"),
            )
            found = connection.execute("SELECT user_id FROM users WHERE email = 'ada@example.com'").fetchone()
        assert found is not None
        return cls(instances, chance, str(found[0]))

    @property
    def path(self) -> str:
        """The user, to the administrator."""
        return f"/admin/users/{self.user_id}"

    def sign_in_administrator(self) -> None:
        """Anew, since what an administrator does here wants a sign-in of late."""
        credentials = {"email": "root@example.com", "password": PASSWORD}
        self.administrator = sent(self.instances[0], "POST", "/auth/login", credentials)["accessToken"]

    def sign_in(self) -> str:
        """Return an access token of a new session of the user."""
        credentials = {"email": "ada@example.com", "password": self.password}
        return str(sent(self.any_instance(), "POST", "/auth/login", credentials)["accessToken"])

    def signed_in(self) -> str:
        """Return an access token of a new session that every instance has taken."""
        token = self.sign_in()
        for instance in self.instances:
            sent(instance, "GET", _ME, None, token=token)
        return token

    def any_instance(self) -> Answering:
        """Return one by chance."""
        return self.chance.choice(self.instances)

    def administrate(self, method: str, path: str, body: object = None) -> None:
        """Do it on any instance."""
        sent(self.any_instance(), method, path, body, token=self.administrator)

    def mend(self) -> None:
        """Let the user in again."""
        if self.is_suspended:
            self.administrate("PATCH", self.path, {"status": "active"})
            self.is_suspended = False


def sent(instance: Answering, method: str, path: str, body: object, *, token: str | None = None) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of a good answer."""
    status, content = instance.send(method, path, body, token=token)
    assert status < 300, f"{method} {path}: {status} {content}"
    return content


def _end_of_session(token: str) -> _Probe:
    return _Probe(token=token, path=_ME, refusal=401, sensitive=("GET", _EXPORT))


def _sign_out(scene: Scene) -> _Probe:
    token = scene.signed_in()
    sent(scene.any_instance(), "POST", "/auth/logout", {}, token=token)
    return _end_of_session(token)


def _take_sessions(scene: Scene) -> _Probe:
    token = scene.signed_in()
    scene.administrate("DELETE", f"{scene.path}/sessions")
    return _end_of_session(token)


def _suspend(scene: Scene) -> _Probe:
    token = scene.signed_in()
    scene.administrate("PATCH", scene.path, {"status": "suspended", "statusReason": "a test"})
    scene.is_suspended = True
    return _end_of_session(token)


def _change_password(scene: Scene) -> _Probe:
    token, other = scene.signed_in(), scene.sign_in()
    (password,) = set(_PASSWORDS) - {scene.password}
    body = {"currentPassword": scene.password, "newPassword": password}
    sent(scene.any_instance(), "POST", "/auth/change-password", body, token=other)
    scene.password = password
    return _end_of_session(token)


def _take_role(scene: Scene) -> _Probe:
    token = scene.signed_in()
    scene.administrate("POST", f"{scene.path}/roles", {"roleIds": [str(ADMIN_ROLE.id)]})
    for instance in scene.instances:
        eventually(partial(_is_taken, instance, token), what="the role on every instance")
    scene.administrate("DELETE", f"{scene.path}/roles?roleId={ADMIN_ROLE.id}")
    return _Probe(token=token, path=_ROLES, refusal=403, sensitive=("POST", f"{scene.path}/unlock"))


def _is_taken(instance: Answering, token: str) -> bool:
    return bool(instance.send("GET", _ROLES, None, token=token)[0] == 200)


_KINDS: Final[tuple[Callable[[Scene], _Probe], ...]] = (
    _sign_out,
    _take_role,
    _suspend,
    _take_sessions,
    _change_password,
)
