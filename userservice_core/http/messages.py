"""An HTTP request and its answer, as every host hands them over; no framework, no stream, no connection."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

Headers = tuple[tuple[str, str], ...]
"""Names in lower case and values as latin-1 text, so that any byte survives (RFC 9110 §5.5)."""


@attrs.frozen(kw_only=True)
class Request:
    """
    What a client sent.

    A host reads no more of the body than the pipeline's limit and one byte: that byte tells that there was more.

    Attributes:
        method: In upper case.
        path: As sent, percent-encoded.
        query: As sent, without the question mark.
        headers: In the order sent; a name may occur more than once.
        client_ip: Address of the peer of the connection, None where the transport has none.
        time_left_seconds: How long the host can wait for the answer, None where it does not limit that.
    """

    method: str
    path: str
    query: str = attrs.field(default="", repr=False)
    headers: Headers = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    client_ip: str | None = attrs.field(default=None, repr=False)
    time_left_seconds: float | None = None

    def header(self, name: str) -> str | None:
        """Return the value of the header *name* (in lower case), repeated ones joined by commas, or None."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, str]:
        return _joined(self.headers)


@attrs.frozen(kw_only=True)
class Response:
    """What the client gets; the host sends these headers and adds none but those of the connection."""

    status: int
    headers: Headers = ()
    body: bytes = attrs.field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """Return the value of the header *name* (in lower case), repeated ones joined by commas, or None."""
        return _joined(self.headers).get(name)


def with_one_vary(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return *headers* with what all headers `Vary` name in one."""
    others, named = [], []
    for name, value in headers:
        if name == "vary":
            named.append(value)
        else:
            others.append((name, value))
    return (*others, ("vary", ", ".join(named))) if named else tuple(others)


def _joined(headers: Headers) -> dict[str, str]:
    """
    Join the values of repeated headers, as RFC 9110 §5.3 allows and WSGI and API gateways do.

    A header that must not be repeated is then malformed on every host in the same way.
    """
    by_name: dict[str, str] = {}
    for name, value in headers:
        by_name[name] = f"{by_name[name]}, {value}" if name in by_name else value
    return by_name
