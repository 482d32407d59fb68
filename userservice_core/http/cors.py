"""Which pages of other origins may read answers (Fetch Standard, CORS protocol)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from userservice_core.http.messages import Headers, Request

ANY_ORIGIN: Final = "*"

_ALLOWED_HEADERS: Final = (
    "accept, authorization, consistency-token, content-type, idempotency-key, if-match, if-none-match, traceparent,"
    " x-request-id"
)
_EXPOSED_HEADERS: Final = (
    "consistency-token, etag, idempotency-replayed, link, location, retry-after, www-authenticate, x-request-id"
)


@attrs.frozen(kw_only=True)
class CrossOriginRules:
    """
    Who may read answers from a browser beside the service's own pages.

    Attributes:
        origins: As browsers send them, such as ``https://app.example.com``; or only ``*`` for all. None for nobody.
        allow_credentials: Whether requests may carry cookies and client certificates; never for all origins.
        max_age_seconds: How long a browser may keep what a preflight told it.
    """

    origins: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age_seconds: int = 600

    def headers_for(self, request: Request) -> Headers:
        """Return the headers of any answer to *request*."""
        if not self.origins:
            return ()
        if ANY_ORIGIN in self.origins:
            return (("access-control-allow-origin", ANY_ORIGIN), _EXPOSED)
        origin = request.header("origin")
        if origin not in self.origins or origin is None:
            # Caches keep the answers to different origins apart, and those to none.
            return (_VARY,)
        allowed = (("access-control-allow-origin", origin), _EXPOSED, _VARY)
        return (*allowed, _CREDENTIALS) if self.allow_credentials else allowed

    def preflight_headers(self, request: Request, methods: Iterable[str]) -> Headers:
        """Return what an answer to a preflight has beside :meth:`headers_for`; nothing for any other OPTIONS."""
        asked = request.header("access-control-request-method")
        told = self.headers_for(request)
        if asked is None or not any(name == "access-control-allow-origin" for name, _ in told):
            return ()
        return (
            ("access-control-allow-methods", ", ".join(methods)),
            ("access-control-allow-headers", _ALLOWED_HEADERS),
            ("access-control-max-age", str(self.max_age_seconds)),
        )


_EXPOSED: Final = ("access-control-expose-headers", _EXPOSED_HEADERS)
_CREDENTIALS: Final = ("access-control-allow-credentials", "true")
_VARY: Final = ("vary", "origin")
