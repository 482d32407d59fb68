"""
The refresh token in a cookie, for pages in browsers: how it is set, read and removed, and which pages may use it.

A browser sends a cookie whoever makes it send the request, and may be made to keep one for a stranger's session. So
whatever sets, takes or removes the cookie wants to know which page asks, by two headers that browsers write and pages
cannot: `Sec-Fetch-Site` (Fetch Metadata) and `Origin` (RFC 6454 §7.3), as OWASP's cheat sheet on cross-site request
forgery has it. What says neither is refused.

The prefix of the name has browsers keep the cookie only if it came over https from the host itself (RFC 6265bis,
"__Host-"), so that no other host of the domain can put its own in the place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import attrs

from userservice_core.http.cors import ANY_ORIGIN
from userservice_core.http.errors import CrossSiteRequestError

if TYPE_CHECKING:
    from userservice_core.http.cors import CrossOriginRules
    from userservice_core.http.messages import Headers, Request

COOKIE_NAME: Final = "__Host-refresh-token"

_ATTRIBUTES: Final = "Path=/; Secure; HttpOnly; SameSite=Strict"
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_SAME_ORIGIN: Final = "same-origin"
_NOT_ACROSS_SITES: Final = frozenset({_SAME_ORIGIN, "same-site"})


@attrs.frozen(kw_only=True)
class RefreshCookie:
    """
    The cookie of an installation whose refresh tokens travel in one.

    Attributes:
        origins: Whose pages may use it, as browsers send them.
    """

    origins: frozenset[str]

    @classmethod
    def of(cls, issuer: str, cross_origin: CrossOriginRules) -> RefreshCookie:
        """Let pages of the service's own origin use it, and of those that may send cookies across origins."""
        others = cross_origin.origins if cross_origin.allow_credentials else ()
        return cls(origins=frozenset({_origin_of(issuer), *others}) - {ANY_ORIGIN})

    def require_known_page(self, request: Request) -> None:
        """
        Check that a page which may use the cookie makes the request.

        Both headers have to say so, where both are there; `Sec-Fetch-Site` suffices for the service's own pages.

        Raises:
            CrossSiteRequestError: If another page does, or it cannot be told which one.
        """
        site, origin = request.header("sec-fetch-site"), request.header("origin")
        if site is not None and site not in _NOT_ACROSS_SITES:
            raise CrossSiteRequestError
        if origin not in self.origins and (origin is not None or site != _SAME_ORIGIN):
            raise CrossSiteRequestError

    @staticmethod
    def token_of(request: Request) -> str | None:
        """
        Return the token, as it was sent and not yet checked; None where there is none, or more than one.

        Of several, somebody else set all but one, and nothing tells which. Cookies are separated by semicolons alone:
        a comma is part of a value, which another host of the domain may have written.
        """
        sent = ";".join(value for name, value in request.headers if name == "cookie")
        cookies = (cookie.strip(" \t").partition("=") for cookie in sent.split(";"))
        tokens = [value for name, _, value in cookies if name == COOKIE_NAME]
        return tokens[0] if len(tokens) == 1 and tokens[0] else None

    @staticmethod
    def keeping(token: str, *, seconds: int) -> Headers:
        """Return what has a browser keep *token* for as long as it is good."""
        return (("set-cookie", f"{COOKIE_NAME}={token}; Max-Age={seconds}; {_ATTRIBUTES}"),)

    @staticmethod
    def removal() -> Headers:
        """Return what has a browser forget the token."""
        return (("set-cookie", f"{COOKIE_NAME}=; Max-Age=0; {_ATTRIBUTES}"),)


def _origin_of(url: str) -> str:
    """Return the origin of *url* as browsers write it (RFC 6454 §6.2): in lower case, without the usual port."""
    parts = urlsplit(url.lower())
    usual = f":{_DEFAULT_PORTS.get(parts.scheme)}"
    return f"{parts.scheme}://{parts.netloc.removesuffix(usual)}"
