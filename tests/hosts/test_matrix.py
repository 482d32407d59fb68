"""Who may call what: each route of the table, called by everybody who may and by everybody who may not."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from uuid import UUID

import attrs
import pytest

from tests.hosts.installation import HOSTS, Installation
from tests.paths import path_of
from userservice_core.domain.permission_sets import EVERYTHING
from userservice_core.domain.roles import SYSTEM_PERMISSIONS
from userservice_core.http.routes import ROUTES, Caller, Holder, Route
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

_PERMISSION_IDS: Final = {permission.name: str(permission.id) for permission in SYSTEM_PERMISSIONS}
_HELD: Final = sorted({route.who.permission for route in ROUTES if isinstance(route.who, Holder)})
_PASSWORD: Final = "correct horse battery staple"
_LEAVING: Final = (("DELETE", "/users/me"), ("POST", "/users/me/deactivate"))

_REFUSED: Final = {401, 403}
_PASSED: Final = {200, 201, 202, 204, 400, 404, 409, 412, 422, 428}
"""What a caller gets who may call a route with an empty body, and the id of nothing in its path."""


@attrs.frozen(kw_only=True)
class _Cast:
    """
    Everybody who calls, by their access token.

    Attributes:
        user: Holds no permission.
        leavers: Like that user, for the routes that end their account.
        holders: Each holds the one permission.
        others: Each holds all permissions of the table but the one.
        shut_out: Users whose tokens were good a moment ago, by what happened to them.
        clients: Of each permission, a service client that holds it.
        client_without: A service client that holds none of the table.
    """

    user: str
    leavers: dict[tuple[str, str], str]
    holders: dict[str, str]
    others: dict[str, str]
    shut_out: dict[str, str]
    clients: dict[str, str]
    client_without: str


class _Stage:
    """An installation, and the first administrator at work in it."""

    def __init__(self, client: HostClient, installation: Installation) -> None:
        self._client = client
        self._installation = installation
        self._administrator = installation.administrator_token("root@example.com")

    def cast(self) -> _Cast:
        """Make everybody."""
        return _Cast(
            user=self._signed_in("user@example.com"),
            leavers={
                route: self._installation.access_token(f"leaver{number}@example.com")
                for number, route in enumerate(_LEAVING)
            },
            holders={name: self._holder(f"holder{number}", {name}) for number, name in enumerate(_HELD)},
            others={name: self._holder(f"other{number}", set(_HELD) - {name}) for number, name in enumerate(_HELD)},
            shut_out={
                "suspended": self._suspended(),
                "deactivated": self._deactivated(),
                "deleted": self._deleted(),
                "erased": self._erased(),
                "signed out": self._signed_out(),
            },
            clients={name: self._client_with(f"client{number}", [name]) for number, name in enumerate(_HELD)},
            client_without=self._client_with("without", []),
        )

    def _must(self, method: str, target: str, content: dict[str, Any] | None = None, **options: Any) -> Response:  # noqa: ANN401
        response = send_json(self._client, method, target, content, token=self._administrator, **options)
        assert response.status in {200, 201, 204}, (target, response.body)
        return response

    def _holder(self, name: str, permissions: set[str]) -> str:
        token = self._installation.access_token(f"{name}@example.com")
        role = json_of(self._must("POST", "/admin/roles", {"name": name}))["id"]
        ids = [_PERMISSION_IDS[permission] for permission in sorted(permissions)]
        self._must("POST", f"/admin/roles/{role}/permissions", {"permissionIds": ids})
        self._must("POST", f"/admin/users/{self._id_of(token)}/roles", {"roleIds": [role]})
        return token

    def _id_of(self, token: str) -> str:
        return str(json_of(send_json(self._client, "GET", "/users/me", token=token))["id"])

    def _signed_in(self, email: str) -> str:
        """Return the token of a session that can be ended."""
        self._installation.access_token(email)
        login = {"email": email, "password": _PASSWORD}
        return str(json_of(send_json(self._client, "POST", "/auth/login", login))["accessToken"])

    def _suspended(self) -> str:
        token = self._signed_in("suspended@example.com")
        change = {"status": "suspended", "statusReason": "a matrix"}
        self._must("PATCH", f"/admin/users/{self._id_of(token)}", change)
        return token

    def _deactivated(self) -> str:
        token = self._signed_in("deactivated@example.com")
        assert send_json(self._client, "POST", "/users/me/deactivate", token=token).status == 204
        return token

    def _deleted(self) -> str:
        token = self._signed_in("deleted@example.com")
        self._must("DELETE", f"/admin/users/{self._id_of(token)}")
        return token

    def _erased(self) -> str:
        token = self._signed_in("erased@example.com")
        self._must("DELETE", f"/admin/users/{self._id_of(token)}?hardDelete=true")
        return token

    def _signed_out(self) -> str:
        token = self._signed_in("gone@example.com")
        assert send_json(self._client, "POST", "/auth/logout", token=token).status == 204
        return token

    def _client_with(self, name: str, permissions: list[str]) -> str:
        made = json_of(self._must("POST", "/admin/clients", {"name": name, "permissions": permissions}))
        secret = json_of(self._must("POST", f"/admin/clients/{made['id']}/secrets"))["secret"]
        basic = base64.b64encode(f"{made['id']}:{secret}".encode()).decode()
        response = self._client.request(
            "POST",
            "/oauth/token",
            headers=[("authorization", f"Basic {basic}"), ("content-type", "application/x-www-form-urlencoded")],
            body=urlencode({"grant_type": "client_credentials"}).encode(),
        )
        return str(json_of(response)["access_token"])


@pytest.fixture(scope="module", params=["pipeline", "starlette", "flask", "lambda"])
def stage(request: pytest.FixtureRequest) -> tuple[HostClient, _Cast]:
    """A host, and everybody who calls it; nothing that they do in this suite changes what they may."""
    installation = Installation.begin(FakeClock())
    client = HOSTS[request.param](installation.service)
    return client, _Stage(client, installation).cast()


def _status(client: HostClient, route: Route, token: str | None) -> int:
    """Call *route*, with nothing in its body, about nobody."""
    content: dict[str, Any] | None = None if route.body is None else {}
    return send_json(client, route.method, path_of(route), content, token=token).status


_FOR_USERS: Final = [route for route in ROUTES if route.who is Caller.USER]
_FOR_HOLDERS: Final = [route for route in ROUTES if isinstance(route.who, Holder)]
_FOR_ANYONE: Final = [route for route in ROUTES if route.who is Caller.ANYONE]


def _name(route: Route) -> str:
    return route.operation_id


@pytest.mark.asvs("7.2.1", "7.4.1", "7.4.2", "8.2.1")
@pytest.mark.parametrize("route", [*_FOR_USERS, *_FOR_HOLDERS], ids=_name)
def test_who_is_nobody_is_told_to_sign_in(stage: tuple[HostClient, _Cast], route: Route) -> None:
    """Without a token, and with one of a user or a session that was ended."""
    client, cast = stage
    answers = {what: _status(client, route, token) for what, token in cast.shut_out.items()}

    assert _status(client, route, None) == 401
    assert answers == dict.fromkeys(cast.shut_out, 401)


@pytest.mark.asvs("8.2.1")
@pytest.mark.parametrize("route", _FOR_USERS, ids=_name)
def test_a_route_for_users_takes_any_user(stage: tuple[HostClient, _Cast], route: Route) -> None:
    """And no service client, whatever it holds."""
    client, cast = stage

    assert _status(client, route, cast.leavers.get((route.method, route.path), cast.user)) in _PASSED
    assert _status(client, route, cast.client_without) == 403
    assert _status(client, route, cast.clients[_HELD[0]]) == 403


@pytest.mark.asvs("8.2.1")
@pytest.mark.parametrize("route", _FOR_HOLDERS, ids=_name)
def test_a_route_for_holders_takes_who_holds_its_permission(stage: tuple[HostClient, _Cast], route: Route) -> None:
    """That one and no other, whether a user or a service client; to change what clients may is for users alone."""
    client, cast = stage
    assert isinstance(route.who, Holder)
    permission = route.who.permission
    refusals = [cast.user, cast.others[permission], cast.client_without]

    assert _status(client, route, cast.holders[permission]) in _PASSED
    assert [_status(client, route, token) for token in refusals] == [403] * 3
    by_client = _status(client, route, cast.clients[permission])
    assert by_client == 403 if route.fresh else by_client in _PASSED


@pytest.mark.asvs("8.2.1")
@pytest.mark.parametrize("route", _FOR_ANYONE, ids=_name)
def test_a_route_for_anyone_asks_nobody_who_they_are(stage: tuple[HostClient, _Cast], route: Route) -> None:
    """A token that is no good is no reason to refuse."""
    client, cast = stage
    expected = _status(client, route, None)

    assert expected not in _REFUSED
    assert {_status(client, route, token) for token in (cast.user, *cast.shut_out.values())} == {expected}


@pytest.mark.asvs("8.2.2")
def test_nobody_sees_what_is_another_users(stage: tuple[HostClient, _Cast]) -> None:
    """A thing of theirs is not there, for each way to reach it."""
    client, cast = stage
    address = {"addressLine1": "1 High Street", "city": "London", "postalCode": "SW1A 1AA", "countryCode": "GB"}
    added = send_json(client, "POST", "/users/me/addresses", address, token=cast.user)
    assert added.status == 201, added.body
    path = f"/users/me/addresses/{json_of(added)['id']}"
    other = cast.others[_HELD[0]]

    assert send_json(client, "GET", path, token=other).status == 404
    assert send_json(client, "PUT", path, address, token=other).status == 404
    assert send_json(client, "DELETE", path, token=other).status == 404
    assert send_json(client, "PATCH", f"{path}/default", {"shipping": True}, token=other).status == 404
    assert send_json(client, "GET", path, token=cast.user).status == 200


def test_every_permission_that_the_table_names_exists() -> None:
    """Else nobody could hold it; and only administrators hold everything."""
    assert set(_HELD) <= set(_PERMISSION_IDS)
    assert EVERYTHING not in _HELD
    assert all(UUID(permission_id) for permission_id in _PERMISSION_IDS.values())
