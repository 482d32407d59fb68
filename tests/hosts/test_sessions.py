"""Sessions over every host: seeing and ending them, one's own and those of others."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from tests.hosts.installation import Installation
from tests.paths import NOBODY
from userservice_core.domain.audit import Actor, AuditAction
from userservice_core.http.problems import TYPE_PREFIX
from userservice_core.testing.host import HostClient, json_of, send_json

if TYPE_CHECKING:
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import PipelineClient

_PASSWORD: Final = "correct horse battery staple"


@attrs.frozen
class _House:
    """A host and who is signed in to it."""

    client: HostClient
    installation: Installation

    def register(self, email: str) -> None:
        """Open an account."""
        self.installation.access_token(email)

    def sign_in(self, email: str) -> dict[str, Any]:
        """Begin a session, and return its tokens."""
        response = send_json(self.client, "POST", "/auth/login", {"email": email, "password": _PASSWORD})
        assert response.status == 200, response.body
        return json_of(response)

    def send(self, method: str, target: str, *, token: str, content: dict[str, Any] | None = None) -> Response:
        """Send a request with an access token."""
        return send_json(self.client, method, target, content, token=token)

    def sessions(self, token: str, target: str = "/auth/sessions") -> list[dict[str, Any]]:
        """Return what is listed."""
        response = self.send("GET", target, token=token)
        assert response.status == 200, response.body
        answer = json_of(response)
        assert answer["page"]["total"] == len(answer["data"])
        data: list[dict[str, Any]] = answer["data"]
        return data

    def works(self, tokens: dict[str, Any]) -> tuple[bool, bool]:
        """Tell whether the access token and the refresh token of a session are taken."""
        access = self.send("GET", "/users/me", token=tokens["accessToken"]).status
        refresh = send_json(self.client, "POST", "/auth/refresh-token", {"refreshToken": tokens["refreshToken"]}).status
        assert {access, refresh} <= {200, 401}
        return access == 200, refresh == 200

    def revoked(self) -> list[tuple[str, str]]:
        """Return which sessions were told to be revoked, and why."""
        self.installation.mails()
        events = self.installation.in_memory.publisher.published
        data = [json.loads(event.payload) for event in events if "session_revoked" in event.type]
        return [(each["sessionId"], each["reason"]) for each in data]


@pytest.fixture
def house(client: HostClient, installation: Installation) -> _House:
    """Each host in turn."""
    return _House(client, installation)


@pytest.fixture
def quiet_house(pipeline_client: PipelineClient, installation: Installation) -> _House:
    """The service without a host."""
    return _House(pipeline_client, installation)


@pytest.mark.asvs("7.5.2")
def test_open_sessions_are_shown(house: _House) -> None:
    """Most recently used first, the caller's own marked; the list has a strong tag."""
    house.register("ada@example.com")
    first = house.sign_in("ada@example.com")
    house.installation.clock.advance(timedelta(minutes=1))
    second = house.sign_in("ada@example.com")

    newer, older = house.sessions(second["accessToken"])

    assert list(newer) == ["id", "createdAt", "lastUsedAt", "expiresAt", "ip", "userAgent", "current"]
    assert (newer["current"], older["current"]) == (True, False)
    assert newer["createdAt"] > older["createdAt"]
    assert [each["current"] for each in house.sessions(first["accessToken"])] == [False, True]
    response = house.send("GET", "/auth/sessions", token=first["accessToken"])
    again = send_json(
        house.client,
        "GET",
        "/auth/sessions",
        token=first["accessToken"],
        headers=[("if-none-match", dict(response.headers)["etag"])],
    )
    assert (response.status, again.status) == (200, 304)


@pytest.mark.asvs("7.5.2")
def test_one_session_is_ended(house: _House) -> None:
    """It and no other, at once; it is not there any more then, and its owner may end the one that they call from."""
    house.register("ada@example.com")
    here, there = house.sign_in("ada@example.com"), house.sign_in("ada@example.com")
    (other,) = (each["id"] for each in house.sessions(here["accessToken"]) if not each["current"])

    ended = house.send("DELETE", f"/auth/sessions/{other}", token=here["accessToken"])
    again = house.send("DELETE", f"/auth/sessions/{other}", token=here["accessToken"])

    assert (ended.status, ended.body, again.status) == (204, b"", 404)
    assert json_of(again)["type"] == f"{TYPE_PREFIX}session-not-found"
    assert house.works(there) == (False, False)
    assert house.works(here) == (True, True)
    (own,) = house.sessions(here["accessToken"])
    assert house.send("DELETE", f"/auth/sessions/{own['id']}", token=here["accessToken"]).status == 204
    assert house.works(here) == (False, False)


@pytest.mark.asvs("8.2.2")
def test_a_session_of_another_user_is_not_there(house: _House) -> None:
    """Neither to see nor to end; nor is one that never was."""
    house.register("ada@example.com")
    house.register("bob@example.com")
    ada, bob = house.sign_in("ada@example.com"), house.sign_in("bob@example.com")
    (own,) = house.sessions(ada["accessToken"])

    answers = [house.send("DELETE", f"/auth/sessions/{each}", token=bob["accessToken"]) for each in (own["id"], NOBODY)]

    assert [answer.status for answer in answers] == [404, 404]
    assert own["id"] not in {each["id"] for each in house.sessions(bob["accessToken"])}
    assert house.works(ada) == (True, True)


