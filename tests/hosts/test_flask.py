"""What only a WSGI host can get wrong: paths that the server has decoded, and a stream without an end."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from adapters.flask_app.app import create_app
from tests.hosts.clients import WsgiClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts.installation import Installation


class _Endless(io.RawIOBase):
    """A client that never stops sending."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        """Give as much as is wanted, which must not be everything."""
        assert size >= 0
        self.given += size
        return b"x" * size


def _status_of(installation: Installation, environ: dict[str, Any]) -> int:
    statuses: list[int] = []

    def start_response(
        status: str, _headers: list[tuple[str, str]], _exc_info: object = None
    ) -> Callable[[bytes], object]:
        statuses.append(int(status[:3]))
        return bytes

    app = create_app(installation.service)
    base = {
        "REQUEST_METHOD": "GET",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
    }
    list(app({**base, **environ}, start_response))
    return statuses[0]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/health/live", 200),
        ("/%68ealth/live", 200),
        ("/nowhere/caf%C3%A9", 404),
        ("/nowhere/%ff", 400),
        ("/nowhere/%00", 400),
        ("/nowhere/100%25", 404),
    ],
)
def test_a_server_that_does_not_say_the_raw_path_is_understood(
    installation: Installation, target: str, status: int
) -> None:
    """The decoded path is encoded again: only an encoded slash cannot be told from a slash then."""
    client = WsgiClient(create_app(installation.service), says_raw_path=False)

    assert client.request("GET", target).status == status


def test_an_application_below_a_prefix_sees_its_own_paths(installation: Installation) -> None:
    """The prefix is the server's matter."""
    prefixed = {"SCRIPT_NAME": "/api", "PATH_INFO": "/health/live"}

    assert _status_of(installation, prefixed) == 200
    assert _status_of(installation, {**prefixed, "RAW_URI": "/api/health/live?x=1"}) == 200
    assert _status_of(installation, {"PATH_INFO": "", "REQUEST_URI": "http://x/health/live"}) == 404


@pytest.mark.asvs("4.2.1", "5.2.1")
def test_a_body_without_end_is_left_at_the_limit(installation: Installation) -> None:
    """No more is read than it takes to see that it is too much."""
    stream = _Endless()
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/auth/login",
        "CONTENT_TYPE": "application/json",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": stream,
        "wsgi.input_terminated": True,
    }

    assert _status_of(installation, environ) == 413
    assert stream.given == 65_537


@pytest.mark.asvs("4.2.1")
def test_a_body_that_nobody_announced_is_not_waited_for(installation: Installation) -> None:
    """Without a length and without an end, reading would block for ever."""
    stream = _Endless()
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/auth/login",
        "CONTENT_TYPE": "application/json",
        "wsgi.input": stream,
    }

    assert _status_of(installation, environ) == 400
    assert stream.given == 0
