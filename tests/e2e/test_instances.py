"""Several instances, none of which remembers anything the others do not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.flow import PASSWORD
from tests.e2e.processes import Process, Server, eventually, settings_for

if TYPE_CHECKING:
    from pathlib import Path


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