@pytest.mark.asvs("7.4.5")
def test_an_administrator_sees_and_ends_the_sessions_of_a_user(house: _House) -> None:
    """One, then all; nothing of others', and nothing that is mailed is ended by it."""
    administrator = house.installation.administrator_token("root@example.com")
    house.register("ada@example.com")
    ada = [house.sign_in("ada@example.com") for _ in range(3)]
    house.register("bob@example.com")
    bob = house.sign_in("bob@example.com")
    path = f"/admin/users/{ada[0]['user']['id']}/sessions"
    listed = house.sessions(administrator, path)
    mine = next(each["id"] for each in house.sessions(ada[0]["accessToken"]) if each["current"])

    one = house.send("DELETE", f"{path}/{mine}", token=administrator)
    after_one = [house.works(each) for each in ada]
    left = [each["id"] for each in house.sessions(administrator, path)]
    rest = house.send("DELETE", path, token=administrator)
    none_left = house.send("DELETE", path, token=administrator)

    assert {each["current"] for each in listed} == {False}
    assert (one.status, rest.status, none_left.status) == (204, 204, 204)
    assert after_one == [(False, False), (True, True), (True, True)]
    assert sorted([mine, *left]) == sorted(each["id"] for each in listed)
    assert [house.works(each) for each in ada] == [(False, False)] * 3
    assert house.works(bob) == (True, True)
    assert house.sessions(administrator, path) == []


@pytest.mark.parametrize(
    ("method", "rest"), [("GET", "/sessions"), ("DELETE", "/sessions"), ("DELETE", f"/sessions/{NOBODY}")]
)
def test_sessions_of_nobody_are_not_found(quiet_house: _House, method: str, rest: str) -> None:
    """There is no such user."""
    administrator = quiet_house.installation.administrator_token("root@example.com")

    response = quiet_house.send(method, f"/admin/users/{NOBODY}{rest}", token=administrator)

    assert (response.status, json_of(response)["type"]) == (404, f"{TYPE_PREFIX}user-not-found")


def test_a_session_is_ended_under_its_users_name_alone(quiet_house: _House) -> None:
    """Under another user's, and once it has ended, it is not there."""
    administrator = quiet_house.installation.administrator_token("root@example.com")
    quiet_house.register("ada@example.com")
    quiet_house.register("bob@example.com")
    ada, bob = quiet_house.sign_in("ada@example.com"), quiet_house.sign_in("bob@example.com")
    (session,) = quiet_house.sessions(ada["accessToken"])

    def end(user: dict[str, Any]) -> int:
        path = f"/admin/users/{user['user']['id']}/sessions/{session['id']}"
        return quiet_house.send("DELETE", path, token=administrator).status

    assert end(bob) == 404
    assert quiet_house.works(ada) == (True, True)
    assert [end(ada), end(ada)] == [204, 404]


def test_whoever_ends_a_session_is_told_of(quiet_house: _House) -> None:
    """By an event for each session that says why, and in the audit log."""
    administrator = quiet_house.installation.administrator_token("root@example.com")
    quiet_house.register("ada@example.com")
    tokens = [quiet_house.sign_in("ada@example.com") for _ in range(4)]
    user_id = tokens[0]["user"]["id"]
    own = next(each["id"] for each in quiet_house.sessions(tokens[0]["accessToken"]) if each["current"])
    assert quiet_house.send("DELETE", f"/auth/sessions/{own}", token=tokens[0]["accessToken"]).status == 204
    path = f"/admin/users/{user_id}/sessions"
    left = [each["id"] for each in quiet_house.sessions(administrator, path)]
    assert quiet_house.send("DELETE", f"{path}/{left[0]}", token=administrator).status == 204
    assert quiet_house.send("DELETE", path, token=administrator).status == 204

    entries = [
        record.entry
        for record in quiet_house.installation.stored().audit
        if record.entry.action is AuditAction.SESSION_REVOKED
    ]
    (root,) = (
        user.id for user in quiet_house.installation.stored().users.values() if user.email.address == "root@example.com"
    )
    assert sorted(quiet_house.revoked()) == sorted(
        [(own, "ended-by-user"), *((each, "ended-by-administrator") for each in left)]
    )
    assert [str(entry.actor.id) for entry in entries] == [user_id, str(root), str(root)]
    assert entries[1].actor == Actor.user(root)
    assert {str(entry.subject.id) for entry in entries if entry.subject is not None} == {user_id}
    shown = quiet_house.send("GET", "/users/me/activity", token=quiet_house.sign_in("ada@example.com")["accessToken"])
    by = [each["by"] for each in json_of(shown)["data"] if each["action"] == "auth.session_revoked"]
    assert by == ["administrator", "administrator", "you"]


@pytest.mark.asvs("7.4.1")
def test_no_access_token_outlives_its_session(quiet_house: _House) -> None:
    """One that is had shortly before the session's absolute end is good until then."""
    quiet_house.register("ada@example.com")
    tokens = quiet_house.sign_in("ada@example.com")
    for _ in range(12):
        quiet_house.installation.clock.advance(timedelta(days=7.5) - timedelta(seconds=10))
        response = send_json(
            quiet_house.client, "POST", "/auth/refresh-token", {"refreshToken": tokens["refreshToken"]}
        )
        assert response.status == 200, response.body
        tokens = json_of(response)

    assert tokens["expiresIn"] == tokens["refreshExpiresIn"] == 120
    assert quiet_house.works(tokens) == (True, True)
    quiet_house.installation.clock.advance(timedelta(seconds=120 + 31))
    assert quiet_house.works(tokens) == (False, False)
