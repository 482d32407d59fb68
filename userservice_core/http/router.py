"""Which route a request is for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from uuid import UUID

from userservice_core.http.decoding import percent_decoded
from userservice_core.http.errors import MalformedRequestError, MethodNotAllowedError, RouteNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from userservice_core.http.routes import Route

# None stands for a parameter, which no segment as it is sent can look like.
_Segments = tuple[str | None, ...]

_HEAD: Final = "HEAD"
_OPTIONS: Final = "OPTIONS"
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class Router:
    """
    Finds routes by method and path.

    A path is split before it is decoded, so that an encoded slash separates nothing; it is not otherwise normalised.
    A parameter (`{id}` in the table) is a UUID, so anything else in its place is an address that does not exist.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_path: dict[_Segments, dict[str, Route]] = {}
        # The same once more by the path as it is nearly always sent, which saves taking that apart.
        self._by_plain_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            segments = tuple(None if _is_parameter(segment) else segment for segment in route.path.split("/"))
            methods = self._by_path.setdefault(segments, {})
            if route.method in methods:
                raise ValueError(f"Two routes answer {route.method} {route.path}.")
            methods[route.method] = route
            if None not in segments:
                self._by_plain_path[route.path] = methods

    def match(self, method: str, path: str) -> Route:
        """
        Return the route of *method* and raw *path*; that of GET answers HEAD too.

        Raises:
            MalformedRequestError: If the path is not percent-encoded UTF-8 without NUL.
            RouteNotFoundError: If nothing has this path.
            MethodNotAllowedError: If the path does not take this method.
        """
        methods = self._methods(path)
        route = methods.get("GET" if method == _HEAD else method)
        if route is None:
            raise MethodNotAllowedError(_allowed(methods))
        return route

    def allowed(self, path: str) -> tuple[str, ...]:
        """
        Return the methods that *path* takes, for OPTIONS.

        Raises:
            MalformedRequestError: As :meth:`match`.
            RouteNotFoundError: As :meth:`match`.
        """
        return _allowed(self._methods(path))

    def _methods(self, path: str) -> dict[str, Route]:
        plain = self._by_plain_path.get(path)
        if plain is not None:
            return plain
        methods = self._by_path.get(tuple(None if _UUID.fullmatch(segment) else segment for segment in _split(path)))
        if methods is None:
            raise RouteNotFoundError
        return methods


def path_parameters(route: Route, path: str) -> Mapping[str, UUID]:
    """Return what stands in raw *path*, which leads to *route*, in the places of the route's parameters."""
    if "{" not in route.path:
        return {}
    pairs = zip(route.path.split("/"), _split(path), strict=True)
    return {name[1:-1]: UUID(value) for name, value in pairs if _is_parameter(name)}


def _is_parameter(segment: str) -> bool:
    return segment.startswith("{")


def _split(path: str) -> list[str]:
    segments = []
    for raw in path.split("/"):
        segment = percent_decoded(raw)
        if segment is None:
            raise MalformedRequestError("The path is not percent-encoded UTF-8 without NUL.")
        segments.append(segment)
    return segments


def _allowed(methods: dict[str, Route]) -> tuple[str, ...]:
    extra = {_OPTIONS, _HEAD} if "GET" in methods else {_OPTIONS}
    return tuple(sorted(extra | methods.keys()))
