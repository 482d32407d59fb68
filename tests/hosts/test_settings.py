"""Settings that change while the service runs, on every host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from userservice_core.domain.audit import AuditAction
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

_NEW = {"email": "new@example.com", "password": "correct horse battery staple"}


class _Desk:
    """An administrator at a host."""

    def __init__(self, client: HostClient, installation: Installation) -> None:
        self.client = client
        self.token = installation.administrator_token("root@example.com")

    def read(self) -> Response:
        """Read the settings."""
        return send_json(self.client, "GET", "/admin/settings", token=self.token)

    def change(self, values: dict[str, Any], *, if_match: str | None = None) -> Response:
        """Change settings."""
        body = {"values": values, "reason": "a test"}
        headers = [] if if_match is None else [("if-match", if_match)]
        return send_json(self.client, "PATCH", "/admin/settings", body, token=self.token, headers=headers)


@pytest.fixture
def desk(client: HostClient, installation: Installation) -> _Desk:
    """An administrator who has just signed in."""
    return _Desk(client, installation)


def problem_of(response: Response) -> str:
    """Return the code of what was refused."""
    return str(json_of(response)["type"]).rpartition(":")[2]


def _by_name(response: Response) -> dict[str, Any]:
    assert response.status == 200, response.body
    return {setting["name"]: setting for setting in json_of(response)["settings"]}


def test_a_change_counts_for_the_next_request(desk: _Desk) -> None:
    """Registration closes and opens, and the password policy follows, without a restart."""
    assert _by_name(desk.read())["registrationOpen"]["value"] is True

    changed = desk.change({"registrationOpen": False, "passwordMinCharacters": 30})

    assert _by_name(changed)["registrationOpen"]["value"] is False
    assert _by_name(desk.read())["passwordMinCharacters"]["source"] == "database"
    refused = send_json(desk.client, "POST", "/auth/register", _NEW)
    assert (refused.status, problem_of(refused)) == (403, "registration-closed")
    assert json_of(send_json(desk.client, "GET", "/auth/password-policy"))["minCharacters"] == 30

    assert desk.change({"registrationOpen": None}).status == 200
    short = send_json(desk.client, "POST", "/auth/register", _NEW)
    assert [fault["code"] for fault in json_of(short)["errors"]] == ["password-too-short"]
    assert desk.change({"passwordMinCharacters": None}).status == 200
    assert send_json(desk.client, "POST", "/auth/register", _NEW).status == 201


def test_a_change_is_meant_for_a_version(desk: _Desk) -> None:
    """412 for whoever has not seen the last one; and with `requireIfMatch` on, 428 without any, from the next on."""
    etag = dict(desk.read().headers)["etag"]
    assert desk.change({"requireIfMatch": True}, if_match=etag).status == 200

    assert problem_of(desk.change({"requireIfMatch": None}, if_match=etag)) == "stale-version"
    assert desk.change({"requireIfMatch": None}).status == 428
    etag = dict(desk.read().headers)["etag"]
    assert desk.change({"requireIfMatch": None}, if_match=etag).status == 200
    assert desk.change({"logLevel": "DEBUG"}).status == 200


def test_all_that_is_wrong_is_pointed_at(desk: _Desk) -> None:
    """Each setting by its pointer."""
    response = desk.change({"passwordMinCharacters": 7, "keyring": "{}", "logLevel": ["a", {}]})

    assert response.status == 400
    found = {(fault["pointer"], fault["code"]) for fault in json_of(response)["errors"]}
    assert found == {
        ("/values/passwordMinCharacters", "setting-value"),
        ("/values/keyring", "setting-not-at-run-time"),
        ("/values/logLevel", "setting-value"),
    }


def test_failed_sign_ins_are_limited_by_the_new_limit(desk: _Desk) -> None:
    """A limit that changes begins to count anew."""
    wrong = {"email": "root@example.com", "password": "not the one that they have"}
    assert send_json(desk.client, "POST", "/auth/login", wrong).status == 401
    limits = {"sign-in": {"email": {"times": 2, "seconds": 900}}}
    assert desk.change({"rateLimits": limits}).status == 200

    assert [send_json(desk.client, "POST", "/auth/login", wrong).status for _ in range(3)] == [401, 401, 429]
    assert _by_name(desk.read())["rateLimits"]["value"] == limits


def test_who_changed_what_and_why_is_in_the_audit_log(desk: _Desk) -> None:
    """With the values before and after."""
    desk.change({"passwordMinCharacters": 20})

    log = send_json(desk.client, "GET", f"/admin/audit-log?action={AuditAction.SETTINGS_CHANGED}", token=desk.token)
    (entry,) = json_of(log)["data"]
    assert (entry["changed"], entry["before"]) == (
        ["passwordMinCharacters"],
        {"values": {"passwordMinCharacters": None}},
    )
    assert entry["after"] == {"values": {"passwordMinCharacters": "20"}, "version": 1, "reason": "a test"}
