"""What administrators do is in the audit log, and what they may not do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest

from tests.paths import NOBODY
from userservice_core.application.refusals import QUIET_PERIOD
from userservice_core.domain.audit import Actor, AuditAction, Outcome, Subject
from userservice_core.domain.roles import SYSTEM_PERMISSIONS, USER_ROLE
from userservice_core.http.auditing import subject_of
from userservice_core.http.routes import PARAMETER, ROUTES, Holder, Route
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.ports.audit import AuditRecord
    from userservice_core.testing.host import HostClient, PipelineClient


class _Desk:
    """An administrator at a host, with the log in view."""

    def __init__(self, client: HostClient, installation: Installation) -> None:
        self._client = client
        self.token = installation.administrator_token("root@example.com")
        self.installation = installation
        self.user_token = installation.access_token("user@example.com")
        self.user_id = str(self.id_of("user@example.com"))

    def send(self, method: str, target: str, content: dict[str, Any] | None = None) -> Response:
        """Send a request with the administrator's token."""
        return send_json(self._client, method, target, content, token=self.token)

    def made(self, path: str, content: dict[str, Any]) -> str:
        """Make something, and return its id."""
        response = self.send("POST", path, content)
        assert response.status == 201, response.body
        return str(json_of(response)["id"])

    def role(self) -> str:
        """Make a role."""
        return self.made("/admin/roles", {"name": "Clerk"})

    def permission(self) -> str:
        """Make a permission."""
        return self.made("/admin/permissions", {"resource": "invoice", "action": "read"})

    def wrong_password(self) -> Response:
        """Sign in with a wrong password."""
        return send_json(
            self._client, "POST", "/auth/login", {"email": "user@example.com", "password": "not the one they have"}
        )

    def id_of(self, email: str) -> Any:  # noqa: ANN401 - a user's id
        """Return the id of a user."""
        (found,) = (user.id for user in self.installation.stored().users.values() if user.email.address == email)
        return found

    def log(self) -> list[AuditRecord]:
        """Return the whole log."""
        return self.installation.stored().audit


@pytest.fixture
def desk(pipeline_client: PipelineClient, installation: Installation) -> _Desk:
    """The first administrator, without a host."""
    return _Desk(pipeline_client, installation)


def _with_permission(desk: _Desk) -> tuple[str, str]:
    role, permission = desk.role(), desk.permission()
    desk.send("POST", f"/admin/roles/{role}/permissions", {"permissionIds": [permission]})
    return role, permission


def _with_role(desk: _Desk) -> str:
    role = desk.role()
    desk.send("POST", f"/admin/users/{desk.user_id}/roles", {"roleIds": [role]})
    return role


_SUSPENDED: Final = {"status": "suspended", "statusReason": "chargeback"}
_DEEDS: Final[dict[str, Callable[[_Desk], Callable[[], Response]]]] = {
    "create_role": lambda desk: lambda: desk.send("POST", "/admin/roles", {"name": "Clerk"}),
    "replace_role": lambda desk: _prepared(desk, desk.role(), "PUT", "/admin/roles/{}", {"name": "Chief"}),
    "update_role": lambda desk: _prepared(desk, desk.role(), "PATCH", "/admin/roles/{}", {"name": "Chief"}),
    "delete_role": lambda desk: _prepared(desk, desk.role(), "DELETE", "/admin/roles/{}"),
    "assign_role_permissions": lambda desk: _prepared(
        desk, desk.role(), "POST", "/admin/roles/{}/permissions", {"permissionIds": [str(SYSTEM_PERMISSIONS[2].id)]}
    ),
    "remove_role_permissions": lambda desk: _prepared(
        desk, "/permissions?permissionId=".join(_with_permission(desk)), "DELETE", "/admin/roles/{}"
    ),
    "create_permission": lambda desk: (
        lambda: desk.send("POST", "/admin/permissions", {"resource": "invoice", "action": "read"})
    ),
    "replace_permission": lambda desk: _prepared(
        desk, desk.permission(), "PUT", "/admin/permissions/{}", {"resource": "invoice", "action": "write"}
    ),
    "update_permission": lambda desk: _prepared(
        desk, desk.permission(), "PATCH", "/admin/permissions/{}", {"description": "New"}
    ),
    "delete_permission": lambda desk: _prepared(desk, desk.permission(), "DELETE", "/admin/permissions/{}"),
    "update_user": lambda desk: lambda: desk.send("PATCH", f"/admin/users/{desk.user_id}", _SUSPENDED),
    "delete_user": lambda desk: lambda: desk.send("DELETE", f"/admin/users/{desk.user_id}"),
    "restore_user": lambda desk: _after(
        desk.send("DELETE", f"/admin/users/{desk.user_id}"),
        lambda: desk.send("POST", f"/admin/users/{desk.user_id}/restore"),
    ),
    "unlock_user": lambda desk: _after(
        desk.wrong_password(), lambda: desk.send("POST", f"/admin/users/{desk.user_id}/unlock")
    ),
    "assign_user_roles": lambda desk: _prepared(
        desk, desk.role(), "POST", f"/admin/users/{desk.user_id}/roles", {"roleIds": ["{}"]}
    ),
    "remove_user_roles": lambda desk: _prepared(
        desk, _with_role(desk), "DELETE", f"/admin/users/{desk.user_id}/roles?roleId={{}}"
    ),
}
"""For each operation under /admin that changes something: what makes it possible, and then how it is done."""


