"""Nobody changes a user or a service client that may do what they may not: each action, on each kind of target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from tests.hosts.installation import Installation
from tests.paths import path_of
from userservice_core.domain.roles import ADMIN_ROLE, SYSTEM_PERMISSIONS, USER_ROLE
from userservice_core.http.problems import TYPE_PREFIX
from userservice_core.http.routes import ROUTES, Holder, Route
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from userservice_core.http.messages import Response

_BODIES: Final[dict[str, dict[str, Any] | None]] = {
    "update_user": {"status": "suspended", "statusReason": "a matrix"},
    "delete_user": None,
    "restore_user": None,
    "unlock_user": None,
    "reset_user_mfa": None,
    "invite_user": None,
    "mail_password_reset": None,
    "replace_user_profile": {"firstName": "Ada"},
    "delete_user_sessions": None,
    "delete_user_session": None,
    "assign_user_roles": {"roleIds": [str(USER_ROLE.id)]},
    "remove_user_roles": None,
    "update_client": {"name": "renamed"},
    "delete_client": None,
    "create_client_secret": None,
    "delete_client_secret": None,
}
"""For each action, a body that is fine with a target of lower rank."""

_QUERIES: Final = {"remove_user_roles": f"?roleId={ADMIN_ROLE.id}"}

_ACTIONS: Final = [
    route
    for route in ROUTES
    if route.method != "GET" and route.path.startswith(("/admin/users/{id}", "/admin/clients/{id}"))
]
_PERMISSION_IDS: Final = {permission.name: str(permission.id) for permission in SYSTEM_PERMISSIONS}
_OTHER: Final = "audit:read"
"""A permission that no action asks for."""


@attrs.frozen(kw_only=True)
class _Office:
    """A service with its first administrator."""

    installation: Installation
    client: PipelineClient
    administrator: str

    @classmethod
    def open(cls) -> _Office:
        """Begin with an administrator."""
        installation = Installation.begin(FakeClock())
        client = PipelineClient(installation.service.pipeline)
        return cls(
            installation=installation, client=client, administrator=installation.administrator_token("root@example.com")
        )

    def must(self, method: str, target: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """Have the administrator do what succeeds."""
        response = send_json(self.client, method, target, content, token=self.administrator)
        assert response.status < 300, (target, response.body)
        return json_of(response) if response.body else {}

    def holder(self, name: str, *permissions: str) -> tuple[str, str]:
        """Return the id and a token of a user who holds these permissions."""
        token = self.installation.access_token(f"{name}@example.com")
        role = self.must("POST", "/admin/roles", {"name": name})["id"]
        self.must(
            "POST", f"/admin/roles/{role}/permissions", {"permissionIds": [_PERMISSION_IDS[p] for p in permissions]}
        )
        user_id = json_of(send_json(self.client, "GET", "/users/me", token=token))["id"]
        self.must("POST", f"/admin/users/{user_id}/roles", {"roleIds": [role]})
        return user_id, token

    def service_client(self, name: str, *permissions: str) -> str:
        """Return the id of a service client that holds these permissions."""
        return str(self.must("POST", "/admin/clients", {"name": name, "permissions": list(permissions)})["id"])

    def administrator_id(self) -> str:
        """Return whose token the administrator's is."""
        return str(json_of(send_json(self.client, "GET", "/users/me", token=self.administrator))["id"])

    def call(self, route: Route, target: str, *, token: str) -> Response:
        """Do it to the target."""
        path = path_of(route).replace(str(path_of(route).split("/")[3]), target, 1) + _QUERIES.get(
            route.operation_id, ""
        )
        return send_json(self.client, route.method, path, _BODIES[route.operation_id], token=token)


def test_every_action_is_tried() -> None:
    """A new one is added above."""
    assert {route.operation_id for route in _ACTIONS} == set(_BODIES)


@pytest.mark.asvs("8.2.2", "8.2.3")
@pytest.mark.parametrize("route", _ACTIONS, ids=lambda route: str(route.operation_id))
def test_an_action_on_who_holds_more_is_refused(route: Route) -> None:
    """Whether they hold everything or one thing more; whoever holds no more is not safe."""
    office = _Office.open()
    assert isinstance(route.who, Holder)
    _, actor = office.holder("actor", route.who.permission)
    if route.path.startswith("/admin/users"):
        targets = [office.administrator_id(), office.holder("higher", _OTHER)[0]]
        equal = office.holder("equal", route.who.permission)[0]
    else:
        targets = [office.service_client("higher", _OTHER), office.service_client("both", _OTHER, route.who.permission)]
        equal = office.service_client("equal", route.who.permission)
    before = office.installation.stored()

    refusals = [office.call(route, target, token=actor) for target in targets]
    after = office.installation.stored()

    assert [(refusal.status, json_of(refusal)["type"]) for refusal in refusals] == [
        (403, f"{TYPE_PREFIX}target-outranks-actor")
    ] * 2
    assert (after.users, after.clients, after.profiles) == (
        before.users,
        before.clients,
        before.profiles,
    )
    assert office.call(route, equal, token=actor).status in {200, 201, 202, 204, 404, 409}
