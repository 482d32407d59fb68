"""The service as a function of AWS Lambda, in the runtime's emulator, behind each of the front ends it may have."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final

from tests.e2e.flow import Answer
from tests.lambda_events import (
    EventMaker,
    http_api_event,
    load_balancer_event,
    response_of,
    rest_api_event,
    several_values_event,
)
from tests.servers.fixtures import started
from tests.servers.lambda_emulator import LambdaEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

FRONT_ENDS: Final[dict[str, EventMaker]] = {
    "http-api": http_api_event,
    "rest-api": rest_api_event,
    "balancer": load_balancer_event,
    "balancer-several": several_values_event,
}
"""What makes the events of each."""


class FunctionClient:
    """Invokes the function as one front end does."""

    def __init__(self, emulator: LambdaEmulator, make_event: EventMaker) -> None:
        self._emulator = emulator
        self._make_event = make_event

    def event(self, method: str, path: str, *, body: object = None, token: str | None = None) -> dict[str, Any]:
        """Return the event of a request, to invoke with as often as a test likes."""
        headers = [("content-type", "application/json"), ("x-forwarded-for", "198.51.100.7")]
        if token is not None:
            headers.append(("authorization", f"Bearer {token}"))
        content = b"" if body is None else json.dumps(body).encode()
        return self._make_event(method, path, tuple(headers), content)

    def invoke(self, event: dict[str, Any]) -> Answer:
        """Hand over one event, and read the answer."""
        response = response_of(self._emulator.invoke(event))
        return Answer(response.status, dict(response.headers), json.loads(response.body) if response.body else None)

    def send(self, method: str, path: str, *, body: object = None, token: str | None = None) -> Answer:
        """Send JSON, with a bearer token where there is one."""
        return self.invoke(self.event(method, path, body=body, token=token))


@contextlib.contextmanager
def function(folder: Path, environment: Mapping[str, str]) -> Iterator[LambdaEmulator]:
    """Run the function with the settings in *environment*."""
    emulator = LambdaEmulator(
        folder,
        handler="adapters.lambda_handler.entry.handler",
        environment={name: value for name, value in environment.items() if name.startswith("USERSERVICE_")},
    )
    started(emulator.start)
    try:
        yield emulator
    finally:
        emulator.stop()
