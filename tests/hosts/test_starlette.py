"""What only an ASGI host can get wrong: its loop, its streams, its lifespan."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from adapters.starlette_app import translate
from adapters.starlette_app.app import create_app
from tests.hosts.installation import Installation, sample_route
from userservice_core.http.call import Call, empty_response

if TYPE_CHECKING:
    from starlette.types import Message, Scope

    from userservice_core.http.messages import Response


def _scope(method: str, path: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - what ASGI has in a scope
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": None,
        **more,
    }


async def _never() -> Message:
    raise AssertionError("there is nothing to receive")


async def _status_of(app: Any, scope: Scope, receive: Any = _never) -> int:  # noqa: ANN401
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


def test_work_that_blocks_does_not_hold_the_loop(installation: Installation) -> None:
    """While a request waits for the database, others are answered from memory on the same loop."""
    entered, gate = threading.Event(), threading.Event()

    def wait(_call: Call) -> Response:
        entered.set()
        assert gate.wait(timeout=10)
        return empty_response(204)

    app = create_app(installation.with_routes(sample_route(wait)))

    async def scenario() -> tuple[int, int]:
        slow = asyncio.ensure_future(_status_of(app, _scope("GET", "/wait")))
        assert await asyncio.to_thread(entered.wait, 10)
        quick = await asyncio.wait_for(_status_of(app, _scope("GET", "/health/live")), timeout=5)
        assert not slow.done()
        gate.set()
        return quick, await slow

    assert asyncio.run(scenario()) == (200, 204)


@pytest.mark.asvs("5.2.1")
def test_a_body_without_end_is_left_at_the_limit(installation: Installation) -> None:
    """No more is read than it takes to see that it is too much, whatever length was announced."""
    app = create_app(installation.service)
    received = 0

    async def receive() -> Message:
        nonlocal received
        received += 16_384
        return {"type": "http.request", "body": b"x" * 16_384, "more_body": True}

    headers = [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    status = asyncio.run(_status_of(app, _scope("POST", "/auth/login", headers=headers), receive))

    assert status == 413
    assert received <= 65_536 + 16_384


def test_a_client_that_goes_away_is_no_error_of_ours(installation: Installation) -> None:
    """What was sent of the body is shorter than announced."""
    app = create_app(installation.service)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    headers = [(b"content-type", b"application/json"), (b"content-length", b"10")]

    assert asyncio.run(_status_of(app, _scope("POST", "/auth/login", headers=headers), receive)) == 400


@pytest.mark.asvs("15.2.2")
def test_a_body_that_does_not_come_is_not_waited_for(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that sends a byte now and then holds a connection for some seconds, and no thread at all."""
    monkeypatch.setattr(translate, "BODY_SECONDS", 0.05)
    app = create_app(installation.service)
    waiting = [b"{"]

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": waiting.pop(), "more_body": True}

    headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]

    assert asyncio.run(_status_of(app, _scope("POST", "/auth/login", headers=headers), receive)) == 400


def test_a_body_over_http_2_needs_no_length(installation: Installation) -> None:
    """Its frames say where it ends, so that no header has to."""
    app = create_app(installation.service)
    waiting = [b'{"email": 1,', b'"password": "x"}']

    async def receive() -> Message:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    scope = _scope("POST", "/auth/login", http_version="2", headers=[(b"content-type", b"application/json")])

    assert asyncio.run(_status_of(app, scope, receive)) == 400
    assert waiting == []


def test_an_application_below_a_prefix_sees_its_own_paths(installation: Installation) -> None:
    """The prefix is the server's matter; a server that does not say the raw path is understood too."""
    app = create_app(installation.service)

    assert asyncio.run(_status_of(app, _scope("GET", "/api/health/live", root_path="/api"))) == 200
    assert asyncio.run(_status_of(app, _scope("GET", "/health/live", raw_path=None))) == 200


def test_a_websocket_is_refused(installation: Installation) -> None:
    """There is none to connect to."""
    app = create_app(installation.service)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app({"type": "websocket", "path": "/", "headers": []}, _never, send))

    assert [message["type"] for message in sent] == ["websocket.close"]


def test_the_service_lives_as_long_as_the_server(installation: Installation) -> None:
    """Startup starts it, shutdown closes it."""
    app = create_app(installation.service)
    waiting = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan", "state": {}}, receive, send))

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
