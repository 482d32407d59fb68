"""Another address for one's account, over every host."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

_OLD, _NEW = "ada@example.com", "ada@example.net"
_PASSWORD = "correct horse battery staple"


@pytest.fixture
def token(installation: Installation, client: HostClient) -> str:
    """An access token of somebody who has just signed in."""
    installation.access_token(_OLD)
    return str(json_of(_sign_in(client, _OLD))["accessToken"])


def _sign_in(client: HostClient, email: str) -> Response:
    return send_json(client, "POST", "/auth/login", {"email": email, "password": _PASSWORD})


def _patch(client: HostClient, token: str, body: dict[str, Any], **headers: str) -> Response:
    return send_json(
        client, "PATCH", "/users/me", body, token=token, headers=[(k.replace("_", "-"), v) for k, v in headers.items()]
    )


def _present(client: HostClient, token: str) -> tuple[Any, Response]:
    """Look at a mailed link, then open it."""
    seen = json_of(send_json(client, "GET", f"/auth/verify-email?token={token}"))
    return seen, send_json(client, "POST", "/auth/verify-email", {"token": token})


def test_an_address_is_changed_and_given_back(installation: Installation, client: HostClient, token: str) -> None:
    """Asked for, confirmed from the new mailbox, undone from the old one."""
    asked = _patch(client, token, {"email": _NEW})
    assert (asked.status, asked.header("etag")) == (200, '"3-user1"')
    assert (json_of(asked)["email"], json_of(asked)["pendingEmail"]) == (_OLD, _NEW)

    seen, confirmed = _present(client, installation.mailed_token(_NEW))
    assert seen == {"purpose": "change_email", "valid": True}
    assert (confirmed.status, json_of(confirmed)) == (200, {"email": _NEW, "emailVerified": True})
    assert send_json(client, "GET", "/users/me", token=token).status == 200
    assert (_sign_in(client, _OLD).status, _sign_in(client, _NEW).status) == (401, 200)

    undo = installation.mailed_token(_OLD)
    seen, undone = _present(client, undo)
    assert seen == {"purpose": "undo_email_change", "valid": True}
    assert (undone.status, json_of(undone)) == (200, {"email": _OLD, "emailVerified": True})
    assert send_json(client, "GET", "/users/me", token=token).status == 401
    assert (_sign_in(client, _OLD).status, _sign_in(client, _NEW).status) == (200, 401)
    seen, again = _present(client, undo)
    assert (seen, again.status) == ({"purpose": "undo_email_change", "valid": False}, 400)
    links = [mail.link for mail in installation.mails() if mail.kind in {"change_email", "email_changed"}]
    assert all(link is not None and "/verify-email?token=" in link for link in links)


@pytest.mark.asvs("6.3.8")
def test_a_taken_address_shows_only_to_who_reads_its_mail(
    installation: Installation, client: HostClient, token: str
) -> None:
    """The answers to both are the same but for the address; the conflict comes with the confirmation."""
    installation.access_token(_NEW)
    free = "ada@example.org"
    answers = []
    for email in (_NEW, free):
        installation.clock.advance(timedelta(minutes=1))
        asked = _patch(client, token, {"email": email}, x_request_id="r")
        shown = json_of(_patch(client, token, {"pendingEmail": None}))
        varying = {"pendingEmail": None, "version": None, "updatedAt": None}
        answers.append((asked.status, [name for name, _ in asked.headers], {**json_of(asked), **varying}))
        assert (json_of(asked)["pendingEmail"], shown["pendingEmail"]) == (email, None)
    assert answers[0] == answers[1]

    _patch(client, token, {"email": _NEW})
    seen, refused = _present(client, installation.mailed_token(_NEW))

    assert seen == {"purpose": "change_email", "valid": True}
    assert (refused.status, json_of(refused)["type"].rpartition(":")[2]) == (409, "email-taken")


def test_what_was_read_can_be_sent_back(client: HostClient, token: str) -> None:
    """And changes nothing; so does an empty patch."""
    _patch(client, token, {"email": _NEW})
    read = send_json(client, "GET", "/users/me", token=token)

    for body in (json_of(read), {}):
        again = _patch(client, token, body)
        assert (again.status, json_of(again), again.header("etag")) == (200, json_of(read), read.header("etag"))


def test_every_fault_is_told_at_once(client: HostClient, token: str) -> None:
    """Members that cannot be changed, the pending address other than by null, and what is no address."""
    body = {
        "id": "0192f0c1-2a4b-7c3d-8e5f-60718293a4b5",
        "email": "not an address",
        "emailVerified": False,
        "pendingEmail": "eve@example.com",
        "status": "suspended",
        "roles": ["administrator"],
        "attributes": {"a": [1]},
        "createdAt": "2020-01-01T00:00:00Z",
        "updatedAt": "2020-01-01T00:00:00Z",
        "mfaEnabled": True,
        "deletedAt": "2020-01-01T00:00:00Z",
        "version": 99,
    }

    refused = _patch(client, token, body)

    told = {(item["pointer"], item["code"]) for item in json_of(refused)["errors"]}
    assert refused.status == 400
    assert told == {(f"/{name}", "read-only") for name in body if name != "email"} | {("/email", "invalid-email")}


def test_a_change_of_another_version_is_refused(client: HostClient, token: str) -> None:
    """The header If-Match names the one it is meant for."""
    assert _patch(client, token, {"email": _NEW}, if_match='"1-user1"').status == 412
    assert _patch(client, token, {"email": _NEW}, if_match='"2-user1"').status == 200


@pytest.mark.asvs("7.5.1")
def test_a_change_wants_a_recent_sign_in(installation: Installation, client: HostClient, token: str) -> None:
    """A session that was left open somewhere does not suffice."""
    installation.clock.advance(timedelta(minutes=5, seconds=1))

    stale = _patch(client, token, {"email": _NEW})
    proved = json_of(send_json(client, "POST", "/auth/reauthenticate", {"password": _PASSWORD}, token=token))

    assert (stale.status, json_of(stale)["type"].rpartition(":")[2]) == (401, "fresh-sign-in-required")
    assert _patch(client, proved["accessToken"], {"email": _NEW}).status == 200


@pytest.mark.asvs("2.4.1")
def test_the_fourth_mail_within_an_hour_has_to_wait(client: HostClient, token: str) -> None:
    """With the time after which to try again."""
    for number in range(3):
        assert _patch(client, token, {"email": f"ada{number}@example.net"}).status == 200

    refused = _patch(client, token, {"email": _NEW})

    assert (refused.status, json_of(refused)["type"].rpartition(":")[2]) == (429, "too-many-requests")
    assert refused.header("retry-after") == "3600"


def test_mails_that_are_not_sent_are_not_told_of(installation: Installation, client: HostClient) -> None:
    """An owner who had enough of them, one who had none, and nobody: one answer."""
    installation.access_token(_OLD)
    installation.access_token(_NEW)
    for path in ("/auth/request-password-reset", "/auth/request-email-verification"):
        for _ in range(3):
            send_json(client, "POST", path, {"email": _OLD})
        before = len(installation.mails())
        answers = [
            send_json(client, "POST", path, {"email": email}, headers=[("x-request-id", "r")])
            for email in (_OLD, _NEW, "nobody@example.com")
        ]
        assert len({(each.status, tuple(sorted(each.headers)), each.body) for each in answers}) == 1
        assert answers[0].status == 202
        assert _OLD not in [mail.to for mail in installation.mails()[before:]]
