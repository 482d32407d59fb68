"""Real servers, a real database, a real broker: the whole way of a user, the same on every host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx

from tests.e2e.flow import Answer, walk
from tests.e2e.functions import FRONT_ENDS, FunctionClient, function
from tests.e2e.processes import Process, Server, settings_for

if TYPE_CHECKING:
    from pathlib import Path


class HttpClient:
    """Speaks HTTP to a server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, method: str, path: str, *, body: object = None, token: str | None = None) -> Answer:
        """Send JSON, with a bearer token where there is one."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["content-type"] = "application/json"
        answer = httpx.request(method, f"{self._url}{path}", headers=headers, content=content, timeout=30)
        return Answer(answer.status_code, answer.headers, json.loads(answer.content) if answer.content else None)


def test_the_flow_gives_the_same_bodies_on_every_host(database: str, tmp_path: Path) -> None:
    """Starlette and Flask under granian and Lambda in its emulator serve one installation, alike to the last member."""
    environment = settings_for(database, tmp_path)

    with Process("relay", environment=environment) as relay:

        def mailed_token(email: str) -> str:
            token: str = relay.mail_to(email)["token"]
            return token

        with Server("starlette", environment=environment) as server:
            over_starlette = walk(HttpClient(server.url), "ada@starlette.example.com", mailed_token)
            assert server.stop() == 0
        with Server("flask", environment=environment) as server:
            over_flask = walk(HttpClient(server.url), "ada@flask.example.com", mailed_token)
            assert server.stop() == 0
        with function(tmp_path / "lambda", environment) as emulator:
            over_lambda = {
                name: walk(FunctionClient(emulator, make_event), f"ada@{name}.example.com", mailed_token)
                for name, make_event in FRONT_ENDS.items()
            }
        assert relay.stop() == 0

    assert over_flask == over_starlette
    assert over_lambda == dict.fromkeys(FRONT_ENDS, over_starlette)
