"""Several instances, none of which remembers anything the others do not know."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import httpx
import psycopg
import pytest

from tests.e2e.flow import PASSWORD
from tests.e2e.processes import Process, Server, eventually, settings_for
from userservice_core.domain.roles import ADMIN_ROLE

if TYPE_CHECKING:
    from pathlib import Path

_BOUND: Final = 5.0
"""Seconds after which no instance takes what was ended on another, with every faster way cut."""


@pytest.mark.asvs("7.4.1")
def test_a_session_is_at_home_on_every_instance_and_ends_on_all(database: str, tmp_path: Path) -> None:
    """Each step on the instance that did not do the one before; after the sign-out both refuse the access token."""
    environment = settings_for(database, tmp_path)
    credentials = {"email": "ada@example.com", "password": PASSWORD}
    with (
        Process("relay", environment=environment) as relay,
        Server("starlette", environment=environment) as here,
        Server("flask", environment=environment) as there,
    ):
        assert httpx.post(f"{here.url}/auth/register", json=credentials).status_code == 201
        token = relay.mail_to("ada@example.com")["token"]
        assert httpx.post(f"{there.url}/auth/verify-email", json={"token": token}).status_code == 200
        first = httpx.post(f"{here.url}/auth/login", json=credentials).json()
        second = httpx.post(f"{there.url}/auth/refresh-token", json={"refreshToken": first["refreshToken"]}).json()
        bearer = {"Authorization": f"Bearer {second['accessToken']}"}
        assert [httpx.get(f"{server.url}/users/me", headers=bearer).status_code for server in (here, there)] == [
            200
        ] * 2

        assert httpx.post(f"{here.url}/auth/logout", json={}, headers=bearer).status_code == 204

        eventually(
            lambda: all(
                httpx.get(f"{server.url}/users/me", headers=bearer).status_code == 401 for server in (here, there)
            ),
            what="the end of the session on both instances",
            seconds=5,
        )


def test_what_is_taken_on_one_instance_is_gone_on_the_other(database: str, tmp_path: Path) -> None:
    """Sessions, a permission and the account: an administrator takes them there, and here they end within the bound."""
    environment = settings_for(database, tmp_path, ARGON2_MEMORY_KIB="64", ARGON2_TIME_COST="1")
    with (
        Process("relay", environment=environment) as relay,
        Server("starlette", environment=environment) as here,
        Server("flask", environment=environment) as there,
        httpx.Client(base_url=here.url, timeout=30) as near,
        httpx.Client(base_url=there.url, timeout=30) as far,
    ):
        for email in ("root@example.com", "ada@example.com"):
            near.post("/auth/register", json={"email": email, "password": PASSWORD}).raise_for_status()
            near.post("/auth/verify-email", json={"token": relay.mail_to(email)["token"]}).raise_for_status()
        with psycopg.connect(database) as connection:
            connection.execute(
                "INSERT INTO user_roles (user_id, role_id) SELECT user_id, %s FROM users WHERE email = %s",
                (ADMIN_ROLE.id, "root@example.com"),
            )
        signed_in = far.post("/auth/login", json={"email": "root@example.com", "password": PASSWORD}).json()
        far.headers["authorization"] = f"Bearer {signed_in['accessToken']}"
        ada = [
            near.post("/auth/login", json={"email": "ada@example.com", "password": PASSWORD}).json() for _ in range(12)
        ]
        path = f"/admin/users/{ada[0]['user']['id']}"

        def status(tokens: dict[str, Any], target: str = "/users/me") -> int:
            return near.get(target, headers={"authorization": f"Bearer {tokens['accessToken']}"}).status_code

        def seconds_until(expected: int, tokens: dict[str, Any], target: str = "/users/me") -> float:
            begun = time.monotonic()
            eventually(lambda: status(tokens, target) == expected, what=f"{expected} of {target}", seconds=_BOUND)
            return time.monotonic() - begun

        assert {status(tokens) for tokens in ada} == {200}
        waits = []
        for tokens in ada[1:-1]:
            (session,) = (
                each["id"]
                for each in near.get(
                    "/auth/sessions", headers={"authorization": f"Bearer {tokens['accessToken']}"}
                ).json()["data"]
                if each["current"]
            )
            assert far.delete(f"{path}/sessions/{session}").status_code == 204
            waits.append(seconds_until(401, tokens))
        for _ in range(5):
            assert status(ada[0], "/admin/roles") == 403
            assert far.post(f"{path}/roles", json={"roleIds": [str(ADMIN_ROLE.id)]}).status_code == 200
            waits.append(seconds_until(200, ada[0], "/admin/roles"))
            assert far.delete(f"{path}/roles", params={"roleId": str(ADMIN_ROLE.id)}).status_code == 200
            waits.append(seconds_until(403, ada[0], "/admin/roles"))
        suspension = {"status": "suspended", "statusReason": "a test"}
        assert far.patch(path, json=suspension).status_code == 200
        waits += [seconds_until(401, tokens) for tokens in (ada[0], ada[-1])]

        refused = near.post("/auth/refresh-token", json={"refreshToken": ada[-1]["refreshToken"]})
        assert refused.status_code == 401
        # Usually each is a matter of milliseconds.
        assert sorted(waits)[len(waits) // 2] <= 1, waits


def test_the_metrics_of_all_workers_are_served_on_a_port_of_their_own(database: str, tmp_path: Path) -> None:
    """Not on the public port; every request is counted once, whichever worker took it."""
    with Server("starlette", environment=settings_for(database, tmp_path, WORKERS="2")) as server:
        for _ in range(20):
            # Connections of their own spread over the workers.
            assert httpx.get(f"{server.url}/.well-known/jwks.json").status_code == 200
        public = httpx.get(f"{server.url}/metrics")

        def counted() -> float:
            text = httpx.get(server.metrics_url).text
            return sum(
                float(line.rpartition(" ")[2])
                for line in text.splitlines()
                if "requests_total" in line and 'operation="get_jwks"' in line and not line.startswith("#")
            )

        eventually(lambda: counted() == 20, what=f"twenty requests in {httpx.get(server.metrics_url).text[:2000]}")

    assert public.status_code == 404
