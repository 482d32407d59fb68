"""Consistency tokens on their way: in a header, and for browsers in a cookie where an installation wants that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from userservice_core.http.messages import Headers, Request

TOKEN_HEADER: Final = "consistency-token"  # noqa: S105 - the name of a header
_COOKIE: Final = "userservice-consistency"
_COOKIE_SECONDS: Final = 3600
_LONGEST: Final = 512


def token_of(request: Request, *, takes_cookie: bool) -> str | None:
    """Return the token that *request* carries, the header's before the cookie's; None if it carries none."""
    token = request.header(TOKEN_HEADER)
    if token is None and takes_cookie:
        token = _cookie_of(request)
    # Whatever is that long is no token, and is refused as one that cannot be verified.
    return None if token is None else token[:_LONGEST]


def token_headers(token: str, *, sends_cookie: bool, is_secure: bool) -> Headers:
    """Return what an answer carries after a write."""
    header = (TOKEN_HEADER, token)
    if not sends_cookie:
        return (header,)
    cookie = f"{_COOKIE}={token}; Path=/; Max-Age={_COOKIE_SECONDS}; HttpOnly; SameSite=Lax"
    return (header, ("set-cookie", f"{cookie}; Secure" if is_secure else cookie))


def _cookie_of(request: Request) -> str | None:
    for pair in (request.header("cookie") or "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == _COOKIE:
            return value
    return None
