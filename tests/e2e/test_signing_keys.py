"""Changing the keys that sign access tokens under load, on two instances and with a verifier elsewhere."""

from __future__ import annotations

import base64
import json
import threading
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
import pytest

from tests.e2e.flow import PASSWORD
from tests.e2e.processes import Process, Server, eventually, settings_for
from userservice_core import TokenVerifier
from userservice_core.bootstrap import new_key_ring
from userservice_core.errors import UserServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_CREDENTIALS: Final = {"email": "ada@example.com", "password": PASSWORD}
_ISSUER: Final = "https://accounts.example.com"


class _Load:
    """Refreshes a session again and again, each time elsewhere, and shows each token to everybody."""

    def __init__(self, urls: Sequence[str], refresh_token: str) -> None:
        self._urls = urls
        self._refresh_token = refresh_token
        self._verifier: TokenVerifier | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.taken: dict[str, int] = {}
        self.latest: dict[str, str] = {}
        self.failed: list[str] = []
        self.token = ""
        self.taken_elsewhere = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def begin_elsewhere(self) -> None:
        """Verify in another service, too, by the key set of this moment: it has no reason to fetch it anew."""
        self._verifier = TokenVerifier(f"{self._urls[0]}/.well-known/jwks.json", issuer=_ISSUER)

    def _run(self) -> None:
        with httpx.Client() as client:
            for turn in range(1_000_000):
                if self._stop.is_set():
                    return
                self._turn(client, self._urls[turn % 2])

    def _turn(self, client: httpx.Client, url: str) -> None:
        answer = client.post(f"{url}/auth/refresh-token", json={"refreshToken": self._refresh_token})
        if answer.status_code != 200:
            self.failed.append(f"refresh: {answer.status_code} {answer.text}")
            return
        self.token, self._refresh_token = answer.json()["accessToken"], answer.json()["refreshToken"]
        for other in self._urls:
            asked = client.get(f"{other}/users/me", headers=_bearer(self.token))
            if asked.status_code != 200:
                self.failed.append(f"{other}: {asked.status_code} {asked.text}")
        if self._verifier is not None:
            try:
                self._verifier.verify(self.token)
            except UserServiceError as error:
                self.failed.append(f"elsewhere: {error.code}")
            self.taken_elsewhere += 1
        key_id = _header(self.token)["kid"]
        self.taken[key_id] = self.taken.get(key_id, 0) + 1
        self.latest[key_id] = self.token


def _header(token: str) -> dict[str, str]:
    text = token.partition(".")[0]
    header: dict[str, str] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return header


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _keys(*arguments: str, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    with Process("keys", *arguments, environment=environment) as process:
        assert process.wait() == 0, process.lines
    return process.documents()


def _published(server: Server) -> dict[str, str]:
    keys = httpx.get(f"{server.url}/.well-known/jwks.json").json()["keys"]
    return {key["kid"]: key["alg"] for key in keys}


def _sign_in(relay: Process, server: Server) -> dict[str, Any]:
    assert httpx.post(f"{server.url}/auth/register", json=_CREDENTIALS).status_code == 201
    token = relay.mail_to("ada@example.com")["token"]
    assert httpx.post(f"{server.url}/auth/verify-email", json={"token": token}).status_code == 200
    answer: dict[str, Any] = httpx.post(f"{server.url}/auth/login", json=_CREDENTIALS).json()
    return answer


def test_keys_change_under_load_without_one_failed_request(database: str, tmp_path: Path) -> None:
    """To another algorithm, and no process is begun anew; then the key is revoked, and its tokens with it."""
    environment = settings_for(
        database, tmp_path, KEYRING=new_key_ring(), SIGNING_KEYS="database", SIGNING_ALGORITHM="ES256"
    )
    with (
        Process("relay", environment=environment) as relay,
        Server("starlette", environment=environment) as here,
        Server("flask", environment=environment) as there,
    ):
        servers = (here, there)
        signed_in = _sign_in(relay, here)
        with _Load([server.url for server in servers], signed_in["refreshToken"]) as load:
            (first,) = _keys("list", environment=environment)
            eventually(lambda: load.taken.get(first["kid"], 0) > 10, what="tokens of the first key")

            (second,) = _keys("rotate", environment=environment)

            both = {first["kid"]: "EdDSA", second["kid"]: "ES256"}
            eventually(lambda: all(_published(server) == both for server in servers), what="the next key everywhere")
            assert set(load.taken) == {first["kid"]}
            load.begin_elsewhere()
            eventually(lambda: load.taken_elsewhere > 0, what="a token that was verified elsewhere")
            _keys("promote", second["kid"], environment=environment)
            eventually(lambda: load.taken.get(second["kid"], 0) > 20, what="tokens of the second key")
        stolen = load.latest[second["kid"]]
        listed = _keys("list", environment=environment)
        assert load.failed == []
        assert [(key["kid"], key["state"]) for key in listed] == [
            (first["kid"], "retired"),
            (second["kid"], "current"),
        ]

        (third,) = _keys("revoke", second["kid"], environment=environment)

        def refused() -> list[int]:
            return [httpx.get(f"{server.url}/users/me", headers=_bearer(stolen)).status_code for server in servers]

        eventually(lambda: refused() == [401, 401], what="the end of the tokens of the revoked key", seconds=5)
        eventually(
            lambda: all(second["kid"] not in _published(server) for server in servers), what="its end in the key set"
        )
        again = httpx.post(f"{there.url}/auth/login", json=_CREDENTIALS).json()["accessToken"]
        assert _header(again)["kid"] == third["kid"]
        assert httpx.get(f"{here.url}/users/me", headers=_bearer(again)).status_code == 200


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_the_algorithm_is_a_setting(database: str, tmp_path: Path, algorithm: str) -> None:
    """From the sign-in to another service that verifies by the published keys; the ring is made at the start."""
    environment = settings_for(database, tmp_path, SIGNING_ALGORITHM=algorithm)
    with Process("relay", environment=environment) as relay, Server("starlette", environment=environment) as server:
        token = _sign_in(relay, server)["accessToken"]
        published = _published(server)
        claims = TokenVerifier(f"{server.url}/.well-known/jwks.json", issuer=_ISSUER).verify(token)
        me = httpx.get(f"{server.url}/users/me", headers=_bearer(token)).json()

    assert _header(token) == {"alg": algorithm, "typ": "at+jwt", "kid": claims.key_id}
    assert published == {claims.key_id: algorithm}
    assert str(claims.user_id) == me["id"]


def test_keys_of_the_ring_are_not_changed_by_the_command(database: str, tmp_path: Path) -> None:
    """It says which setting has them in the database."""
    with Process("keys", "rotate", environment=settings_for(database, tmp_path)) as process:
        assert process.wait() == 78

    assert "USERSERVICE_SIGNING_KEYS=database" in process.lines[-1]
