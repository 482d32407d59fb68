"""Roles, permissions, assignments and questions about them, over every host."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.paths import NOBODY
from userservice_core.domain.permission_sets import EVERYTHING
from userservice_core.domain.roles import ADMIN_ROLE, SYSTEM_PERMISSIONS, SYSTEM_ROLES, USER_ROLE
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient


class _Staff:
    """An administrator at a host."""

    def __init__(self, client: HostClient, installation: Installation) -> None:
        self._client = client
        self.token = installation.administrator_token("root@example.com")
        self.installation = installation

    def send(
        self, method: str, target: str, content: dict[str, Any] | None = None, *, if_match: str | None = None
    ) -> Response:
        """Send a request with the administrator's token."""
        headers = [] if if_match is None else [("if-match", if_match)]
        return send_json(self._client, method, target, content, token=self.token, headers=headers)

    def must(self, method: str, target: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request that succeeds."""
        response = self.send(method, target, content)
        assert response.status in {200, 201}, response.body
        return json_of(response)

    def user(self, email: str = "user@example.com") -> tuple[str, str]:
        """Return the id and a token of a new user."""
        token = self.installation.access_token(email)
        user_id = json_of(send_json(self._client, "GET", "/users/me", token=token))["id"]
        return user_id, token


@pytest.fixture
def staff(client: HostClient, installation: Installation) -> _Staff:
    """The first administrator."""
    return _Staff(client, installation)


def _code(response: Response) -> tuple[int, str]:
    return response.status, json_of(response)["type"].rpartition(":")[2]


# --- questions --------------------------------------------------------------------------------------------------------


def test_a_check_says_what_is_granted(staff: _Staff) -> None:
    """All together and each, in the order of the question; nobody may do nothing."""
    user_id, _ = staff.user()
    staff.must("POST", f"/admin/roles/{USER_ROLE.id}/permissions", {"permissionIds": [str(SYSTEM_PERMISSIONS[2].id)]})
    question = {"userId": user_id, "permissions": ["user:list", "user:read"]}
    answer = {
        "userId": user_id,
        "granted": False,
        "checkedPermissions": [
            {"permission": "user:list", "granted": True},
            {"permission": "user:read", "granted": False},
        ],
    }

    assert staff.must("POST", "/auth/check-permissions", question) == answer
    assert staff.must(
        "POST",
        "/auth/check-permissions/batch",
        {"checks": [question, {"userId": str(NOBODY), "permissions": ["user:list"]}]},
    ) == {
        "results": [
            answer,
            {
                "userId": str(NOBODY),
                "granted": False,
                "checkedPermissions": [{"permission": "user:list", "granted": False}],
            },
        ]
    }


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_has_bounds(staff: _Staff, count: int) -> None:
    """From one check to a hundred; the fault says which."""
    check = {"userId": str(NOBODY), "permissions": ["a:b"]}
    response = staff.send("POST", "/auth/check-permissions/batch", {"checks": [check] * count})

    assert response.status == 400
    assert [fault["pointer"] for fault in json_of(response)["errors"]] == ["/checks"]


def test_effective_permissions_may_be_asked_by_resource(staff: _Staff) -> None:
    """Of a user who is there."""
    user_id, _ = staff.user()
    path = f"/users/{user_id}/effective-permissions"
    staff.must("POST", f"/admin/users/{user_id}/roles", {"roleIds": [str(ADMIN_ROLE.id)]})

    for query in ("", "?resourceType=invoice"):
        assert staff.must("GET", path + query) == {"userId": user_id, "permissions": [EVERYTHING]}
    assert _code(staff.send("GET", f"/users/{NOBODY}/effective-permissions")) == (404, "user-not-found")
    assert staff.send("GET", f"{path}?resourceType=").status == 400


# --- roles ------------------------------------------------------------------------------------------------------------


def test_a_role_from_its_making_to_its_end(staff: _Staff) -> None:
    """Made, read, listed, changed in whole and in part, deleted."""
    created = staff.send("POST", "/admin/roles", {"name": "Clerk"})
    role = json_of(created)
    path = f"/admin/roles/{role['id']}"
    assert (created.status, created.header("location"), created.header("etag")) == (201, path, '"1-role1"')
    assert role == {
        "id": role["id"],
        "name": "Clerk",
        "description": None,
        "isSystemRole": False,
        "permissions": [],
        "version": 1,
    }
    assert staff.must("GET", path) == role
    assert [each["name"] for each in staff.must("GET", "/admin/roles")["data"]] == ["administrator", "Clerk", "user"]
    replaced = staff.must("PUT", path, {**role, "name": "CLERK", "description": "Does the books."})
    assert replaced == {**role, "name": "CLERK", "description": "Does the books.", "version": 2}
    assert staff.must("PATCH", path, {"description": None}) == {**replaced, "description": None, "version": 3}
    assert staff.must("PATCH", path, {})["version"] == 3
    assert staff.send("DELETE", path).status == 204
    for method in ("GET", "DELETE"):
        assert _code(staff.send(method, path)) == (404, "role-not-found")


def test_a_name_is_taken_regardless_of_case(staff: _Staff) -> None:
    """Also by a system role."""
    for name in ("Administrator", "\uff35ser"):
        assert _code(staff.send("POST", "/admin/roles", {"name": name})) == (409, "already-exists")


def test_what_cannot_be_changed_may_be_sent_back_as_it_was(staff: _Staff) -> None:
    """Anything else in its place is told, all of it at once."""
    role = staff.must("POST", "/admin/roles", {"name": "Clerk"})
    permission = staff.must("POST", "/admin/permissions", {"resource": "invoice", "action": "read"})
    for path, sent, wrong in (
        (
            f"/admin/roles/{role['id']}",
            role,
            {"id": str(uuid4()), "isSystemRole": True, "permissions": ["*:*"], "version": 2},
        ),
        (
            f"/admin/permissions/{permission['id']}",
            permission,
            {"id": str(uuid4()), "name": "a:b", "isSystemPermission": True, "version": 2},
        ),
    ):
        assert staff.must("PUT", path, sent) == sent
        assert staff.must("PATCH", path, sent) == sent
        for method, content in (("PUT", {**sent, **wrong}), ("PATCH", wrong)):
            refused = json_of(staff.send(method, path, content))
            assert {(fault["pointer"], fault["code"]) for fault in refused["errors"]} == {
                (f"/{name}", "read-only") for name in wrong
            }


@pytest.mark.parametrize("kind", ["roles", "permissions"])
def test_a_change_of_another_version_is_refused(staff: _Staff, kind: str) -> None:
    """`If-Match` names versions; a weak or foreign validator matches none, a star any."""
    new = {"roles": {"name": "Clerk"}, "permissions": {"resource": "invoice", "action": "read"}}[kind]
    path = f"/admin/{kind}/{staff.must('POST', f'/admin/{kind}', new)['id']}"
    etag = staff.send("GET", path).header("etag")
    changes = [("PUT", {**new, "description": "a"}), ("PATCH", {"description": "a"}), ("DELETE", None)]
    for stale in ('"2-role1"', f"W/{etag}", '"x"', "1"):
        for method, content in changes:
            assert _code(staff.send(method, path, content, if_match=stale)) == (412, "stale-version"), stale

    assert staff.send("PATCH", path, {"description": "b"}, if_match=f'"9-x", {etag}').status == 200
    assert staff.send("PATCH", path, {"description": "c"}, if_match="*").status == 200
    assert staff.send("DELETE", path, if_match=etag).status == 412
    assert staff.send("DELETE", path, if_match=staff.send("GET", path).header("etag")).status == 204


def test_permissions_are_assigned_and_removed(staff: _Staff) -> None:
    """Several at once; the answer is what the role grants then, by name."""
    role = staff.must("POST", "/admin/roles", {"name": "Clerk"})
    path = f"/admin/roles/{role['id']}/permissions"
    ids = [
        staff.must("POST", "/admin/permissions", {"resource": "invoice", "action": action})["id"]
        for action in ("write", "read", "send")
    ]
    granted = staff.must("POST", path, {"permissionIds": ids})["data"]
    assert [each["name"] for each in granted] == ["invoice:read", "invoice:send", "invoice:write"]
    assert staff.must("GET", path)["data"] == granted
    (granting,) = staff.must("GET", f"/admin/permissions/{ids[0]}/roles")["data"]
    assert (granting["name"], len(granting["permissions"])) == ("Clerk", 3)
    left = staff.must("DELETE", f"{path}?permissionId={ids[0]}&permissionId={ids[1]}")["data"]
    assert [each["name"] for each in left] == ["invoice:send"]
    assert _code(staff.send("POST", path, {"permissionIds": [str(NOBODY)]})) == (404, "permission-not-found")
    assert staff.must("GET", f"/admin/permissions/{ids[0]}/roles")["data"] == []
    assert _code(staff.send("GET", f"/admin/permissions/{NOBODY}/roles")) == (404, "permission-not-found")
    assert _code(staff.send("GET", f"/admin/roles/{NOBODY}/permissions")) == (404, "role-not-found")
    for query in (
        "",
        "?permissionId=",
        "?permissionId=x",
        "?" + "&".join(f"permissionId={uuid4()}" for _ in range(101)),
    ):
        assert staff.send("DELETE", path + query).status == 400


def test_what_is_in_use_is_deleted_by_force(staff: _Staff) -> None:
    """The user loses the role, the role loses the permission."""
    user_id, _ = staff.user()
    role = staff.must("POST", "/admin/roles", {"name": "Clerk"})
    permission = staff.must("POST", "/admin/permissions", {"resource": "invoice", "action": "read"})
    staff.must("POST", f"/admin/roles/{role['id']}/permissions", {"permissionIds": [permission["id"]]})
    staff.must("POST", f"/admin/users/{user_id}/roles", {"roleIds": [role["id"]]})
    for path, code in (
        (f"/admin/permissions/{permission['id']}", "permission-in-use"),
        (f"/admin/roles/{role['id']}", "role-in-use"),
    ):
        assert _code(staff.send("DELETE", path)) == (409, code)
        assert staff.send("DELETE", f"{path}?force=maybe").status == 400
        assert staff.send("DELETE", f"{path}?force=true").status == 204

    assert [each["name"] for each in staff.must("GET", f"/admin/users/{user_id}/roles")["data"]] == ["user"]
    assert {each["name"] for each in staff.must("GET", "/admin/permissions?limit=100")["data"]} == {
        each.name for each in SYSTEM_PERMISSIONS
    }


def test_system_objects_stay(staff: _Staff) -> None:
    """Neither deleted nor renamed, by force or otherwise."""
    for path, name in (
        (f"/admin/roles/{SYSTEM_ROLES[0].id}", {"name": "other"}),
        (f"/admin/permissions/{SYSTEM_PERMISSIONS[1].id}", {"action": "ask"}),
    ):
        assert _code(staff.send("DELETE", f"{path}?force=true")) == (409, "system-object")
        assert _code(staff.send("PATCH", path, name)) == (409, "system-object")


# --- who holds them ---------------------------------------------------------------------------------------------------


def _page_of(items: Iterable[dict[str, str]]) -> dict[str, Any]:
    """Return the answer that has all *items*: there is no second page."""
    data = list(items)
    page = {"limit": 1_000, "nextCursor": None, "prevCursor": None, "total": len(data), "totalIsEstimate": False}
    return {"data": data, "page": page}


@pytest.mark.asvs("8.3.1", "8.3.2")
def test_a_role_counts_at_the_next_request(staff: _Staff, client: HostClient) -> None:
    """Also with the token that the user has already, and so does its loss."""
    user_id, token = staff.user()
    path = f"/admin/users/{user_id}/roles"
    refused = send_json(client, "GET", "/admin/roles", token=token)
    assert (_code(refused), json_of(refused)["params"]) == ((403, "permission-denied"), {"permission": "role:list"})
    held = staff.must("POST", path, {"roleIds": [str(ADMIN_ROLE.id)]})
    assert held == _page_of({"id": str(role.id), "name": role.name} for role in (ADMIN_ROLE, USER_ROLE))
    assert held == staff.must("GET", path)
    assert send_json(client, "GET", "/admin/roles", token=token).status == 200
    assert staff.must("DELETE", f"{path}?roleId={ADMIN_ROLE.id}&roleId={USER_ROLE.id}") == _page_of(())
    assert send_json(client, "GET", "/admin/roles", token=token).status == 403


def test_the_last_administrator_stays(staff: _Staff) -> None:
    """Whichever way it is tried."""
    (admin,) = (user for user in staff.installation.stored().users.values() if ADMIN_ROLE.name in user.role_names)
    everything = SYSTEM_PERMISSIONS[0].id

    for path in (
        f"/admin/users/{admin.id}/roles?roleId={ADMIN_ROLE.id}",
        f"/admin/roles/{ADMIN_ROLE.id}/permissions?permissionId={everything}",
    ):
        assert _code(staff.send("DELETE", path)) == (409, "last-administrator")


@pytest.mark.asvs("7.5.3")
def test_roles_are_given_and_taken_after_a_recent_sign_in_only(staff: _Staff) -> None:
    """Reading them needs none."""
    user_id, _ = staff.user()
    path = f"/admin/users/{user_id}/roles"
    staff.installation.clock.advance(timedelta(minutes=6))

    assert staff.send("GET", path).status == 200
    for method, target, content in (
        ("POST", path, {"roleIds": [str(ADMIN_ROLE.id)]}),
        ("DELETE", f"{path}?roleId={USER_ROLE.id}", None),
    ):
        assert _code(staff.send(method, target, content)) == (401, "fresh-sign-in-required")


def test_an_id_that_is_none_is_an_address_that_is_none(staff: _Staff) -> None:
    """As for any other path."""
    for path in ("/admin/roles/1", "/admin/permissions/x", "/admin/users/me/roles", "/users/x/effective-permissions"):
        assert _code(staff.send("GET", path)) == (404, "route-not-found")
