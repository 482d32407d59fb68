"""Conditional requests (RFC 9110 §13)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from userservice_core.http.messages import Request, Response

_NOT_MODIFIED: Final = 304
_OK: Final = 200
_ETAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
# A weak validator never matches (RFC 9110 §13.1.1), and one without a version is none of ours.
_STRONG_VERSION = re.compile(r'(?<!/)"(\d{1,18})-[\x21\x23-\x7e]*"')
_BODY_HEADERS: Final = frozenset({"content-type", "content-length"})


def etag_of(version: int, variant: str) -> str:
    """Return the strong validator of a resource's *version* in the representation *variant*."""
    return f'"{version}-{variant}"'


def etag_of_content(content: bytes) -> str:
    """Return the strong validator of something that has no version."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def expected_versions(if_match: str | None) -> frozenset[int] | None:
    """Return the versions that the header `If-Match` takes; None where any will do."""
    if if_match is None or if_match.strip() == "*":
        return None
    return frozenset(int(version) for version in _STRONG_VERSION.findall(if_match))


def answer_if_changed(request: Request, response: Response) -> Response:
    """Return *response*, or 304 without a body if the client holds that representation already."""
    wanted, etag = request.header("if-none-match"), response.header("etag")
    if wanted is None or etag is None or response.status != _OK or not _names(wanted, etag):
        return response
    headers = tuple(header for header in response.headers if header[0] not in _BODY_HEADERS)
    return attrs.evolve(response, status=_NOT_MODIFIED, headers=headers, body=b"")


def _names(wanted: str, etag: str) -> bool:
    return wanted.strip() == "*" or etag in _ETAG.findall(wanted)
