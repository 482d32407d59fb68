"""What the client can take: media types and codings (RFC 9110 §12.5)."""

from __future__ import annotations

import gzip
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.http.errors import NotAcceptableError
from userservice_core.http.messages import Response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.http.messages import Headers, Request
    from userservice_core.http.routes import Route

LEAST_COMPRESSED_BYTES: Final = 1_024
"""Below this an answer fits into one packet as it is."""

_GZIP: Final = "gzip"
_LEVEL: Final = 6
_OK: Final = 200
_COMPRESSIBLE: Final = ("application/json", "text/")
_RANGE: Final = re.compile(r"([\w!#$&^.+-]+|\*)/([\w!#$&^.+-]+|\*)")
_QUALITY: Final = re.compile(r"q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")


def require_acceptable(route: Route, request: Request) -> None:
    """
    Check that the client takes what *route* answers with.

    Problem documents are sent whatever it takes: a cause that cannot be read is better than none. What cannot be read
    of the header, or is not there, refuses nothing.

    Raises:
        NotAcceptableError: If it does not.
    """
    accepted = request.header("accept")
    if accepted is None or not route.has_body:
        return
    kind, _, subtype = route.content_type.partition(";")[0].partition("/")
    # The more a range says, the more it counts.
    ranks = {(kind, subtype): 2, (kind, "*"): 1, ("*", "*"): 0}
    ranges = list(_media_ranges(accepted))
    fitting = [(ranks[named], quality) for named, quality in ranges if named in ranks]
    if ranges and max(fitting, default=(0, 0.0))[1] == 0:
        raise NotAcceptableError


def _media_ranges(header: str) -> Iterator[tuple[tuple[str, str], float]]:
    for item in header.lower().split(","):
        name, _, parameters = item.partition(";")
        match = _RANGE.fullmatch(name.strip())
        if match is not None:
            yield (match[1], match[2]), _quality(parameters)


def _quality(parameters: str) -> float:
    """Return the weight; what is none counts as the usual one."""
    matches = (_QUALITY.fullmatch(parameter.strip()) for parameter in parameters.split(";"))
    return next((float(match[1]) for match in matches if match is not None), 1.0)


def takes_gzip(accepted: str | None) -> bool:
    """Tell whether the client takes gzip, by the header `Accept-Encoding`; one that says nothing takes none."""
    if accepted is None:
        return False
    qualities: dict[str, float] = {}
    for item in accepted.lower().split(","):
        name, _, parameters = item.partition(";")
        qualities[name.strip()] = _quality(parameters)
    named = qualities.get(_GZIP, qualities.get("x-gzip"))
    return (qualities.get("*", 0.0) if named is None else named) > 0


@attrs.frozen
class Representation:
    """
    An answer as this client gets it, before it is known whether the body has to be sent.

    Attributes:
        response: With the headers of the coding; its body is not coded yet.
        is_compressed: Whether the body is to be coded.
    """

    response: Response
    is_compressed: bool = False

    def coded(self, response: Response) -> Response:
        """Return *response*, which may have lost its body meanwhile, with the body as it is sent."""
        if not self.is_compressed or not response.body:
            return response
        is_public = (response.header("cache-control") or "").startswith("public")
        return attrs.evolve(response, body=(_compressed_once if is_public else _compressed)(response.body))


def representation_for(request: Request, response: Response) -> Representation:
    """
    Choose the coding of the answer to a GET whose route may be compressed.

    Each coding is a representation of its own, so it has an ETag of its own (RFC 9110 §8.8.3.3), and caches are told
    that there are several.
    """
    if response.status != _OK or not (response.header("content-type") or "").startswith(_COMPRESSIBLE):
        return Representation(response)
    varied = attrs.evolve(response, headers=(*response.headers, ("vary", "accept-encoding")))
    if len(response.body) < LEAST_COMPRESSED_BYTES or not takes_gzip(request.header("accept-encoding")):
        return Representation(varied)
    headers: Headers = tuple(
        (name, f'{value[:-1]}+{_GZIP}"') if name == "etag" else (name, value) for name, value in varied.headers
    )
    return Representation(attrs.evolve(varied, headers=(*headers, ("content-encoding", _GZIP))), is_compressed=True)


def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=_LEVEL, mtime=0)


_compressed_once = lru_cache(maxsize=8)(_compressed)
"""For the few answers that are the same for everybody, and made on an event loop."""
