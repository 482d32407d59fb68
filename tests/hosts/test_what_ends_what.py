"""Every change of an account with every credential of it: what is refused then is what the page says, and no more."""

from __future__ import annotations

import base64
import itertools
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode

import attrs
import pyotp
import pytest

from tests.hosts.installation import HOSTS, Installation
from tests.paths import NOBODY
from userservice_core.domain.events import NotificationKind
from userservice_core.domain.one_time_tokens import TokenPurpose
from userservice_core.domain.roles import USER_ROLE
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import HostClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from userservice_core.domain.ids import UserId
    from userservice_core.domain.users import User
    from userservice_core.http.messages import Response

    Table = dict[str, dict[str, str]]

T = TypeVar("T")

_PAGE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "what-ends-what.md"
_PASSWORD: Final = "correct horse battery staple"
_NEW_PASSWORD: Final = "an entirely different sentence"
_SUSPENSION: Final = {"status": "suspended", "statusReason": "chargeback"}
_SERVED: Final = ("pipeline", "starlette", "flask", "lambda")
_OK: Final = {200, 201, 202, 204}
_NOT_TAKEN: Final = {400, 401, 403}


@attrs.frozen
class _House:
    """A host, and the first administrator."""

    client: HostClient
    installation: Installation

    @classmethod
    def open(cls, host: str) -> _House:
        """Begin with an administrator."""
        installation = Installation.begin(FakeClock())
        installation.administrator_token("root@example.com")
        return cls(HOSTS[host](installation.service), installation)

    def send(
        self, method: str, target: str, content: Mapping[str, Any] | None = None, *, token: str | None = None
    ) -> Response:
        """Send a request."""
        return send_json(self.client, method, target, content, token=token)

    def must(
        self, method: str, target: str, content: Mapping[str, Any] | None = None, *, token: str | None = None
    ) -> dict[str, Any]:
        """Send a request that succeeds."""
        response = self.send(method, target, content, token=token)
        assert response.status in _OK, (method, target, response.body)
        return json_of(response) if response.body else {}

    def administer(self, method: str, target: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Have the administrator do what succeeds, after a recent sign-in."""
        return self.must(method, target, content, token=self.installation.token_of("root@example.com"))

    def user(self, user_id: str) -> User | None:
        """Return an account as it is now."""
        users = self.installation.stored().users
        return next((user for user in users.values() if str(user.id) == user_id), None)

    def has_effect(self, path: str, content: Mapping[str, str], user_id: str) -> bool:
        """Present what is mailed, and tell whether it did anything to the account."""

        def seen() -> list[object]:
            stored = self.installation.stored()
            return [each for rows in (stored.users, stored.credentials) for each in _of_user(rows, user_id)]

        before = seen()
        response = self.send("POST", path, content)
        assert response.status in {200, *_NOT_TAKEN}, response.body
        assert response.status == 200 or seen() == before
        return seen() != before

    def is_let_in(self, token: str) -> bool:
        """Tell whether an access token of a user is taken, by memory and by the database."""
        usual = self.send("GET", "/auth/sessions", token=token).status
        sensitive = self.send("DELETE", f"/auth/sessions/{NOBODY}", token=token).status
        assert (usual, sensitive) in {(200, 404), (401, 401)}
        return usual == 200


def _of_user(rows: Mapping[UserId, object], user_id: str) -> list[object]:
    return [row for key, row in rows.items() if str(key) == user_id]


# --- an active account ------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Active:
    """Somebody with everything that can be had: two sessions, and a link of each kind."""

    house: _House
    id: str
    here: dict[str, Any]
    fresh: str
    there: dict[str, Any]
    first_refresh: str
    links: dict[str, str]

    @classmethod
    def begin(cls, house: _House) -> _Active:
        """Register, change the address, sign in twice, ask for links, and prove again who they are."""
        mailed = house.installation.mailed_token
        house.installation.access_token("ada@example.com")
        credentials = {"email": "ada@example.com", "password": _PASSWORD}
        here = house.must("POST", "/auth/login", credentials)
        house.must("PATCH", "/users/me", {"email": "ada2@example.com"}, token=here["accessToken"])
        house.must("POST", "/auth/verify-email", {"token": mailed("ada2@example.com")})
        there = house.must("POST", "/auth/login", {**credentials, "email": "ada2@example.com"})
        house.must("POST", "/auth/request-password-reset", {"email": "ada2@example.com"})
        house.must("PATCH", "/users/me", {"email": "ada3@example.com"}, token=here["accessToken"])
        links = {
            "reset_password": mailed("ada2@example.com"),
            "change_email": mailed("ada3@example.com"),
            "undo_email_change": mailed("ada@example.com"),
        }
        house.installation.clock.advance(timedelta(minutes=6))
        fresh = house.must("POST", "/auth/reauthenticate", {"password": _PASSWORD}, token=here["accessToken"])
        first_refresh = here["refreshToken"]
        here["refreshToken"] = house.must("POST", "/auth/refresh-token", {"refreshToken": first_refresh})[
            "refreshToken"
        ]
        return cls(
            house=house,
            id=here["user"]["id"],
            here=here,
            fresh=fresh["accessToken"],
            there=there,
            first_refresh=first_refresh,
            links=links,
        )

    @property
    def path(self) -> str:
        """Where administrators find them."""
        return f"/admin/users/{self.id}"

    def session_id(self) -> str:
        """Return the id of this session."""
        listed = self.house.must("GET", "/auth/sessions", token=self.fresh)["data"]
        return str(next(each["id"] for each in listed if each["current"]))

    def own(self, method: str, target: str, content: Mapping[str, Any] | None = None) -> None:
        """Do something with the fresh token."""
        self.house.must(method, target, content, token=self.fresh)

    def refreshes(self, tokens: Mapping[str, str]) -> bool:
        """Tell whether a refresh token is taken."""
        response = self.house.send("POST", "/auth/refresh-token", {"refreshToken": tokens["refreshToken"]})
        assert response.status in {200, 401}
        return response.status == 200

    def exports(self) -> bool:
        """Tell whether the fresh token opens what wants a recent sign-in."""
        response = self.house.send("GET", "/users/me/export", token=self.fresh)
        assert response.status in {200, 401}
        assert (response.status == 200) == self.house.is_let_in(self.fresh)
        return response.status == 200

    def signs_in(self) -> bool:
        """Tell whether the password that they had begins a session."""
        user = self.house.user(self.id)
        email = "ada2@example.com" if user is None else user.email.address
        response = self.house.send("POST", "/auth/login", {"email": email, "password": _PASSWORD})
        assert response.status in {200, *_NOT_TAKEN}
        return response.status == 200

    def resets(self) -> bool:
        """Tell whether the link brings a new password."""
        content = {"token": self.links["reset_password"], "password": "one more sentence of several words"}
        return self.house.has_effect("/auth/reset-password", content, self.id)

    def verifies(self, purpose: str) -> bool:
        """Tell whether a link changes the address."""
        return self.house.has_effect("/auth/verify-email", {"token": self.links[purpose]}, self.id)


_ACTIVE_CREDENTIALS: Final[dict[str, Callable[[_Active], bool]]] = {
    "access token": lambda ada: ada.house.is_let_in(ada.here["accessToken"]),
    "refresh token": lambda ada: ada.refreshes(ada.here),
    "fresh token": _Active.exports,
    "access token elsewhere": lambda ada: ada.house.is_let_in(ada.there["accessToken"]),
    "refresh token elsewhere": lambda ada: ada.refreshes(ada.there),
    "password": _Active.signs_in,
    "`reset_password` link": _Active.resets,
    "`change_email` link": lambda ada: ada.verifies("change_email"),
    "`undo_email_change` link": lambda ada: ada.verifies("undo_email_change"),
}
"""For each kind of credential, how it is shown; those that are no links first, as links end others."""


def _in_turn(*steps: Callable[[T], object]) -> Callable[[T], None]:
    def do(subject: T) -> None:
        for step in steps:
            step(subject)

    return do


def _administered(method: str, rest: str = "", content: Mapping[str, Any] | None = None) -> Callable[[Any], object]:
    return lambda subject: subject.house.administer(method, f"{subject.path}{rest}", content)


def _owned(method: str, target: str, content: Mapping[str, Any] | None = None) -> Callable[[_Active], object]:
    return lambda ada: ada.own(method, target, content)


def _linked(path: str, purpose: str, **content: str) -> Callable[[_Active], object]:
    return lambda ada: ada.house.must("POST", path, {"token": ada.links[purpose], **content})


def _client(house: _House, *permissions: str) -> dict[str, str]:
    made = house.administer("POST", "/admin/clients", {"name": "billing", "permissions": list(permissions)})
    secret = house.administer("POST", f"/admin/clients/{made['id']}/secrets")
    return {"id": made["id"], "secretId": secret["id"], "secret": secret["secret"], "first": made["secret"]}


def _oauth(house: _House, path: str, client_id: str, secret: str, form: Mapping[str, str]) -> Response:
    basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    return house.client.request(
        "POST",
        path,
        headers=[("authorization", f"Basic {basic}"), ("content-type", "application/x-www-form-urlencoded")],
        body=urlencode(form).encode(),
    )


def _revoked_by_client(ada: _Active) -> None:
    client = _client(ada.house)
    form = {"token": ada.here["accessToken"]}
    assert _oauth(ada.house, "/oauth/revoke", client["id"], client["secret"], form).status == 200


def _reused(ada: _Active) -> None:
    ada.house.installation.clock.advance(timedelta(seconds=11))
    assert ada.house.send("POST", "/auth/refresh-token", {"refreshToken": ada.first_refresh}).status == 401


def _failed_and_unlocked(ada: _Active) -> None:
    wrong = {"email": "ada2@example.com", "password": "not the one they have"}
    assert ada.house.send("POST", "/auth/login", wrong).status == 401
    ada.house.administer("POST", f"{ada.path}/unlock")


def _ended_from_elsewhere(ada: _Active) -> None:
    ada.house.must("DELETE", f"/auth/sessions/{ada.session_id()}", token=ada.there["accessToken"])


_CHANGED_PASSWORD: Final = {"currentPassword": _PASSWORD, "newPassword": _NEW_PASSWORD}
_ACTIVE_CHANGES: Final[dict[str, Callable[[_Active], object]]] = {
    "nothing": lambda _: None,
    "an administrator suspends it": _administered("PATCH", "", _SUSPENSION),
    "it is suspended and reactivated": _in_turn(
        _administered("PATCH", "", _SUSPENSION), _administered("PATCH", "", {"status": "active"})
    ),
    "its owner deactivates it": _owned("POST", "/users/me/deactivate"),
    "it is deactivated and reactivated": _in_turn(
        _owned("POST", "/users/me/deactivate"), _administered("PATCH", "", {"status": "active"})
    ),
    "its owner deletes it": _owned("DELETE", "/users/me"),
    "an administrator deletes it": _administered("DELETE"),
    "it is deleted and restored": _in_turn(_administered("DELETE"), _administered("POST", "/restore")),
    "an administrator erases it": _administered("DELETE", "?hardDelete=true"),
    "its owner changes the password": _owned("POST", "/auth/change-password", _CHANGED_PASSWORD),
    "its owner resets the password": _linked("/auth/reset-password", "reset_password", password=_NEW_PASSWORD),
    "its owner asks for a reset": lambda ada: ada.house.must(
        "POST", "/auth/request-password-reset", {"email": "ada2@example.com"}
    ),
    "an administrator mails a reset": _administered("POST", "/password-reset"),
    "its owner asks for another address": _owned("PATCH", "/users/me", {"email": "ada4@example.com"}),
    "its owner withdraws the change": _owned("PATCH", "/users/me", {"pendingEmail": None}),
    "its owner confirms the new address": _linked("/auth/verify-email", "change_email"),
    "the old address undoes a change": _linked("/auth/verify-email", "undo_email_change"),
    "its owner signs out": _owned("POST", "/auth/logout", {}),
    "its owner signs out everywhere": _owned("POST", "/auth/logout-all", {}),
    "its owner ends this session from elsewhere": _ended_from_elsewhere,
    "an administrator ends this session": lambda ada: ada.house.administer(
        "DELETE", f"{ada.path}/sessions/{ada.session_id()}"
    ),
    "an administrator ends all sessions": _administered("DELETE", "/sessions"),
    "an old refresh token of this session is used": _reused,
    "a client revokes the access token": _revoked_by_client,
    "a role is given and taken": _in_turn(
        _administered("POST", "/roles", {"roleIds": [str(USER_ROLE.id)]}),
        _administered("DELETE", f"/roles?roleId={USER_ROLE.id}"),
    ),
    "an administrator unlocks it": _failed_and_unlocked,
}
"""For each row of the page, how it comes about."""


# --- an account with a second factor ----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Doubled(_Active):
    """Somebody whose second factor is on, who signs in just now, and who has signed in on a device before."""

    secret: str
    recovery_codes: list[str]
    waiting: str

    @classmethod
    def begin(cls, house: _House) -> _Doubled:
        """Turn it on, and give the password."""
        ada = _Active.begin(house)
        secret = house.must("POST", "/auth/mfa/setup", token=ada.fresh)["secret"]
        code = {"code": pyotp.TOTP(secret).at(house.installation.clock.now())}
        codes = house.must("POST", "/auth/mfa/verify", code, token=ada.fresh)["recoveryCodes"]
        begun = house.must("POST", "/auth/login", {"email": "ada2@example.com", "password": _PASSWORD})
        known = {field.name: getattr(ada, field.name) for field in attrs.fields(_Active)}
        return cls(**known, secret=secret, recovery_codes=codes, waiting=begun["mfaSessionToken"])

    def next_code(self) -> dict[str, str]:
        """Wait for a code that was not there before."""
        self.house.installation.clock.advance(timedelta(seconds=30))
        return {"code": pyotp.TOTP(self.secret).at(self.house.installation.clock.now())}

    def answers(self, waiting: str, content: Mapping[str, str]) -> bool:
        """Tell whether a sign-in that waits is finished by a code."""
        response = self.house.send("POST", "/auth/mfa/challenge", {"mfaSessionToken": waiting, **content})
        assert response.status in {200, 401, 429}
        return response.status == 200

    def gives_password(self, **content: str) -> str | None:
        """Give the password that is good now; return the token for the code, empty if none is wanted."""
        user = self.house.user(self.id)
        for password in (_PASSWORD, _NEW_PASSWORD):
            email = "ada2@example.com" if user is None else user.email.address
            response = self.house.send("POST", "/auth/login", {"email": email, "password": password, **content})
            assert response.status in {200, 401, 403}
            if response.status == 200:
                return str(json_of(response).get("mfaSessionToken", ""))
        return None

    def signs_in_with(self, content: Mapping[str, str]) -> bool:
        """Tell whether password and code begin a session."""
        waiting = self.gives_password()
        return bool(waiting) and self.answers(str(waiting), content)

    def is_known(self) -> bool:
        """Tell whether the device gets past a lock."""
        store = self.house.installation.in_memory.store
        states = {
            key: state.locked() if str(key) == self.id else state for key, state in store.rows.login_states.items()
        }
        store.rows = attrs.evolve(store.rows, login_states=states)
        assert self.gives_password() is None
        return self.gives_password(deviceToken=self.there["deviceToken"]) is not None


_DOUBLED_CREDENTIALS: Final[dict[str, Callable[[_Doubled], bool]]] = {
    "access token": lambda ada: ada.house.is_let_in(ada.here["accessToken"]),
    "refresh token": lambda ada: ada.refreshes(ada.here),
    "sign-in that waits": lambda ada: ada.answers(ada.waiting, ada.next_code()),
    "code": lambda ada: ada.signs_in_with(ada.next_code()),
    "recovery code": lambda ada: ada.signs_in_with({"recoveryCode": ada.recovery_codes[0]}),
    "device token": _Doubled.is_known,
}


def _wrong_codes(times: int) -> Callable[[_Doubled], None]:
    def give(ada: _Doubled) -> None:
        assert not any(ada.answers(ada.waiting, {"code": "12345x"}) for _ in range(min(times, 5)))
        for _ in range(times - 5):
            assert not ada.answers(str(ada.gives_password()), {"code": "12345x"})

    return give


def _finished(ada: _Doubled) -> None:
    assert ada.answers(ada.waiting, ada.next_code())


def _spent(ada: _Doubled) -> None:
    assert ada.signs_in_with({"recoveryCode": ada.recovery_codes[0]})


def _turned_on_anew(ada: _Doubled) -> None:
    secret = ada.house.must("POST", "/auth/mfa/setup", token=ada.fresh)["secret"]
    ada.own("POST", "/auth/mfa/verify", {"code": pyotp.TOTP(secret).at(ada.house.installation.clock.now())})


_DOUBLED_CHANGES: Final[dict[str, Callable[[_Doubled], object]]] = {
    **_ACTIVE_CHANGES,
    "its owner turns the second factor off": _owned("POST", "/auth/mfa/disable"),
    "it is turned off and on again": _in_turn(_owned("POST", "/auth/mfa/disable"), _turned_on_anew),
    "an administrator takes the second factor away": _administered("DELETE", "/mfa"),
    "its owner gets new recovery codes": _owned("POST", "/auth/mfa/recovery-codes"),
    "the recovery code is used": _spent,
    "the sign-in is finished": _finished,
    "another sign-in waits": _Doubled.gives_password,
    "five wrong codes are given": _wrong_codes(5),
    "ten wrong codes are given": _wrong_codes(10),
}


# --- accounts that are not taken up -----------------------------------------------------------------------------------


@attrs.frozen
class _Linked:
    """An account with links that are mailed; what they are for has its path, and what goes with the token."""

    house: _House
    id: str
    email: str
    links: dict[str, str]

    @property
    def path(self) -> str:
        """Where administrators find it."""
        return f"/admin/users/{self.id}"

    def use(self, purpose: str) -> bool:
        """Present the link, and tell whether it did anything."""
        path = _PATHS[TokenPurpose(purpose)]
        content = {"token": self.links[purpose]}
        if path == "/auth/reset-password":
            content["password"] = "one more sentence of several words"
        return self.house.has_effect(path, content, self.id)


_PATHS: Final = {
    TokenPurpose.VERIFY_EMAIL: "/auth/verify-email",
    TokenPurpose.RESET_PASSWORD: "/auth/reset-password",
    TokenPurpose.INVITE: "/auth/reset-password",
    TokenPurpose.RESTORE_ACCOUNT: "/auth/restore-account",
    TokenPurpose.REACTIVATE_ACCOUNT: "/auth/restore-account",
}


def _registered(house: _House) -> _Linked:
    email = "eve@example.com"
    user = house.must("POST", "/auth/register", {"email": email, "password": _PASSWORD})
    verify = house.installation.mailed_token(email)
    house.must("POST", "/auth/request-password-reset", {"email": email})
    links = {"verify_email": verify, "reset_password": house.installation.mailed_token(email)}
    return _Linked(house, user["id"], email, links)


def _invited(house: _House) -> _Linked:
    user = house.administer("POST", "/admin/users", {"email": "zoe@example.com"})
    return _Linked(house, user["id"], "zoe@example.com", {"invite": house.installation.mailed_token("zoe@example.com")})


def _deleted(house: _House) -> _Linked:
    return _left(house, "DELETE", "/users/me", "/auth/request-password-reset", "restore_account")


def _deactivated(house: _House) -> _Linked:
    return _left(house, "POST", "/users/me/deactivate", "/auth/login", "reactivate_account")


def _left(house: _House, method: str, target: str, ask: str, purpose: str) -> _Linked:
    email = f"{purpose.partition('_')[0]}@example.com"
    house.must(method, target, token=house.installation.access_token(email))
    (user,) = (user for user in house.installation.stored().users.values() if user.email.address == email)
    left = _Linked(house, str(user.id), email, {})
    left.links[purpose] = _asked(ask)(left)
    return left


def _asked(path: str) -> Callable[[_Linked], str]:
    def ask(account: _Linked) -> str:
        content = {"email": account.email} | ({"password": _PASSWORD} if path == "/auth/login" else {})
        assert account.house.send("POST", path, content).status in {202, 403}
        return account.house.installation.mailed_token(account.email)

    return ask


def _used(purpose: str) -> Callable[[_Linked], object]:
    def use(account: _Linked) -> None:
        assert account.use(purpose)

    return use


_OUT: Final[dict[str, Callable[[_Linked], object]]] = {
    "nothing": lambda _: None,
    "an administrator deletes it": _administered("DELETE"),
    "an administrator erases it": _administered("DELETE", "?hardDelete=true"),
}
_LINKED_CHANGES: Final[dict[Callable[[_House], _Linked], dict[str, Callable[[_Linked], object]]]] = {
    _registered: {
        **_OUT,
        "it is deleted and restored": _in_turn(_administered("DELETE"), _administered("POST", "/restore")),
        "another link to confirm the address is mailed": _asked("/auth/request-email-verification"),
        "another link to reset the password is mailed": _asked("/auth/request-password-reset"),
        "its owner confirms the address": _used("verify_email"),
        "its owner chooses a password by the link": _used("reset_password"),
    },
    _invited: {
        **_OUT,
        "it is deleted and restored": _in_turn(_administered("DELETE"), _administered("POST", "/restore")),
        "another invitation is mailed": _administered("POST", "/invitation"),
        "its owner chooses a password by the link": _used("invite"),
    },
    _deleted: {
        **_OUT,
        "its owner takes it up again by the link": _used("restore_account"),
        "another link is mailed": _asked("/auth/request-password-reset"),
        "an administrator brings it back": _administered("POST", "/restore"),
    },
    _deactivated: {
        **_OUT,
        "its owner takes it up again by the link": _used("reactivate_account"),
        "another link is mailed": _asked("/auth/login"),
        "an administrator brings it back": _administered("PATCH", "", {"status": "active"}),
    },
}
_LINKS: Final[dict[Callable[[_House], _Linked], tuple[str, ...]]] = {
    _registered: ("verify_email", "reset_password"),
    _invited: ("invite",),
    _deleted: ("restore_account",),
    _deactivated: ("reactivate_account",),
}
_LINKED_TABLES: Final = {
    "A pending account": (_registered, _invited),
    "An account that was left": (_deleted, _deactivated),
}


# --- a service client -------------------------------------------------------------------------------------------------


@attrs.frozen
class _Client:
    """A service client with two secrets, and a token had by one."""

    house: _House
    id: str
    secret_id: str
    secret: str
    other_secret: str
    token: str

    @classmethod
    def begin(cls, house: _House) -> _Client:
        """Make it."""
        made = _client(house, "user:list", "role:list")
        response = _oauth(house, "/oauth/token", made["id"], made["secret"], {"grant_type": "client_credentials"})
        token = json_of(response)["access_token"]
        return cls(house, made["id"], made["secretId"], made["secret"], made["first"], token)

    @property
    def path(self) -> str:
        """Where administrators find it."""
        return f"/admin/clients/{self.id}"

    def is_let_in(self) -> bool:
        """Tell whether the token is taken."""
        response = self.house.send("GET", "/admin/roles", token=self.token)
        assert response.status in {200, 401}
        return response.status == 200

    def gets_token(self, secret: str) -> bool:
        """Tell whether a secret yields a token."""
        response = _oauth(self.house, "/oauth/token", self.id, secret, {"grant_type": "client_credentials"})
        assert response.status in {200, 401}
        return response.status == 200


def _revoked_by_itself(client: _Client) -> None:
    assert _oauth(client.house, "/oauth/revoke", client.id, client.secret, {"token": client.token}).status == 200


_CLIENT_CREDENTIALS: Final[dict[str, Callable[[_Client], bool]]] = {
    "access token": _Client.is_let_in,
    "secret": lambda client: client.gets_token(client.secret),
    "other secret": lambda client: client.gets_token(client.other_secret),
}
_CLIENT_CHANGES: Final[dict[str, Callable[[_Client], object]]] = {
    "nothing": lambda _: None,
    "an administrator disables it": _administered("PATCH", "", {"disabled": True}),
    "it is disabled and enabled": _in_turn(
        _administered("PATCH", "", {"disabled": True}), _administered("PATCH", "", {"disabled": False})
    ),
    "an administrator deletes it": _administered("DELETE"),
    "an administrator deletes the secret": lambda client: client.house.administer(
        "DELETE", f"{client.path}/secrets/{client.secret_id}"
    ),
    "it revokes the token": _revoked_by_itself,
    "an administrator renames it": _administered("PATCH", "", {"name": "invoicing"}),
    "an administrator takes a permission from it": _administered("PATCH", "", {"permissions": ["role:list"]}),
}


# --- the page ---------------------------------------------------------------------------------------------------------


def _tables() -> dict[str, Table]:
    """Read the tables of the page, each by the heading that it is under: of each change, what becomes of what."""
    tables: dict[str, Table] = {}
    heading = ""
    columns: list[str] = []
    for line in _PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading, columns = line.removeprefix("## "), []
        elif line.startswith("| ") and not columns:
            columns = _cells(line)[1:]
        elif line.startswith("| ") and not line.startswith("| ---"):
            change, *cells = _cells(line)
            assert set(cells) <= {"stands", "refused", "–"}, line
            tables.setdefault(heading, {})[change] = dict(zip(columns, cells, strict=True))
    return tables


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


_TABLES: Final = _tables()


def _shown(house: _House, subject: T, credentials: Mapping[str, Callable[[T], bool]]) -> dict[str, str]:
    """Show each credential as if it were the only one, and return what became of it."""
    before = house.installation.stored()
    found = {}
    for name, is_taken in credentials.items():
        house.installation.in_memory.store.rows = before
        found[name] = "stands" if is_taken(subject) else "refused"
    return found


@pytest.mark.asvs("7.4.1", "7.4.2", "7.4.3")
@pytest.mark.parametrize("host", _SERVED)
@pytest.mark.parametrize("change", _ACTIVE_CHANGES)
def test_what_ends_with_a_change_of_an_active_account(host: str, change: str) -> None:
    """As the page has it."""
    house = _House.open(host)
    ada = _Active.begin(house)

    _ACTIVE_CHANGES[change](ada)

    assert _shown(house, ada, _ACTIVE_CREDENTIALS) == _TABLES["An active account"][change]


@pytest.mark.asvs("6.4.3", "7.4.2")
@pytest.mark.parametrize(("host", "change"), list(zip(itertools.cycle(_SERVED), _DOUBLED_CHANGES, strict=False)))
def test_what_ends_with_a_change_of_an_account_with_a_second_factor(host: str, change: str) -> None:
    """As the page has it; the hosts take turns, since what they share with the table above is tried there on each."""
    house = _House.open(host)
    ada = _Doubled.begin(house)

    _DOUBLED_CHANGES[change](ada)

    assert _shown(house, ada, _DOUBLED_CREDENTIALS) == _TABLES["An account with a second factor"][change]


def _linked_cases() -> Iterator[tuple[str, Callable[[_House], _Linked], str]]:
    for heading, kinds in _LINKED_TABLES.items():
        for begin in kinds:
            for change in _LINKED_CHANGES[begin]:
                yield heading, begin, change


@pytest.mark.parametrize("host", _SERVED)
@pytest.mark.parametrize(("heading", "begin", "change"), list(_linked_cases()))
def test_what_ends_with_a_change_of_an_account_that_is_not_taken_up(
    host: str, heading: str, begin: Callable[[_House], _Linked], change: str
) -> None:
    """As the page has it."""
    house = _House.open(host)
    account = begin(house)

    _LINKED_CHANGES[begin][change](account)

    credentials = {f"`{each}` link": _presented(each) for each in _LINKS[begin]}
    expected = _TABLES[heading][change]
    assert _shown(house, account, credentials) == {name: expected[name] for name in credentials}


def _presented(purpose: str) -> Callable[[_Linked], bool]:
    return lambda account: account.use(purpose)


@pytest.mark.parametrize("host", _SERVED)
@pytest.mark.parametrize("change", _CLIENT_CHANGES)
def test_what_ends_with_a_change_of_a_client(host: str, change: str) -> None:
    """As the page has it."""
    house = _House.open(host)
    client = _Client.begin(house)

    _CLIENT_CHANGES[change](client)

    assert _shown(house, client, _CLIENT_CREDENTIALS) == _TABLES["A service client"][change]


def test_the_page_has_every_change_and_every_credential() -> None:
    """And no other; where it says that there is none, none is tried."""
    assert {heading: set(table) for heading, table in _TABLES.items()} == {
        "An active account": set(_ACTIVE_CHANGES),
        "An account with a second factor": set(_DOUBLED_CHANGES),
        "A service client": set(_CLIENT_CHANGES),
        **{
            heading: {change for begin in kinds for change in _LINKED_CHANGES[begin]}
            for heading, kinds in _LINKED_TABLES.items()
        },
    }
    for heading, kinds in _LINKED_TABLES.items():
        for change, cells in _TABLES[heading].items():
            tried = {f"`{each}` link" for begin in kinds if change in _LINKED_CHANGES[begin] for each in _LINKS[begin]}
            assert tried == {name for name, cell in cells.items() if cell != "–"}, change


def test_every_kind_of_link_that_is_mailed_is_on_the_page() -> None:
    """A new purpose of a token has to say what ends it."""
    linked = set(re.findall(r"`(\w+)` link", _PAGE.read_text(encoding="utf-8")))
    mailed = {kind.value for kind in NotificationKind}

    assert linked == {each.value for each in TokenPurpose if each.value in mailed} | {TokenPurpose.UNDO_EMAIL_CHANGE}
