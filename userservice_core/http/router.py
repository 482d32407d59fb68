"""Which route a request is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.http.decoding import percent_decoded
from userservice_core.http.errors import MalformedRequestError, MethodNotAllowedError, RouteNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from userservice_core.http.routes import Route

_Segments = tuple[str, ...]

_HEAD: Final = "HEAD"
_OPTIONS: Final = "OPTIONS"


class Router:
    """
    Finds routes by method and path.

    A path is split before it is decoded, so that an encoded slash separates nothing; it is not otherwise normalised.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_path: dict[_Segments, dict[str, Route]] = {}
        # The same once more by the path as it is nearly always sent, which saves taking that apart.
        self._by_plain_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods = self._by_path.setdefault(tuple(route.path.split("/")), {})
            if route.method in methods:
                raise ValueError(f"Two routes answer {route.method} {route.path}.")
            methods[route.method] = route
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
        segments = []
        for raw in path.split("/"):
            segment = percent_decoded(raw)
            if segment is None:
                raise MalformedRequestError("The path is not percent-encoded UTF-8 without NUL.")
            segments.append(segment)
        methods = self._by_path.get(tuple(segments))
        if methods is None:
            raise RouteNotFoundError
        return methods


def _allowed(methods: dict[str, Route]) -> tuple[str, ...]:
    extra = {_OPTIONS, _HEAD} if "GET" in methods else {_OPTIONS}
    return tuple(sorted(extra | methods.keys()))
