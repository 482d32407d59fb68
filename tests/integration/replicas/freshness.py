"""Pairs of a write and a read that has to see it: for every read that a replica may serve, on every host."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs

from adapters.flask_app.app import create_app as create_flask_app
from adapters.lambda_handler.app import create_handler
from adapters.starlette_app.app import create_app as create_starlette_app
from tests.hosts.clients import AsgiClient, LambdaClient, WsgiClient
from tests.integration.replicas.instances import token_of
from tests.lambda_events import http_api_event
from userservice_core.http.routes import ROUTES
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from userservice_core.bootstrap import UserService
    from userservice_core.domain.users import User
    from userservice_core.testing.host import HostClient

HOSTS: Final[dict[str, Callable[[UserService], HostClient]]] = {
    "pipeline": lambda service: PipelineClient(service.pipeline),
    "starlette": lambda service: AsgiClient(create_starlette_app(service)),
    "flask": lambda service: WsgiClient(create_flask_app(service)),
    "lambda": lambda service: LambdaClient(create_handler(service), make_event=http_api_event),
}

READS: Final = frozenset(route.operation_id for route in ROUTES if route.replica_ok)

_TOKEN: Final = "consistency-token"


class StaleReadError(AssertionError):
    """A read did not see the write before it."""


@attrs.define
class Compared:
    """
    What was tried.

    Attributes:
        pairs: How many reads were compared with a write, by operation and host of the read.
        seconds: How long the slowest read took.
    """

    pairs: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """How many pairs there were."""
        return self.pairs.total()

    def missing(self) -> set[tuple[str, str]]:
        """Return which reads were not tried on which hosts."""
        return set(itertools.product(READS, HOSTS)) - set(self.pairs)

    def add(self, other: Compared) -> None:
        """Take over what was tried elsewhere."""
        self.pairs += other.pairs
        self.seconds = max(self.seconds, other.seconds)


class Writer:
    """An administrator who writes on one instance and reads on the others, and carries the token."""

    def __init__(self, user: User, instances: Sequence[UserService], *, seed: int) -> None:
        """Sign *user* in, and make what they will write to."""
        self.user = user
        self.compared = Compared()
        self._token = token_of(instances[0], user)
        self._carried: str | None = None
        self._number = 0
        self._newest = ""
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._clients = [{name: make(service) for name, make in HOSTS.items()} for service in instances]
        # The paths of the hosts are taken in turn, so that each read is tried on each.
        self._hosts = itertools.cycle(HOSTS)
        name = f"w{self.user.id.hex}"
        self._role = self.write("POST", "/admin/roles", {"name": name})["id"]
        self._permission = self.write("POST", "/admin/permissions", {"resource": name, "action": "use"})["id"]
        street = {"addressLine1": "1", "city": "Paris", "postalCode": "75001", "countryCode": "FR"}
        self._street = street
        self._address = self.write("POST", "/users/me/addresses", street)["id"]

    def rounds(self, *, until: Callable[[], bool]) -> None:
        """Write and read until told to stop."""
        works = [
            self.profile,
            self.own_account,
            self.own_address,
            self.role,
            self.permission,
            self.grant,
            self.membership,
        ]
        while not until():
            self._random.choice(works)()

    # --- writes, and all reads that show them ---------------------------------------------------------------------

    def profile(self) -> None:
        """Write one's name, by either way."""
        name = self._next()
        if self._random.random() < 0.5:
            self.write("PATCH", "/users/me/profile", {"displayName": name})
        else:
            self.write("PUT", f"/admin/users/{self.user.id}/profile", {"displayName": name})
        for _ in range(2):
            self.read("get_profile", "/users/me/profile", lambda found: found["displayName"] == name)
            self.read(
                "get_user_profile",
                f"/admin/users/{self.user.id}/profile",
                lambda found: found["displayName"] == name,
            )

    def own_account(self) -> None:
        """Have one's attributes changed."""
        mark = self._next()
        self.write("PATCH", f"/admin/users/{self.user.id}", {"attributes": {"mark": mark}})
        self.read("get_current_user", "/users/me", lambda found: found["attributes"]["mark"] == mark)
        self.read("get_user", f"/admin/users/{self.user.id}", lambda found: found["attributes"]["mark"] == mark)
        self.read(
            "list_users",
            f"/admin/users?id={self.user.id}",
            lambda found: found["data"][0]["attributes"]["mark"] == mark,
        )
        self.read(
            "list_audit_log",
            f"/admin/audit-log?subject={self.user.id}&limit=1",
            lambda found: found["data"][0]["after"]["attributes"]["mark"] == mark,
        )
        self.read(
            "list_own_activity",
            "/users/me/activity?limit=1",
            lambda found: bool(found["data"]) and self._is_newer(found["data"][0]["id"]),
        )

    def own_address(self) -> None:
        """Move."""
        line = self._next()
        self.write("PUT", f"/users/me/addresses/{self._address}", {**self._street, "addressLine1": line})
        self.read("get_address", f"/users/me/addresses/{self._address}", lambda found: found["addressLine1"] == line)
        self.read("list_addresses", "/users/me/addresses", lambda found: found["data"][0]["addressLine1"] == line)
        self.read(
            "list_user_addresses",
            f"/admin/users/{self.user.id}/addresses",
            lambda found: found["data"][0]["addressLine1"] == line,
        )

    def role(self) -> None:
        """Describe a role otherwise."""
        text = self._next()
        self.write("PATCH", f"/admin/roles/{self._role}", {"description": text})
        self.read("get_role", f"/admin/roles/{self._role}", lambda found: found["description"] == text)
        self.read(
            "list_roles",
            "/admin/roles?limit=100",
            lambda found: text in [role["description"] for role in found["data"]],
        )

    def permission(self) -> None:
        """Describe a permission otherwise."""
        text = self._next()
        self.write("PATCH", f"/admin/permissions/{self._permission}", {"description": text})
        self.read(
            "get_permission", f"/admin/permissions/{self._permission}", lambda found: found["description"] == text
        )
        self.read(
            "list_permissions",
            "/admin/permissions?limit=100",
            lambda found: text in [permission["description"] for permission in found["data"]],
        )

    def grant(self) -> None:
        """Give the role a permission, then take it away."""
        target = f"/admin/roles/{self._role}/permissions"
        for is_granted in (True, False):
            if is_granted:
                self.write("POST", target, {"permissionIds": [self._permission]})
            else:
                self.write("DELETE", f"{target}?permissionId={self._permission}")
            self._reads_of_grant(target, is_granted=is_granted)

    def membership(self) -> None:
        """Give oneself the role, then take it away."""
        target = f"/admin/users/{self.user.id}/roles"
        for is_held in (True, False):
            if is_held:
                self.write("POST", target, {"roleIds": [self._role]})
            else:
                self.write("DELETE", f"{target}?roleId={self._role}")
            self._reads_of_membership(target, is_held=is_held)

    def _reads_of_grant(self, target: str, *, is_granted: bool) -> None:
        self.read("list_role_permissions", target, lambda found: bool(found["data"]) == is_granted)
        self.read(
            "list_permission_roles",
            f"/admin/permissions/{self._permission}/roles",
            lambda found: (self._role in [role["id"] for role in found["data"]]) == is_granted,
        )

    def _reads_of_membership(self, target: str, *, is_held: bool) -> None:
        self.read(
            "list_user_roles",
            target,
            lambda found: (self._role in [role["id"] for role in found["data"]]) == is_held,
        )
        self.read("list_role_users", f"/admin/roles/{self._role}/users", lambda found: bool(found["data"]) == is_held)

    # --- one request ------------------------------------------------------------------------------------------------

    def write(self, method: str, target: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write on an instance, and keep the token."""
        self._writes_on = self._random.randrange(len(self._clients))
        client = self._clients[self._writes_on]["pipeline"]
        response = send_json(client, method, target, content, token=self._token, headers=self._headers())
        assert response.status < 300, (response.status, response.body)
        carried = response.header(_TOKEN)
        assert carried, f"{method} {target} told nobody where it wrote"
        self._carried = carried
        return json_of(response) if response.body else {}

    def read(self, operation: str, target: str, is_fresh: Callable[[dict[str, Any]], bool]) -> None:
        """Read on another instance; what is found has to be what was written."""
        others = [number for number in range(len(self._clients)) if number != self._writes_on]
        host = next(self._hosts)
        client = self._clients[self._random.choice(others)][host]
        began = time.monotonic()
        response = send_json(client, "GET", target, token=self._token, headers=self._headers())
        self.compared.seconds = max(self.compared.seconds, time.monotonic() - began)
        if response.status != 200 or not is_fresh(json_of(response)):
            raise StaleReadError(f"{operation} on {host}: {response.status} {response.body!r}")
        self.compared.pairs[operation, host] += 1

    def _headers(self) -> tuple[tuple[str, str], ...]:
        return () if self._carried is None else ((_TOKEN, self._carried),)

    def _next(self) -> str:
        self._number += 1
        return f"{self._seed}-{self._number}"

    def _is_newer(self, entry_id: str) -> bool:
        """Whether an entry of the audit log is another one than the last time."""
        is_new, self._newest = entry_id != self._newest, entry_id
        return is_new
