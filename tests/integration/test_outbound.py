"""Whom a process that serves calls: what its settings name, and nobody that a request names."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest

from tests.e2e.processes import settings_for
from tests.hosts.hostile_texts import Target, api_document, text_places, try_body
from tests.key_endpoint import Answering, KeyEndpoint
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.http.routes import ROUTES
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from pathlib import Path

_WATCHED: Final = frozenset({"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"})
_LURES: Final = ("https://lure.example/a", "ada@lure.example")
_LOCAL: Final = frozenset({"127.0.0.1", "localhost"})

_PADDING: Final = b"0" * 35 + b":0\r\n"

# What Python audits cannot be unwatched again, so there is one watcher, which counts while it is told to (PEP 578).
_called: Counter[tuple[str, object]] | None = None


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _called is None or event not in _WATCHED:
        return
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        host, port = address[:2] if isinstance(address, tuple) else (str(address), None)
    else:
        host, port = str(arguments[0]), arguments[1] if event == "socket.getaddrinfo" else None
    _called[host, port] += 1


@pytest.mark.asvs("13.2.4", "13.2.5")
def test_only_what_the_settings_name_is_called(
    database: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Whatever address is in whatever text of whatever request; the cache and the look-up of passwords are called.

    What libpq opens is not seen here: it is written in C, and its address is the database's.
    """
    sys.addaudithook(_watch)
    called: Counter[tuple[str, object]] = Counter()
    with KeyEndpoint(Answering(body=_PADDING)) as endpoint:
        settings = settings_for(
            database,
            tmp_path,
            CACHE_URL=redis_url,
            BREACH_CHECK="fail-closed",
            BREACH_CHECK_URL=endpoint.url,
            ARGON2_MEMORY_KIB="8",
            ARGON2_TIME_COST="1",
        )
        # What the environment gives cannot be changed by a request.
        del settings["USERSERVICE_LOG_LEVEL"]
        monkeypatch.setattr(sys.modules[__name__], "_called", called)
        with bootstrap(Settings.from_environment(settings)) as service:
            client = PipelineClient(service.pipeline)
            issued = service.use_cases.accounts.create_first_administrator(email="root@example.com")
            account = {"email": "root@example.com", "password": "correct horse battery staple"}
            first = {**account, "password": issued, "newPassword": account["password"]}
            user = json_of(send_json(client, "POST", "/auth/login", first))["user"]

            def sign_in() -> str:
                return str(json_of(send_json(client, "POST", "/auth/login", account))["accessToken"])

            target = Target(client=client, sign_in=sign_in, user_id=user["id"])
            document = api_document()
            for route in ROUTES:
                # Whoever deletes or locks the only account there is ends the test.
                if route.body is not None and not route.path.startswith("/auth/mfa") and text_places(document, route):
                    for lure in _LURES:
                        try_body(document, route, target, lure)
        monkeypatch.undo()

    places = {(host, port) for host, port in called if port is not None}
    assert places == {(urlsplit(url).hostname, urlsplit(url).port) for url in (redis_url, endpoint.url)}
    assert {host for host, _ in called} <= _LOCAL
