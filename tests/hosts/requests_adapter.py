"""The service behind a host as a transport of `requests`, for tools that speak through that library."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

if TYPE_CHECKING:
    from userservice_core.testing.host import HostClient

ADDRESS: Final = "http://service.test"
"""Where sessions find the service."""

_HEADERS_OF_THE_CONNECTION: Final = frozenset({"connection", "accept-encoding"})


def session_with(client: HostClient) -> requests.Session:
    """Return a session that finds *client* at the address, and connects to nothing."""
    session = requests.Session()
    session.trust_env = False
    session.mount(ADDRESS, _HostAdapter(client))
    return session


class _HostAdapter(BaseAdapter):
    def __init__(self, client: HostClient) -> None:
        super().__init__()
        self._client = client
        self._builder = HTTPAdapter()

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        """Hand *request* to the host."""
        headers = [
            (_latin_1(name), _latin_1(value))
            for name, value in request.headers.items()
            if name.lower() not in _HEADERS_OF_THE_CONNECTION
        ]
        answer = self._client.request(
            str(request.method), request.path_url, headers=headers, body=_bytes(request.body or b"")
        )
        raw = HTTPResponse(
            body=io.BytesIO(answer.body),
            headers=HTTPHeaderDict(answer.headers),
            status=answer.status,
            version=11,
            preload_content=False,
        )
        return self._builder.build_response(request, raw)

    def close(self) -> None:
        """Close nothing."""


def _latin_1(text: str | bytes) -> str:
    return text.decode("latin-1") if isinstance(text, bytes) else text


def _bytes(body: Any) -> bytes:  # noqa: ANN401 - what the library allows
    return body if isinstance(body, bytes) else str(body).encode()
