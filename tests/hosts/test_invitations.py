"""Administrators open accounts for others and change them, over every host."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.paths import NOBODY
from userservice_core.domain.roles import ADMIN_ROLE, USER_ROLE
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient, PipelineClient

_PASSWORD = "correct horse battery staple"
_EMAIL = "Guest@example.com"
_WRONG = {
    "emailIsMixedScript": True,
    "roles": [],
    "version": 9,
    "email": "nobody",
    "attributes": {"large": "x" * 17_000},
}
_PROFILE = {"firstName": "Robin", "dateOfBirth": "1996-02-29", "preferences": {"dark": True}}


class _Staff:
    """An administrator at a host."""

    def __init__(self, client: HostClient, installation: Installation) -> None:
        self.client = client
        self.installation = installation
        self.token = installation.administrator_token("root@example.com")

    def send(
        self, method: str, target: str, content: dict[str, Any] | None = None, *, if_match: str | None = None
    ) -> Response:
        """Send a request with the administrator's token."""
        headers = [] if if_match is None else [("if-match", if_match)]
        return send_json(self.client, method, target, content, token=self.token, headers=headers)

    def invite(self, email: str = _EMAIL, **more: Any) -> Response:  # noqa: ANN401 - JSON of any shape
        """Open an account."""
        return self.send("POST", "/admin/users", {"email": email, **more})

    def invited(self, email: str = _EMAIL, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
        """Open an account and return the user."""
        response = self.invite(email, **more)
        assert response.status == 201, response.body
        return json_of(response)

    def choose_password(self, token: str, password: str = _PASSWORD) -> Response:
        """Follow a mailed link."""
        return send_json(self.client, "POST", "/auth/reset-password", {"token": token, "password": password})

    def sign_in(self, email: str = _EMAIL) -> int:
        """Try to sign in with the usual password, and return the status."""
        return send_json(self.client, "POST", "/auth/login", {"email": email, "password": _PASSWORD}).status

    def mail_kinds(self) -> list[str]:
        """Return what was mailed to the guest."""
        return [mail.kind.value for mail in self.installation.mails() if mail.to == _EMAIL]


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


# --- invitations ------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("6.4.1")
def test_an_invitation_from_the_mail_to_the_sign_in(staff: _Staff) -> None:
    """The owner chooses the password; the address counts as confirmed, and no notice of the password is mailed."""
    role = json_of(staff.send("POST", "/admin/roles", {"name": "Clerk"}))
    created = staff.invite(
        roleIds=[role["id"], str(USER_ROLE.id)],
        attributes={"department": "sales"},
        profile={"firstName": "Robin", "lastName": "Guest"},
    )
    user = json_of(created)
    path = f"/admin/users/{user['id']}"
    assert (created.status, created.header("location"), created.header("etag")) == (201, path, '"1-admin1"')
    assert (user["status"], user["emailVerified"], user["roles"]) == ("pending_verification", False, ["Clerk", "user"])
    assert user["attributes"] == {"department": "sales"}
    assert json_of(staff.send("GET", path)) == user
    profile = json_of(staff.send("GET", f"{path}/profile"))
    assert (profile["firstName"], profile["lastName"], profile["displayName"]) == ("Robin", "Guest", None)
    assert staff.sign_in() == 401

    token = staff.installation.mailed_token(_EMAIL)
    assert staff.choose_password(token, "short").status == 400
    assert staff.choose_password(token).status == 200
    assert _code(staff.choose_password(token)) == (400, "token-invalid")
    assert staff.sign_in() == 200
    taken_up = json_of(staff.send("GET", path))
    assert (taken_up["status"], taken_up["emailVerified"]) == ("active", True)
    assert staff.mail_kinds() == ["invite"]


def test_an_invitation_can_be_sent_again(staff: _Staff) -> None:
    """The earlier link ends, as does each after three days; nobody is invited who is there."""
    path = f"/admin/users/{staff.invited()['id']}/invitation"
    first = staff.installation.mailed_token(_EMAIL)
    assert staff.send("POST", path).status == 202
    second = staff.installation.mailed_token(_EMAIL)
    assert _code(staff.choose_password(first)) == (400, "token-invalid")

    staff.installation.clock.advance(timedelta(hours=72))
    staff.token = staff.installation.token_of("root@example.com")
    assert _code(staff.choose_password(second)) == (400, "token-invalid")
    assert staff.send("POST", path).status == 202
    assert staff.choose_password(staff.installation.mailed_token(_EMAIL)).status == 200
    refused = staff.send("POST", path)
    assert _code(refused) == (409, "account-status")
    assert json_of(refused)["params"] == {"status": "active"}
    assert _code(staff.send("POST", f"/admin/users/{NOBODY}/invitation")) == (404, "user-not-found")


def test_an_address_is_invited_once(staff: _Staff) -> None:
    """Also if it was deleted: it can be restored."""
    user = staff.invited()
    assert _code(staff.invite(_EMAIL.upper())) == (409, "email-taken")
    assert staff.send("DELETE", f"/admin/users/{user['id']}").status == 204
    assert _code(staff.invite()) == (409, "email-taken")
    assert _code(staff.send("POST", f"/admin/users/{user['id']}/invitation")) == (409, "account-status")


def test_all_that_is_wrong_with_a_new_account_is_told(piped: _Staff) -> None:
    """At once, and nothing is stored."""
    before = piped.installation.stored()
    deep: dict[str, Any] = {}
    for _ in range(8):
        deep = {"deeper": deep}
    response = piped.invite(
        "nobody", attributes={"large": "x" * 17_000, "deep": deep}, profile={"firstName": " ", "lastName": "x" * 101}
    )

    assert _faults(response) == [
        ("/email", "invalid-email"),
        ("/attributes", "too-large"),
        ("/attributes", "too-deep"),
        ("/profile/firstName", "blank"),
        ("/profile/lastName", "too-long"),
    ]
    assert _faults(piped.invite(password=_PASSWORD)) == [("/password", "unknown-field")]
    assert _code(piped.invite(roleIds=[str(NOBODY)])) == (404, "role-not-found")
    assert piped.installation.stored() == before


# --- passwords --------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("6.4.6")
def test_an_administrator_has_a_reset_mailed(staff: _Staff) -> None:
    """Nothing changes before the owner has followed the link; accounts that nobody can use get none."""
    staff.installation.access_token(_EMAIL)
    (user,) = json_of(staff.send("GET", f"/admin/users?exactEmail={_EMAIL}"))["data"]
    path = f"/admin/users/{user['id']}"
    assert staff.send("POST", f"{path}/password-reset").status == 202
    assert staff.sign_in() == 200
    assert staff.mail_kinds()[-1] in {"reset_password", "new_device"}
    token = [mail.token for mail in staff.installation.mails() if mail.kind.value == "reset_password"][-1]
    assert token is not None
    assert staff.choose_password(token, "quite another long password").status == 200
    assert staff.sign_in() == 401

    suspended = {"status": "suspended", "statusReason": "why not"}
    assert staff.send("PATCH", path, suspended).status == 200
    assert _code(staff.send("POST", f"{path}/password-reset")) == (409, "account-status")
    assert _code(staff.send("POST", f"/admin/users/{NOBODY}/password-reset")) == (404, "user-not-found")


# --- changes ----------------------------------------------------------------------------------------------------------


def test_attributes_are_merged(staff: _Staff) -> None:
    """By JSON Merge Patch; what was read can be sent back, and changes nothing."""
    user = staff.invited(attributes={"a": {"b": 1, "c": 2}, "d": [1]})
    path = f"/admin/users/{user['id']}"
    changed = staff.send("PATCH", path, {"attributes": {"a": {"b": None, "e": True}, "d": None}}, if_match='"1-admin1"')
    assert changed.status == 200
    assert (changed.header("etag"), json_of(changed)["attributes"]) == ('"2-admin1"', {"a": {"c": 2, "e": True}})
    assert _code(staff.send("PATCH", path, {"attributes": {}}, if_match='"1-admin1"')) == (412, "stale-version")

    for query in ("", "?include=loginState"):
        read = json_of(staff.send("GET", path + query))
        assert json_of(staff.send("PATCH", path, read)) == json_of(staff.send("GET", path))
    assert json_of(staff.send("GET", path))["version"] == 2
    assert json_of(staff.send("PATCH", path, {"attributes": None}))["attributes"] == {}
    assert _faults(staff.send("PATCH", path, {"attributes": {"large": "x" * 17_000}})) == [("/attributes", "too-large")]
    assert _faults(staff.send("PATCH", path, {"attributes": [], "emailIsMixedScript": True, "version": 9})) == [
        ("/attributes", "invalid-type")
    ]
    assert _faults(staff.send("PATCH", path, _WRONG)) == [
        ("/roles", "read-only"),
        ("/version", "read-only"),
        ("/emailIsMixedScript", "read-only"),
        ("/email", "invalid-email"),
        ("/attributes", "too-large"),
    ]


def test_another_address_waits_until_it_is_confirmed(staff: _Staff) -> None:
    """As when the user asks for it: the new one gets a link, and the present one a notice."""
    staff.installation.access_token(_EMAIL)
    (user,) = json_of(staff.send("GET", f"/admin/users?exactEmail={_EMAIL}"))["data"]
    path = f"/admin/users/{user['id']}"
    changed = staff.send("PATCH", path, {"email": "New@example.com", "attributes": {"a": 1}})
    answer = json_of(changed)
    assert (changed.status, answer["email"], answer["pendingEmail"]) == (200, _EMAIL, "New@example.com")
    assert (answer["version"], answer["attributes"]) == (user["version"] + 1, {"a": 1})
    assert json_of(staff.send("PATCH", path, answer)) == answer
    assert staff.mail_kinds()[-1] == "email_change_requested"

    token = staff.installation.mailed_token("New@example.com")
    assert send_json(staff.client, "POST", "/auth/verify-email", {"token": token}).status == 200
    confirmed = json_of(staff.send("GET", path))
    assert (confirmed["email"], confirmed["pendingEmail"]) == ("New@example.com", None)
    assert _faults(staff.send("PATCH", path, {"email": "nobody"})) == [("/email", "invalid-email")]
    invited = staff.invited()
    refused = staff.send("PATCH", f"/admin/users/{invited['id']}", {"email": "other@example.com"})
    assert _code(refused) == (409, "account-status")


def test_a_profile_is_written_for_its_owner(staff: _Staff) -> None:
    """By the rules that hold for the owner."""
    token = staff.installation.access_token(_EMAIL)
    user_id = json_of(send_json(staff.client, "GET", "/users/me", token=token))["id"]
    path = f"/admin/users/{user_id}/profile"
    replaced = staff.send("PUT", path, _PROFILE, if_match='"0-profile1"')
    assert (replaced.status, replaced.header("etag")) == (200, '"1-profile1"')
    own = json_of(send_json(staff.client, "GET", "/users/me/profile", token=token))
    assert own == json_of(replaced)
    assert own == {**own, **_PROFILE}

    assert staff.send("PUT", path, own).header("etag") == '"1-profile1"'
    assert _code(staff.send("PUT", path, {}, if_match='"0-profile1"')) == (412, "stale-version")
    assert _faults(staff.send("PUT", path, {"phoneVerified": True, "language": "?"})) == [
        ("/phoneVerified", "read-only"),
        ("/language", "invalid-language"),
    ]
    assert _code(staff.send("PUT", f"/admin/users/{NOBODY}/profile", {})) == (404, "user-not-found")


# --- ranks ------------------------------------------------------------------------------------------------------------


def test_nobody_reaches_above_themselves(piped: _Staff) -> None:
    """Neither by what is done to somebody, nor by the roles of somebody new."""
    names = ("user:create", "user:update", "user:invite", "user:reset_password", "user_profile:update_any")
    everything = json_of(piped.send("GET", "/admin/permissions?limit=100"))["data"]
    ids = {each["name"]: each["id"] for each in everything}
    deputy = json_of(piped.send("POST", "/admin/roles", {"name": "Deputy"}))["id"]
    granting = f"/admin/roles/{deputy}/permissions"
    assert piped.send("POST", granting, {"permissionIds": [ids[name] for name in names]}).status == 200
    root = json_of(piped.send("GET", "/admin/users?role=administrator"))["data"][0]["id"]
    token = piped.installation.access_token("deputy@example.com")
    user_id = json_of(send_json(piped.client, "GET", "/users/me", token=token))["id"]
    assert piped.send("POST", f"/admin/users/{user_id}/roles", {"roleIds": [deputy]}).status == 200
    before = piped.installation.stored().users
    piped.token = token

    for method, path, content in (
        ("PATCH", f"/admin/users/{root}", {"attributes": {"a": 1}}),
        ("PUT", f"/admin/users/{root}/profile", {"firstName": "Mallory"}),
        ("POST", f"/admin/users/{root}/invitation", None),
        ("POST", f"/admin/users/{root}/password-reset", None),
    ):
        assert _code(piped.send(method, path, content)) == (403, "target-outranks-actor")
    assert _code(piped.invite(roleIds=[deputy])) == (403, "permission-denied")
    assert piped.installation.stored().users == before

    piped.token = piped.installation.token_of("root@example.com")
    assert piped.send("POST", granting, {"permissionIds": [ids["user:assign_roles"]]}).status == 200
    piped.token = token
    assert _code(piped.invite(roleIds=[str(ADMIN_ROLE.id)])) == (403, "grant-not-held")
    assert piped.invited(roleIds=[deputy])["roles"] == ["Deputy", "user"]
