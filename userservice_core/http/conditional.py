"""Conditional requests (RFC 9110 §13)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from userservice_core.http.messages import Headers, Request, Response

_NOT_MODIFIED: Final = 304
_OK: Final = 200
_ETAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_VERSIONED = re.compile(r'"(\d{1,18})-[^"]*"')
_BODY_HEADERS: Final = frozenset({"content-type", "content-length", "content-encoding"})
_READING: Final = frozenset({"GET", "HEAD"})

PRIVATE: Final[Headers] = (("cache-control", "no-store"),)
"""No cache may keep the answer, not even that of a browser: it holds personal data (RFC 9111 §5.2.2.5)."""


def etag_of(version: int, variant: str) -> str:
    """Return the strong validator of a resource's *version* in the representation *variant*."""
    return f'"{version}-{variant}"'


def etag_of_content(content: bytes) -> str:
    """Return the strong validator of something that has no version."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def wanted_versions(if_match: str | None) -> frozenset[int] | None:
    """
    Return the versions that a change is meant for, by the header `If-Match`; None for any.

    Validators that are weak or no validators of ours match nothing (RFC 9110 §13.1.1). Of ours the version alone
    counts: a change does not depend on how the resource is shown.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    tags = (tag.strip() for tag in if_match.split(","))
    found = (_VERSIONED.fullmatch(tag) for tag in tags)
    return frozenset(int(match[1]) for match in found if match)


def answer_if_changed(request: Request, response: Response) -> Response:
    """Return *response*, or 304 without a body if the client reads and holds that representation already."""
    wanted, etag = request.header("if-none-match"), response.header("etag")
    if wanted is None or etag is None or response.status != _OK or request.method not in _READING:
        return response
    if not _names(wanted, etag):
        return response
    headers = tuple(header for header in response.headers if header[0] not in _BODY_HEADERS)
    return attrs.evolve(response, status=_NOT_MODIFIED, headers=headers, body=b"")


def _names(wanted: str, etag: str) -> bool:
    return wanted.strip() == "*" or etag in _ETAG.findall(wanted)
