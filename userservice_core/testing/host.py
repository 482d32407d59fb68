"""One way to talk to every host, so that one suite of tests runs over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from userservice_core.http.messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from userservice_core.http.messages import Headers
    from userservice_core.http.pipeline import Pipeline


class HostClient(Protocol):
    """A client of a host that runs in this process; what it sends is what a server would hand to the host."""

    def request(
        self, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        """
        Send one request and return the answer.

        Args:
            method: In upper case.
            target: Path and query as sent, percent-encoded.
            headers: As sent, values in latin-1; `Content-Length` is added where there is a body and no such header.
            body: As sent.

        Returns:
            The answer with its headers in lower case, without those of the connection.
        """
        ...


class PipelineClient:
    """Talks to the HTTP core without any host: what the others are compared with."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def request(
        self, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        path, _, query = target.partition("?")
        request = Request(method=method, path=path, query=query, headers=with_length(headers, body), body=body)
        return self._pipeline.handle(request)


def with_length(headers: Sequence[tuple[str, str]], body: bytes) -> Headers:
    """Return *headers* with names in lower case, and the length of *body* as every HTTP client says it."""
    lowered = tuple((name.lower(), value) for name, value in headers)
    if not body or any(name in {"content-length", "transfer-encoding"} for name, _ in lowered):
        return lowered
    return (*lowered, ("content-length", str(len(body))))


def send_json(
    client: HostClient,
    method: str,
    target: str,
    content: Mapping[str, Any] | None = None,
    *,
    token: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> Response:
    """Send *content* as JSON, with *token* as the access token."""
    sent = list(headers)
    if content is not None:
        sent.append(("content-type", "application/json"))
    if token is not None:
        sent.append(("authorization", f"Bearer {token}"))
    body = b"" if content is None else msgspec.json.encode(content)
    return client.request(method, target, headers=sent, body=body)


def json_of(response: Response) -> dict[str, Any]:
    """Return the JSON object in the body of *response*."""
    return msgspec.json.decode(response.body, type=dict[str, Any])
