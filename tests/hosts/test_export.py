"""Users get everything that is held about them, over every host."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from userservice_core.domain.audit import Actor, AuditAction, Subject
from userservice_core.http.pipeline import MAX_SIGN_IN_AGE
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

PASSWORD = "correct horse battery staple"


def _export(client: HostClient, token: str) -> Response:
    return send_json(client, "GET", "/users/me/export", token=token)


def _id_of(installation: Installation, email: str) -> Any:  # noqa: ANN401 - a user's id
    (found,) = (user.id for user in installation.stored().users.values() if user.email.address == email)
    return found


def test_an_export_holds_what_the_other_routes_show(client: HostClient, installation: Installation) -> None:
    """Account, profile, addresses, roles, sessions, links and what happened; as a file, and once more in the log."""
    token = installation.access_token("user@example.com")
    root = installation.administrator_token("root@example.com")
    send_json(client, "PATCH", "/users/me/profile", {"bio": "Two words."}, token=token)
    address = {"addressLine1": "1 High Street", "city": "Leeds", "postalCode": "LS1 4AP", "countryCode": "GB"}
    send_json(client, "POST", "/users/me/addresses", address, token=token)
    signed_in = json_of(send_json(client, "POST", "/auth/login", {"email": "user@example.com", "password": PASSWORD}))
    user_id = _id_of(installation, "user@example.com")
    suspended = {"status": "suspended", "statusReason": "chargeback"}
    send_json(client, "PATCH", f"/admin/users/{user_id}", suspended, token=root)
    send_json(client, "PATCH", f"/admin/users/{user_id}", {"status": "active"}, token=root)
    installation.clock.advance(timedelta(seconds=1))
    token = json_of(send_json(client, "POST", "/auth/login", {"email": "user@example.com", "password": PASSWORD}))[
        "accessToken"
    ]

    response = _export(client, token)

    assert response.status == 200, response.body
    assert response.header("content-disposition") == 'attachment; filename="account.json"'
    exported = json_of(response)
    assert exported["account"] == json_of(send_json(client, "GET", "/users/me", token=token))
    assert exported["profile"] == json_of(send_json(client, "GET", "/users/me/profile", token=token))
    assert exported["addresses"] == json_of(send_json(client, "GET", "/users/me/addresses", token=token))["data"]
    assert [role["name"] for role in exported["roles"]] == exported["account"]["roles"]
    assert [session["revokedAt"] is None for session in exported["sessions"]] == [False, True]
    assert [link["purpose"] for link in exported["mailedLinks"]] == ["verify_email"]
    assert exported["signIns"]["hasPassword"] is True
    happened = [(each["action"], each["by"]) for each in exported["activity"]]
    assert happened[:3] == [
        ("auth.logged_in", "you"),
        ("user.status_changed", "administrator"),
        ("user.status_changed", "administrator"),
    ]
    assert exported["activity"][2]["after"] == {"status": "suspended", "statusReason": "chargeback"}
    assert exported["logIsComplete"] is True
    entry = installation.stored().audit[-1].entry
    assert (entry.action, entry.actor, entry.subject) == (
        AuditAction.USER_EXPORTED,
        Actor.user(user_id),
        Subject.user(user_id),
    )
    written = response.body.decode()
    root_id = str(_id_of(installation, "root@example.com"))
    for other in (root_id, "root@example.com", signed_in["refreshToken"], PASSWORD):
        assert other not in written


def test_an_export_wants_a_recent_sign_in(client: HostClient, installation: Installation) -> None:
    """Whoever finds a machine unlocked does not carry everything away."""
    token = installation.access_token("user@example.com")
    installation.clock.advance(MAX_SIGN_IN_AGE + timedelta(seconds=1))

    response = _export(client, token)

    assert response.status == 401
    assert "insufficient_user_authentication" in (response.header("www-authenticate") or "")
    assert installation.stored().audit[-1].entry.action != AuditAction.USER_EXPORTED


def test_what_users_did_to_others_is_in_their_export(client: HostClient, installation: Installation) -> None:
    """That they did it, and from where; not the values, which are those of others."""
    root = installation.administrator_token("root@example.com")
    role = json_of(send_json(client, "POST", "/admin/roles", {"name": "Clerk of works"}, token=root))

    response = _export(client, root)

    (deed,) = json_of(response)["deeds"]
    assert (deed["action"], deed["subject"]) == ("role.created", {"kind": "role", "id": role["id"]})
    assert "Clerk of works" not in response.body.decode()
