"""Users as administrators find and read them, over every host."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.paths import NOBODY
from userservice_core.domain.roles import ADMIN_ROLE, SYSTEM_PERMISSIONS, USER_ROLE
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient, PipelineClient

_PASSWORD = "correct horse battery staple"


class _Staff:
    """An administrator, and what they read."""

    def __init__(self, client: HostClient, installation: Installation) -> None:
        self.client = client
        self.installation = installation
        self.token = installation.administrator_token("root@example.com")

    def get(self, target: str, *, if_none_match: str | None = None) -> Response:
        """Send the request."""
        headers = [] if if_none_match is None else [("if-none-match", if_none_match)]
        return send_json(self.client, "GET", target, token=self.token, headers=headers)

    def read(self, target: str) -> dict[str, Any]:
        """Return an answer of 200."""
        response = self.get(target)
        assert response.status == 200, response.body
        return json_of(response)

    def emails(self, query: str = "") -> list[str]:
        """Return the addresses of the users on the page, in their order."""
        return [user["email"] for user in self.read(f"/admin/users?{query}")["data"]]

    def user(self, email: str) -> str:
        """Register somebody a minute later, and return their id."""
        self.installation.clock.advance(timedelta(minutes=1))
        token = self.installation.access_token(email)
        return str(json_of(send_json(self.client, "GET", "/users/me", token=token))["id"])

    def sign_in(self, email: str, password: str = _PASSWORD) -> int:
        """Try to sign in, and return the status."""
        return send_json(self.client, "POST", "/auth/login", {"email": email, "password": password}).status


def _faults(response: Response) -> list[tuple[str, str]]:
    assert response.status == 400
    return [(fault["pointer"], fault["code"]) for fault in json_of(response)["errors"]]


def _code(response: Response) -> tuple[int, str]:
    return response.status, json_of(response)["type"].rpartition(":")[2]


@pytest.fixture
def staff(client: HostClient, installation: Installation) -> _Staff:
    """At each host in turn."""
    return _Staff(client, installation)


@pytest.fixture
def piped(pipeline_client: PipelineClient, installation: Installation) -> _Staff:
    """Without a host."""
    return _Staff(pipeline_client, installation)


def test_a_user_is_shown_alone_and_in_the_list(staff: _Staff) -> None:
    """With roles; in the list with the state of the sign-ins, alone if that is asked for."""
    user_id = staff.user("user@example.com")
    assert staff.sign_in("user@example.com", "wrong wrong wrong wrong") == 401
    assert staff.sign_in("user@example.com") == 200
    assert staff.sign_in("user@example.com", "wrong wrong wrong wrong") == 401
    shown = staff.read(f"/admin/users/{user_id}")
    state = {"lastLoginAt": shown["createdAt"], "failedAttempts": 1, "lockedUntil": None}

    assert (shown["email"], shown["roles"], shown["status"]) == ("user@example.com", ["user"], "active")
    assert shown["emailIsMixedScript"] is False
    assert "loginState" not in shown
    whole = {**shown, "loginState": state}
    assert staff.read(f"/admin/users/{user_id}?include=loginState") == whole
    page = staff.read("/admin/users?exactEmail=USER@EXAMPLE.COM")
    assert (page["data"], page["page"]["total"]) == ([whole], 1)
    for path in ("", "/profile", "/addresses"):
        assert _code(staff.get(f"/admin/users/{NOBODY}{path}")) == (404, "user-not-found")
    assert _faults(staff.get(f"/admin/users/{user_id}?include=everything")) == [("/include", "invalid-type")]


def test_the_list_is_the_newest_first(piped: _Staff) -> None:
    """Unless another order is asked for."""
    for name in ("bob", "Ann", "émile"):
        piped.user(f"{name}@example.com")
    assert piped.sign_in("Ann@example.com") == 200
    piped.installation.clock.advance(timedelta(minutes=1))
    assert piped.sign_in("bob@example.com") == 200
    newest_first = ["émile@example.com", "Ann@example.com", "bob@example.com", "root@example.com"]

    assert piped.emails() == newest_first
    assert piped.emails("sort=createdAt") == newest_first[::-1]
    by_email = ["Ann@example.com", "bob@example.com", "root@example.com", "émile@example.com"]
    assert piped.emails("sort=email") == by_email
    assert piped.emails("sort=-email") == by_email[::-1]
    never = ["root@example.com", "émile@example.com"]
    assert piped.emails("sort=lastLoginAt") == ["Ann@example.com", "bob@example.com", *never]
    assert piped.emails("sort=-lastLoginAt") == ["bob@example.com", "Ann@example.com", *never[::-1]]


def test_users_are_found_by_a_part_of_a_domain_in_either_form(staff: _Staff) -> None:
    """In Unicode, label by label, and as DNS has it; and by a local part in Unicode, too."""
    idn = "zo\u00eb@b\u00fccher.example"
    staff.user(idn)
    for part in ("b\u00fccher", "@B\u00dcCHER.ex", "xn--bch", "\u00eb@xn--bcher-kva", "o\u00eb@"):
        assert staff.emails(f"email={quote(part)}") == [idn], part


@pytest.mark.asvs("1.2.9")
def test_users_are_found_by_filters(staff: _Staff) -> None:
    """Each of them, also together."""
    ids = {name: staff.user(f"{name}@example.com") for name in ("a_c", "abc", "pct%")}
    shown = staff.read(f"/admin/users/{ids['abc']}")
    moment = quote(shown["createdAt"])

    assert staff.emails("email=A_C") == ["a_c@example.com"]
    assert staff.emails(f"email={quote('ct%@')}") == ["pct%@example.com"]
    assert staff.emails(f"email={quote('%%%')}") == []
    assert staff.emails(f"email={quote('.C%')}") == []
    assert staff.emails(f"createdAfter={moment}") == ["pct%@example.com", "abc@example.com"]
    assert staff.emails(f"createdBefore={moment}") == ["a_c@example.com", "root@example.com"]
    assert staff.emails(f"createdAfter={moment}&createdBefore={moment}") == []
    assert staff.emails("role=Administrator") == ["root@example.com"]
    assert staff.emails(f"role={ADMIN_ROLE.id}&email=root") == ["root@example.com"]
    assert staff.emails("role=nobody") == []
    assert staff.emails("status=suspended") == []
    assert len(staff.emails("status=active&deleted=any")) == 4
    assert staff.emails("deleted=true") == []
    assert staff.emails(f"id={ids['abc']}&id={ids['a_c']}&id={NOBODY}&sort=email") == [
        "a_c@example.com",
        "abc@example.com",
    ]


@pytest.mark.asvs("1.2.4")
@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("email=ab", ("/email", "too-short")),
        ("email=%20%20a%20%20", ("/email", "too-short")),
        ("exactEmail=nobody", ("/exactEmail", "invalid-email")),
        ("status=gone", ("/status", "invalid-type")),
        ("role=", ("/role", "too-short")),
        ("createdAfter=2026-01-01", ("/createdAfter", "invalid-type")),
        ("createdAfter=2026-01-01T00:00:00", ("/createdAfter", "invalid-type")),
        ("createdBefore=0", ("/createdBefore", "invalid-type")),
        ("deleted=yes", ("/deleted", "invalid-type")),
        ("id=1", ("/id/0", "invalid-type")),
        ("&".join(["id=0190f5fe-7c00-7a00-8abc-def012345678"] * 101), ("/id", "too-long")),
        ("emial=user@example.com", ("/emial", "unknown-field")),
        ("sort=status", ("/sort", "invalid-type")),
        ("fields=password", ("/fields", "unknown-field")),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(piped: _Staff, query: str, fault: tuple[str, str]) -> None:
    """With its name."""
    assert _faults(piped.get(f"/admin/users?{query}")) == [fault]


def test_a_cursor_is_for_its_filters(piped: _Staff) -> None:
    """Whatever the filter."""
    for name in ("ann", "bob", "cid"):
        piped.user(f"{name}@example.com")
    target = "/admin/users?limit=1&email=example&status=active&role=user&deleted=any"
    first = piped.read(target)
    cursor = first["page"]["nextCursor"]

    assert [user["email"] for user in first["data"]] == ["cid@example.com"]
    following = piped.read(f"{target}&cursor={cursor}&fields=email")
    assert following["data"] == [{"email": "bob@example.com"}]
    for other in ("email=example&status=active&role=user", "email=exampl&status=active&role=user&deleted=any", ""):
        assert _code(piped.get(f"/admin/users?{other}&cursor={cursor}")) == (400, "cursor-mismatch")


def test_a_look_alike_is_flagged(piped: _Staff) -> None:
    """A Cyrillic letter among Latin ones; an address all of one script is not."""
    piped.user("\u0430dmin@example.com")
    piped.user("\u0430\u0434\u043c\u0438\u043d@example.com")
    found = piped.read("/admin/users?sort=createdAt")["data"]

    assert [user["emailIsMixedScript"] for user in found] == [False, True, False]


def test_what_did_not_change_is_not_sent_again(staff: _Staff) -> None:
    """A sign-in changes the login state, and nothing else of the user."""
    user_id = staff.user("user@example.com")
    path = f"/admin/users/{user_id}"
    plain, whole = (staff.get(path + query).header("etag") for query in ("", "?include=loginState"))
    assert staff.get(path, if_none_match=plain).status == 304
    assert staff.get(f"{path}?include=loginState", if_none_match=whole).status == 304
    assert staff.get(f"{path}?include=loginState", if_none_match=plain).status == 200

    staff.installation.clock.advance(timedelta(seconds=1))
    assert staff.sign_in("user@example.com") == 200
    assert staff.get(path, if_none_match=plain).status == 304
    assert staff.get(f"{path}?include=loginState", if_none_match=whole).status == 200


def test_the_holders_of_a_role_are_a_list(staff: _Staff) -> None:
    """An empty one for a role that nobody holds, and none for no role."""
    staff.user("user@example.com")
    created = send_json(staff.client, "POST", "/admin/roles", {"name": "Clerk"}, token=staff.token)
    clerk = json_of(created)["id"]

    def holders(role_id: object, query: str = "") -> list[str]:
        return [user["email"] for user in staff.read(f"/admin/roles/{role_id}/users?{query}")["data"]]

    assert holders(ADMIN_ROLE.id) == ["root@example.com"]
    assert holders(USER_ROLE.id, "sort=email&limit=1") == ["root@example.com"]
    assert holders(USER_ROLE.id, "status=suspended") == holders(clerk) == []
    assert _code(staff.get(f"/admin/roles/{NOBODY}/users")) == (404, "role-not-found")


def test_profile_and_addresses_of_others_are_shown(staff: _Staff) -> None:
    """As their owners see them."""
    token = staff.installation.access_token("user@example.com")
    user_id = json_of(send_json(staff.client, "GET", "/users/me", token=token))["id"]
    address = {"addressLine1": "1 Main Street", "city": "Paris", "postalCode": "75001", "countryCode": "FR"}
    assert send_json(staff.client, "POST", "/users/me/addresses", address, token=token).status == 201

    for path in ("profile", "addresses"):
        own = send_json(staff.client, "GET", f"/users/me/{path}", token=token)
        assert staff.read(f"/admin/users/{user_id}/{path}") == json_of(own)
    assert len(staff.read(f"/admin/users/{user_id}/addresses")["data"]) == 1


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("/admin/users", "user:list"),
        ("/admin/users/{id}", "user:read"),
        ("/admin/users/{id}/profile", "user_profile:read_any"),
        ("/admin/users/{id}/addresses", "user_profile:read_any"),
        (f"/admin/roles/{USER_ROLE.id}/users", "role:list_users"),
    ],
)
def test_each_of_it_takes_its_permission(piped: _Staff, path: str, permission: str) -> None:
    """And no other one."""
    token = piped.installation.access_token("user@example.com")
    target = path.replace("{id}", json_of(send_json(piped.client, "GET", "/users/me", token=token))["id"])
    assert send_json(piped.client, "GET", target, token=token).status == 403
    assert piped.client.request("GET", target).status == 401

    ids = [str(each.id) for each in SYSTEM_PERMISSIONS if each.name == permission]
    granting = f"/admin/roles/{USER_ROLE.id}/permissions"
    assert send_json(piped.client, "POST", granting, {"permissionIds": ids}, token=piped.token).status == 200
    assert send_json(piped.client, "GET", target, token=token).status == 200
