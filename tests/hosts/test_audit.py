"""What administrators do is in the audit log, and what they may not do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pyotp
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
        self.client = client
        self.token = installation.administrator_token("root@example.com")
        self.installation = installation
        self.user_token = installation.access_token("user@example.com")
        self.user_id = str(self.id_of("user@example.com"))

    def send(self, method: str, target: str, content: dict[str, Any] | None = None) -> Response:
        """Send a request with the administrator's token."""
        return send_json(self.client, method, target, content, token=self.token)

    def made(self, path: str, content: dict[str, Any] | None) -> str:
        """Make something, and return its id."""
        response = self.send("POST", path, content)
        assert response.status == 201, response.body
        return str(json_of(response)["id"])

    def role(self) -> str:
        """Make a role."""
        return self.made("/admin/roles", {"name": "Clerk"})

    def client_id(self) -> str:
        """Make a service client."""
        return self.made("/admin/clients", {"name": "billing"})

    def permission(self) -> str:
        """Make a permission."""
        return self.made("/admin/permissions", {"resource": "invoice", "action": "read"})

    def session_id(self) -> str:
        """Have the user sign in, and return which session that began."""
        credentials = {"email": "user@example.com", "password": "correct horse battery staple"}
        assert send_json(self.client, "POST", "/auth/login", credentials).status == 200
        return str(json_of(self.send("GET", f"/admin/users/{self.user_id}/sessions"))["data"][0]["id"])

    def wrong_password(self) -> Response:
        """Sign in with a wrong password."""
        return send_json(
            self.client, "POST", "/auth/login", {"email": "user@example.com", "password": "not the one they have"}
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


def _with_second_secret(desk: _Desk) -> tuple[str, str]:
    client_id = desk.client_id()
    return client_id, desk.made(f"/admin/clients/{client_id}/secrets", None)


def _with_role(desk: _Desk) -> str:
    role = desk.role()
    desk.send("POST", f"/admin/users/{desk.user_id}/roles", {"roleIds": [role]})
    return role


_SUSPENDED: Final = {"status": "suspended", "statusReason": "chargeback"}


def _with_second_factor(desk: _Desk) -> str:
    body = {"email": "user@example.com", "password": "correct horse battery staple"}
    token = json_of(send_json(desk.client, "POST", "/auth/login", body))["accessToken"]
    secret = json_of(send_json(desk.client, "POST", "/auth/mfa/setup", token=token))["secret"]
    code = pyotp.TOTP(secret).at(desk.installation.clock.now())
    assert send_json(desk.client, "POST", "/auth/mfa/verify", {"code": code}, token=token).status == 200
    return desk.user_id


_DEEDS: Final[dict[str, Callable[[_Desk], Callable[[], Response]]]] = {
    "update_settings": lambda desk: (
        lambda: desk.send("PATCH", "/admin/settings", {"values": {"logLevel": "DEBUG"}, "reason": "an incident"})
    ),
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
    "create_client": lambda desk: lambda: desk.send("POST", "/admin/clients", {"name": "billing"}),
    "update_client": lambda desk: _prepared(desk, desk.client_id(), "PATCH", "/admin/clients/{}", {"name": "shop"}),
    "delete_client": lambda desk: _prepared(desk, desk.client_id(), "DELETE", "/admin/clients/{}"),
    "create_client_secret": lambda desk: _prepared(desk, desk.client_id(), "POST", "/admin/clients/{}/secrets"),
    "delete_client_secret": lambda desk: _prepared(
        desk, "/secrets/".join(_with_second_secret(desk)), "DELETE", "/admin/clients/{}"
    ),
    "create_user": lambda desk: lambda: desk.send("POST", "/admin/users", {"email": "new@example.com"}),
    "invite_user": lambda desk: _prepared(
        desk, desk.made("/admin/users", {"email": "new@example.com"}), "POST", "/admin/users/{}/invitation"
    ),
    "mail_password_reset": lambda desk: lambda: desk.send("POST", f"/admin/users/{desk.user_id}/password-reset"),
    "replace_user_profile": lambda desk: (
        lambda: desk.send("PUT", f"/admin/users/{desk.user_id}/profile", {"bio": "Two words."})
    ),
    "update_user": lambda desk: lambda: desk.send("PATCH", f"/admin/users/{desk.user_id}", _SUSPENDED),
    "delete_user": lambda desk: lambda: desk.send("DELETE", f"/admin/users/{desk.user_id}"),
    "restore_user": lambda desk: _after(
        desk.send("DELETE", f"/admin/users/{desk.user_id}"),
        lambda: desk.send("POST", f"/admin/users/{desk.user_id}/restore"),
    ),
    "unlock_user": lambda desk: _after(
        desk.wrong_password(), lambda: desk.send("POST", f"/admin/users/{desk.user_id}/unlock")
    ),
    "reset_user_mfa": lambda desk: _prepared(desk, _with_second_factor(desk), "DELETE", "/admin/users/{}/mfa"),
    "delete_user_sessions": lambda desk: lambda: desk.send("DELETE", f"/admin/users/{desk.user_id}/sessions"),
    "delete_user_session": lambda desk: _prepared(
        desk, desk.session_id(), "DELETE", f"/admin/users/{desk.user_id}/sessions/{{}}"
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


@pytest.mark.asvs("16.2.1")
@pytest.mark.parametrize("route", _CHANGES, ids=lambda route: str(route.operation_id))
def test_every_administrative_change_is_in_the_log(desk: _Desk, route: Route) -> None:
    """With who did what to what; once, and nothing else of the administrator's."""
    assert route.operation_id in _DEEDS, f"tests/hosts/test_audit.py lacks {route.operation_id}: say how it is done."
    do = _DEEDS[route.operation_id](desk)
    before = len(desk.log())

    response = do()

    assert response.status in {200, 201, 202, 204}, response.body
    written = [record.entry for record in desk.log()[before:]]
    assert route.audit in {entry.action for entry in written}
    assert {entry.actor for entry in written} == {Actor.user(desk.id_of("root@example.com"))}
    assert {entry.outcome for entry in written} == {Outcome.SUCCEEDED}
    assert all(entry.subject is not None for entry in written)


def test_there_is_no_deed_without_a_route() -> None:
    """What is gone is not tested."""
    assert set(_DEEDS) == {route.operation_id for route in _CHANGES}


_GUARDED: Final = [route for route in ROUTES if isinstance(route.who, Holder)]


@pytest.mark.asvs("16.3.2")
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


# --- reading it -------------------------------------------------------------------------------------------------------


def _list(desk: _Desk, query: str = "") -> list[dict[str, Any]]:
    response = desk.send("GET", f"/admin/audit-log{query}")
    assert response.status == 200, response.body
    data: list[dict[str, Any]] = json_of(response)["data"]
    return data


def test_the_log_can_be_read(client: HostClient, installation: Installation) -> None:
    """Over each host, the newest first, each entry with all that is known of it."""
    desk = _Desk(client, installation)
    role = desk.role()
    root = str(desk.id_of("root@example.com"))

    newest, *others = _list(desk)

    record = desk.log()[-1]
    assert newest == {
        "id": str(record.entry.id),
        "at": newest["at"],
        "action": "role.created",
        "actor": {"kind": "user", "id": root},
        "subject": {"kind": "role", "id": role},
        "outcome": "succeeded",
        "reason": None,
        "changed": ["name"],
        "before": {},
        "after": {"name": "Clerk", "description": None},
        "ip": record.origin.ip,
        "userAgent": record.origin.user_agent,
        "requestId": record.request_id,
        "detailsErased": False,
    }
    assert [entry["action"] for entry in others] == ["user.email_verified", "user.registered", "user.created"]


def test_the_log_can_be_filtered_and_walked(desk: _Desk) -> None:
    """By actor, actions, subject, outcome and time; a page leads to the next one."""
    desk.installation.clock.advance(timedelta(minutes=1))
    role = desk.role()
    middle = desk.log()[-1].entry.at.isoformat().replace("+00:00", "Z")
    send_json(desk.client, "GET", "/admin/roles", token=desk.user_token)
    root = desk.id_of("root@example.com")

    def actions(query: str) -> list[str]:
        return [entry["action"] for entry in _list(desk, query)]

    assert actions(f"?actor={root}") == ["role.created"]
    assert actions(f"?subject={role}") == ["role.created"]
    assert actions("?outcome=refused") == ["access.denied"]
    assert actions("?action=role.created&action=user.created&sort=at") == ["user.created", "role.created"]
    assert actions(f"?after={middle}&sort=at") == ["role.created", "access.denied"]
    assert actions(f"?before={middle}") == ["user.email_verified", "user.registered", "user.created"]
    assert actions(f"?actor={root}&outcome=refused") == []
    first = json_of(desk.send("GET", "/admin/audit-log?limit=3&fields=action"))
    second = json_of(desk.send("GET", f"/admin/audit-log?limit=3&fields=action&cursor={first['page']['nextCursor']}"))
    assert [entry["action"] for entry in first["data"] + second["data"]] == actions("")
    assert first["page"]["total"] == 5


@pytest.mark.parametrize(
    "query",
    [
        "?actor=root",
        "?subject=1",
        "?action=role.painted",
        "?outcome=maybe",
        "?after=yesterday",
        "?actors=x",
        "?sort=actor",
    ],
)
def test_filters_that_make_no_sense_are_refused(desk: _Desk, query: str) -> None:
    """With the name of the parameter."""
    response = desk.send("GET", f"/admin/audit-log{query}")

    assert (response.status, len(json_of(response)["errors"])) == (400, 1)


# --- one's own --------------------------------------------------------------------------------------------------------


def _activity(desk: _Desk) -> list[dict[str, Any]]:
    response = send_json(desk.client, "GET", "/users/me/activity", token=desk.user_token)
    assert response.status == 200, response.body
    data: list[dict[str, Any]] = json_of(response)["data"]
    return data


def test_users_see_what_happened_to_their_account(client: HostClient, installation: Installation) -> None:
    """Over each host: what they did, what strangers tried, and what administrators did, who remain unnamed."""
    desk = _Desk(client, installation)
    assert desk.wrong_password().status == 401
    desk.send("PATCH", f"/admin/users/{desk.user_id}", _SUSPENDED)
    desk.send("PATCH", f"/admin/users/{desk.user_id}", {"status": "active"})

    *administrators, wrong, verified, _ = _activity(desk)

    assert [(each["action"], each["by"]) for each in administrators] == [
        ("user.status_changed", "administrator"),
        ("user.status_changed", "administrator"),
    ]
    origin = desk.log()[-3].origin
    assert wrong == {
        "id": wrong["id"],
        "at": wrong["at"],
        "action": "auth.logged_in",
        "by": "anonymous",
        "outcome": "refused",
        "reason": "wrong-password",
        "changed": [],
        "ip": origin.ip,
        "userAgent": origin.user_agent,
    }
    assert (verified["action"], verified["by"]) == ("user.email_verified", "you")


@pytest.mark.asvs("8.2.2")
def test_users_see_nothing_of_others(desk: _Desk, pipeline_client: PipelineClient) -> None:
    """Neither who administers, nor from where, nor what was tried with their account and refused."""
    other = desk.installation.access_token("other@example.com")
    root = desk.id_of("root@example.com")
    before = _activity(desk)
    path = f"/admin/users/{desk.user_id}"
    assert send_json(pipeline_client, "DELETE", path, token=other).status == 403
    assert _activity(desk) == before

    desk.send("POST", f"{path}/unlock")
    desk.send("PATCH", path, _SUSPENDED)
    desk.send("PATCH", path, {"status": "active"})

    record = next(each for each in desk.log() if each.entry.action == AuditAction.USER_STATUS_CHANGED)
    assert record.entry.actor == Actor.user(root)
    shown = _activity(desk)
    assert len(shown) > len(before)
    assert str(root) not in repr(shown)
    assert {(each["ip"], each["userAgent"]) for each in shown if each["by"] == "administrator"} == {(None, None)}
    assert "chargeback" not in repr(shown)