def _after(response: Response, then: Callable[[], Response]) -> Callable[[], Response]:
    """Return *then*, once what comes before it was done."""
    assert response.status in {204, 401}, response.body
    return then


def _prepared(
    desk: _Desk, made: str, method: str, target: str, content: dict[str, Any] | None = None
) -> Callable[[], Response]:
    """Return what sends a request with the id *made* in the places of `{}`."""
    filled = {
        name: [item.format(made) for item in value] if isinstance(value, list) else value
        for name, value in (content or {}).items()
    }
    return lambda: desk.send(method, target.format(made), None if content is None else filled)


_CHANGES: Final = [route for route in ROUTES if route.audit is not None]


@pytest.mark.parametrize("route", _CHANGES, ids=lambda route: str(route.operation_id))
def test_every_administrative_change_is_in_the_log(desk: _Desk, route: Route) -> None:
    """With who did what to what; once, and nothing else of the administrator's."""
    assert route.operation_id in _DEEDS, f"tests/hosts/test_audit.py lacks {route.operation_id}: say how it is done."
    do = _DEEDS[route.operation_id](desk)
    before = len(desk.log())

    response = do()

    assert response.status in {200, 201, 204}, response.body
    written = [record.entry for record in desk.log()[before:]]
    assert route.audit in {entry.action for entry in written}
    assert {entry.actor for entry in written} == {Actor.user(desk.id_of("root@example.com"))}
    assert {entry.outcome for entry in written} == {Outcome.SUCCEEDED}
    assert all(entry.subject is not None for entry in written)


def test_there_is_no_deed_without_a_route() -> None:
    """What is gone is not tested."""
    assert set(_DEEDS) == {route.operation_id for route in _CHANGES}


_GUARDED: Final = [route for route in ROUTES if isinstance(route.who, Holder)]


@pytest.mark.parametrize("route", _GUARDED, ids=lambda route: str(route.operation_id))
def test_whoever_may_not_is_in_the_log(desk: _Desk, pipeline_client: PipelineClient, route: Route) -> None:
    """On each route that wants a permission: who tried what with what, and why they were refused."""
    path = PARAMETER.sub(desk.user_id, route.path)
    content: dict[str, Any] | None = None if route.body is None else {}

    response = send_json(pipeline_client, route.method, path, content, token=desk.user_token)

    assert (response.status, json_of(response)["type"].rpartition(":")[2]) == (403, "permission-denied")
    entry = desk.log()[-1].entry
    assert entry.action == (route.audit or AuditAction.ACCESS_DENIED)
    assert entry.actor == Actor.user(desk.id_of("user@example.com"))
    assert (entry.outcome, entry.reason) == (Outcome.REFUSED, "permission-denied")
    assert entry.subject == subject_of(route, {"id": UUID(desk.user_id)})
    assert entry.after == {"operation": route.operation_id}


@pytest.mark.parametrize("route", _CHANGES, ids=lambda route: str(route.operation_id))
def test_what_a_route_with_an_id_is_about_is_known(route: Route) -> None:
    """A collection that is new under /admin is told to the log, too."""
    assert (subject_of(route, {"id": NOBODY}) is None) == ("{id}" not in route.path)


def test_the_log_is_not_filled_with_refusals(desk: _Desk, pipeline_client: PipelineClient) -> None:
    """One a minute of each caller and operation."""

    def refused(target: str) -> int:
        before = len(desk.log())
        for _ in range(3):
            assert send_json(pipeline_client, "GET", target, token=desk.user_token).status == 403
        return len(desk.log()) - before

    assert refused("/admin/roles") == 1
    assert refused("/admin/permissions") == 1
    desk.installation.clock.advance(QUIET_PERIOD - timedelta(seconds=1))
    assert refused("/admin/roles") == 0
    desk.installation.clock.advance(timedelta(seconds=1))
    assert refused("/admin/roles") == 1


def test_an_administrator_who_may_not_is_in_the_log(desk: _Desk) -> None:
    """Also where it is the use case that refuses: the last administrator keeps their role."""
    root = desk.id_of("root@example.com")
    held = json_of(desk.send("GET", f"/admin/users/{root}/roles"))["data"]

    response = desk.send("DELETE", f"/admin/users/{root}/roles?roleId={held[0]['id']}")

    entry = desk.log()[-1].entry
    assert (response.status, entry.reason, entry.action) == (
        409,
        "last-administrator",
        AuditAction.USER_ROLES_REMOVED,
    )
    assert entry.subject == Subject.user(root)


def test_other_faults_are_not_in_the_log(desk: _Desk) -> None:
    """What is wrong with a request is nothing that somebody did."""
    before = len(desk.log())

    assert desk.send("POST", "/admin/roles", {"name": ""}).status == 400
    assert desk.send("DELETE", f"/admin/roles/{USER_ROLE.id}").status in {403, 409}
    assert desk.send("GET", f"/admin/roles/{NOBODY}").status == 404

    assert {record.entry.outcome for record in desk.log()[before:]} <= {Outcome.REFUSED}


def test_the_log_says_where_a_change_came_from(client: HostClient, installation: Installation) -> None:
    """Over each host: request id, address and user agent of the call."""
    desk = _Desk(client, installation)

    response = desk.send("POST", "/admin/roles", {"name": "Clerk"})

    record = desk.log()[-1]
    assert record.request_id == dict(response.headers)["x-request-id"]
    assert record.entry.after == {"name": "Clerk", "description": None}
    assert record.entry.changed == ("name",)
