"""Which route a request is for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from uuid import UUID

import attrs

from userservice_core.http.decoding import percent_decoded
from userservice_core.http.errors import MalformedRequestError, MethodNotAllowedError, RouteNotFoundError
from userservice_core.http.routes import PARAMETER, Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_HEAD: Final = "HEAD"
_OPTIONS: Final = "OPTIONS"
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@attrs.frozen
class Match:
    """A route, and the ids that the path holds, by their names in the table."""

    route: Route
    parameters: Mapping[str, UUID] = attrs.field(factory=dict)


@attrs.define
class _Place:
    """
    A point in the tree of paths.

    Attributes:
        fixed: What follows under a name.
        any_id: What follows under any id.
        methods: The routes that end here.
    """

    fixed: dict[str, _Place] = attrs.field(factory=dict)
    any_id: _Place | None = None
    methods: dict[str, Route] = attrs.field(factory=dict)


class Router:
    """
    Finds routes by method and path.

    A path is split before it is decoded, so that an encoded slash separates nothing; it is not otherwise normalised.
    An id is a UUID in its usual form, so no name in a path can be taken for one, and nothing else is an id.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Place()
        # The same once more by the path as it is nearly always sent, which saves taking that apart.
        self._by_plain_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods = self._place_for(route.path).methods
            if route.method in methods:
                raise ValueError(f"Two routes answer {route.method} {route.path}.")
            methods[route.method] = route
            if not route.parameters:
                self._by_plain_path[route.path] = methods

    def match(self, method: str, path: str) -> Match:
        """
        Return the route of *method* and raw *path*; that of GET answers HEAD too.

        Raises:
            MalformedRequestError: If the path is not percent-encoded UTF-8 without NUL.
            RouteNotFoundError: If nothing has this path, or what stands for an id is none.
            MethodNotAllowedError: If the path does not take this method.
        """
        methods, ids = self._find(path)
        route = methods.get("GET" if method == _HEAD else method)
        if route is None:
            raise MethodNotAllowedError(_allowed(methods))
        return Match(route, dict(zip(route.parameters, ids, strict=True)))

    def allowed(self, path: str) -> tuple[str, ...]:
        """
        Return the methods that *path* takes, for OPTIONS.

        Raises:
            MalformedRequestError: As :meth:`match`.
            RouteNotFoundError: As :meth:`match`.
        """
        methods, _ = self._find(path)
        return _allowed(methods)

    def _place_for(self, path: str) -> _Place:
        place = self._root
        for segment in path.split("/"):
            if PARAMETER.fullmatch(segment) is None:
                place = place.fixed.setdefault(segment, _Place())
            else:
                place.any_id = place.any_id or _Place()
                place = place.any_id
        return place

    def _find(self, path: str) -> tuple[dict[str, Route], Sequence[UUID]]:
        plain = self._by_plain_path.get(path)
        if plain is not None:
            return plain, ()
        place: _Place | None = self._root
        ids: list[UUID] = []
        # All of the path is read before it is judged: what is malformed is so wherever it stands.
        for segment in [_decoded(raw) for raw in path.split("/")]:
            if place is not None and segment not in place.fixed and _UUID.fullmatch(segment):
                ids.append(UUID(segment))
                place = place.any_id
            elif place is not None:
                place = place.fixed.get(segment)
        if place is None or not place.methods:
            raise RouteNotFoundError
        return place.methods, ids


def _decoded(raw: str) -> str:
    segment = percent_decoded(raw)
    if segment is None:
        raise MalformedRequestError("The path is not percent-encoded UTF-8 without NUL.")
    return segment


def _allowed(methods: dict[str, Route]) -> tuple[str, ...]:
    extra = {_OPTIONS, _HEAD} if "GET" in methods else {_OPTIONS}
    return tuple(sorted(extra | methods.keys()))
