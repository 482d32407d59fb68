"""Accounts are suspended, left, deleted and taken up again, over every host."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.hosts.installation import Installation
from tests.paths import NOBODY
from userservice_core.testing.host import HostClient, json_of, send_json

if TYPE_CHECKING:
    from userservice_core.http.messages import Response


_EMAIL = "ada@example.com"
_CREDENTIALS = {"email": _EMAIL, "password": "correct horse battery staple"}


@attrs.frozen
class _House:
    """An administrator and a user at a host."""

    client: HostClient
    installation: Installation
    admin_token: str
    user_id: str

    def send(self, method: str, target: str, content: dict[str, Any] | None = None, **headers: str) -> Response:
        """Send a request with the administrator's token."""
        sent = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return send_json(self.client, method, target, content, token=self.admin_token, headers=sent)

    def login(self) -> Response:
        """Sign in as the user."""
        return send_json(self.client, "POST", "/auth/login", _CREDENTIALS)

    def token(self) -> str:
        """Return the user's token of a new session."""
        return str(json_of(self.login())["accessToken"])

    def own(self, method: str, target: str, token: str) -> Response:
        """Send a request of the user's."""
        return send_json(self.client, method, target, token=token)

    def take_up(self) -> Response:
        """Open the last link that was mailed to the user."""
        token = self.installation.mailed_token(_EMAIL)
        return send_json(self.client, "POST", "/auth/restore-account", {"token": token})

    @property
    def path(self) -> str:
        """Of the user, for the administrator."""
        return f"/admin/users/{self.user_id}"


@pytest.fixture
def house(client: HostClient, installation: Installation) -> _House:
    """Both of them."""
    admin_token = installation.administrator_token("root@example.com")
    token = installation.access_token(_EMAIL)
    user_id = json_of(send_json(client, "GET", "/users/me", token=token))["id"]
    return _House(client, installation, admin_token, user_id)


def _code(response: Response) -> tuple[int, str]:
    return response.status, json_of(response)["type"].rpartition(":")[2]


def test_a_suspension_from_its_reason_to_its_end(house: _House) -> None:
    """The user is out at once, with each token they hold, and back in without those."""
    before = json_of(house.login())

    suspended = house.send("PATCH", house.path, {"status": "suspended", "statusReason": "chargeback"})

    user = json_of(suspended)
    assert (suspended.status, user["status"], suspended.header("etag")) == (200, "suspended", '"3-admin1"')
    for target in ("/users/me", "/users/me/profile"):
        out = house.own("GET", target, before["accessToken"])
        assert (_code(out), "Bearer" in (out.header("www-authenticate") or "")) == ((401, "invalid-token"), True)
    refresh = {"refreshToken": before["refreshToken"]}
    assert send_json(house.client, "POST", "/auth/refresh-token", refresh).status == 401
    assert _code(house.login()) == (403, "account-suspended")
    assert json_of(house.send("PATCH", house.path, user)) == user
    assert json_of(house.send("PATCH", house.path, {"status": "active"}))["status"] == "active"
    assert house.own("GET", "/users/me", before["accessToken"]).status == 401
    assert house.own("GET", "/users/me", house.token()).status == 200


def test_what_a_change_of_status_may_not_be(house: _House) -> None:
    """Every fault has its place, what is read-only stays, and the version counts."""
    for content, pointer, code in (
        ({"status": "suspended"}, "/statusReason", "required"),
        ({"status": "suspended", "statusReason": " "}, "/statusReason", "blank"),
        ({"statusReason": "x"}, "/statusReason", "without-status"),
        ({"status": "gone"}, "/status", "invalid-type"),
        ({"pendingEmail": "eve@example.com"}, "/pendingEmail", "read-only"),
        ({"roles": ["administrator"]}, "/roles", "read-only"),
        ({"deletedAt": "2026-01-01T00:00:00Z"}, "/deletedAt", "read-only"),
        ({"nothing": 1}, "/nothing", "unknown-field"),
    ):
        refused = house.send("PATCH", house.path, content)
        faults = [(fault["pointer"], fault["code"]) for fault in json_of(refused)["errors"]]
        assert (refused.status, faults) == (400, [(pointer, code)])
    for status in ("deactivated", "pending_verification"):
        assert _code(house.send("PATCH", house.path, {"status": status})) == (409, "status-change-not-allowed")
    stale = house.send("PATCH", house.path, {"status": "suspended", "statusReason": "x"}, if_match='"1-user1"')
    assert _code(stale) == (412, "stale-version")
    assert _code(house.send("PATCH", f"/admin/users/{NOBODY}", {})) == (404, "user-not-found")


