"""Fetching a JWK Set (RFC 7517 §5), and reading how long it may be kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from userservice_core.infrastructure.security.encoding import parse_json_object
from userservice_core.infrastructure.security.strict_http import NOT_MODIFIED, OK, FetchError, HttpUrl, fetch

MAX_BODY_BYTES: Final = 1_048_576
FETCH_SECONDS: Final = 5.0
"""For everything from the connection to the last byte, except the look-up of the name, which the system bounds."""

_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_NOT_TO_BE_KEPT: Final = re.compile(r"(?:^|[,\s])no-(?:store|cache)(?:$|[,\s=])", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class FetchedKeySet:
    """
    What an endpoint answered.

    Attributes:
        document: The JWK Set, or None if it is the one that the caller has.
        etag: To ask with next time, None where there is none.
        max_age_seconds: How long it may be kept without asking, None where the answer does not say.
    """

    document: Mapping[str, Any] | None
    etag: str | None
    max_age_seconds: int | None


def fetch_key_set(url: HttpUrl, *, etag: str | None, timeout_seconds: float) -> FetchedKeySet:
    """
    Ask for the document at *url*.

    Args:
        etag: Of the document that the caller has.
        timeout_seconds: For everything from the connection to the last byte.

    Raises:
        FetchError: If it was not had in time, is too large, or is no JSON object.
    """
    headers = {"Accept": "application/jwk-set+json, application/json", "User-Agent": "userservice-verifier"}
    answer = fetch(
        url,
        headers=headers if etag is None else {**headers, "If-None-Match": etag},
        timeout_seconds=timeout_seconds,
        max_bytes=MAX_BODY_BYTES,
        wanted=(OK,) if etag is None else (OK, NOT_MODIFIED),
    )
    max_age = _max_age_seconds(answer.headers.get("cache-control"))
    if answer.status == NOT_MODIFIED:
        return FetchedKeySet(document=None, etag=etag, max_age_seconds=max_age)
    try:
        document = parse_json_object(answer.body)
    except ValueError as error:
        raise FetchError(f"{type(error).__name__}: {error}"[:200]) from error
    return FetchedKeySet(document=document, etag=answer.headers.get("etag"), max_age_seconds=max_age)


def _max_age_seconds(cache_control: str | None) -> int | None:
    if cache_control is None:
        return None
    if _NOT_TO_BE_KEPT.search(cache_control):
        return 0
    found = _MAX_AGE.search(cache_control)
    return int(found[1]) if found else None