def test_an_administrator_deletes_restores_and_erases(house: _House) -> None:
    """Deleted twice is deleted; erased is gone, whoever asks."""
    token = house.token()
    assert house.send("DELETE", f"{house.path}?hardDelete=maybe").status == 400
    assert house.send("DELETE", house.path, if_match='"1-user1"').status == 412
    assert (house.send("DELETE", house.path).status, house.send("DELETE", house.path).status) == (204, 204)
    assert house.own("GET", "/users/me", token).status == 401
    assert _code(house.login()) == (401, "invalid-credentials")
    assert _code(send_json(house.client, "POST", "/auth/register", _CREDENTIALS)) == (409, "email-taken")
    restored = house.send("POST", f"{house.path}/restore")
    assert (restored.status, json_of(restored)["deletedAt"], json_of(restored)["version"]) == (200, None, 4)
    assert house.own("GET", "/users/me", token).status == 401
    assert house.login().status == 200

    assert house.send("DELETE", f"{house.path}?hardDelete=true").status == 204

    for method, target in (("DELETE", house.path), ("POST", f"{house.path}/restore"), ("POST", f"{house.path}/unlock")):
        assert _code(house.send(method, target)) == (404, "user-not-found")
    assert send_json(house.client, "POST", "/auth/register", _CREDENTIALS).status == 201


def test_a_user_leaves_and_comes_back(house: _House) -> None:
    """Deactivated, they need password and mail; deleted, the mail."""
    token = house.token()
    assert house.own("POST", "/users/me/deactivate", token).status == 204
    assert house.own("GET", "/users/me", token).status == 401
    assert _code(house.login()) == (403, "account-deactivated")
    link = f"/auth/restore-account?token={house.installation.mailed_token(_EMAIL)}"
    assert json_of(house.send("GET", link)) == {"purpose": "reactivate_account", "valid": True}
    back = house.take_up()
    assert json_of(house.send("GET", link)) == {"purpose": "reactivate_account", "valid": False}
    assert json_of(house.send("GET", f"{link}x")) == {"purpose": None, "valid": False}
    assert (back.status, json_of(back)) == (200, {"email": _EMAIL, "status": "active"})
    assert _code(house.take_up()) == (400, "token-invalid")

    token = house.token()
    assert house.own("DELETE", "/users/me", token).status == 204
    assert house.own("DELETE", "/users/me", token).status == 401
    asked = send_json(house.client, "POST", "/auth/request-password-reset", {"email": _EMAIL})
    assert (asked.status, house.take_up().status, house.login().status) == (202, 200, 200)


def test_who_registers_again_with_a_key_is_mailed_nevertheless(house: _House) -> None:
    """The refusal undoes nothing of what it brought about: the link that restores the account."""
    assert house.own("DELETE", "/users/me", house.token()).status == 204
    again = [("idempotency-key", "5b0c7f2e-97a4-4d1c-9d4f-0c3a1f5e8b6d")]
    taken = send_json(house.client, "POST", "/auth/register", _CREDENTIALS, headers=again)
    assert _code(taken) == (409, "email-taken")
    assert house.take_up().status == 200
    assert house.login().status == 200


def test_leaving_takes_a_fresh_sign_in(house: _House) -> None:
    """One of the last five minutes."""
    token = house.token()
    house.installation.clock.advance(timedelta(minutes=6))
    for method, target in (("DELETE", "/users/me"), ("POST", "/users/me/deactivate")):
        refused = house.own(method, target, token)
        assert "insufficient_user_authentication" in (refused.header("www-authenticate") or "")
    assert house.own("GET", "/users/me", token).status == 200


def test_an_account_is_unlocked(house: _House) -> None:
    """Its failures are forgotten."""
    wrong = {**_CREDENTIALS, "password": "not the password at all"}
    assert send_json(house.client, "POST", "/auth/login", wrong).status == 401
    (state,) = (each for each in house.installation.stored().login_states.values() if each.failed_attempts)

    assert house.send("POST", f"{house.path}/unlock").status == 204

    assert house.installation.stored().login_states[state.user_id].failed_attempts == 0


def test_users_may_not_do_it_to_others_and_the_last_administrator_not_at_all(house: _House) -> None:
    """Neither to themselves."""
    token = house.token()
    for method, target in (
        ("PATCH", house.path),
        ("DELETE", house.path),
        ("POST", f"{house.path}/restore"),
        ("POST", f"{house.path}/unlock"),
    ):
        content: dict[str, Any] | None = {} if method == "PATCH" else None
        assert _code(send_json(house.client, method, target, content, token=token)) == (403, "permission-denied")
    admin_id = json_of(house.send("GET", "/users/me"))["id"]
    for method, target, content in (
        ("PATCH", f"/admin/users/{admin_id}", {"status": "suspended", "statusReason": "x"}),
        ("DELETE", f"/admin/users/{admin_id}", None),
        ("DELETE", f"/admin/users/{admin_id}?hardDelete=true", None),
        ("DELETE", "/users/me", None),
        ("POST", "/users/me/deactivate", None),
    ):
        assert _code(house.send(method, target, content)) == (409, "last-administrator")
