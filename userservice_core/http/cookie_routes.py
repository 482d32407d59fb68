"""The route table as it is where refresh tokens travel in a cookie: the bodies are without them."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.http.errors import CrossSiteRequestError
from userservice_core.http.routes import CookieUse, shapes_of
from userservice_core.http.wire import (
    LogoutBody,
    NoTokenBody,
    RefreshTokenBody,
    SignedInAnswer,
    SignedInByCookieAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import msgspec

    from userservice_core.http.routes import Route, Shape

_USES: Final[dict[type[msgspec.Struct] | None, CookieUse]] = {
    RefreshTokenBody: CookieUse.TAKEN,
    LogoutBody: CookieUse.TAKEN_OR_ACCESS_TOKEN,
}
_SET_COOKIE: Final = "set-cookie"


def with_refresh_cookie(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Return *routes*, those changed that take, give or end a refresh token."""
    return tuple(map(_changed, routes))


def _changed(route: Route) -> Route:
    gives = any(shape is not None and SignedInAnswer in shapes_of(shape) for shape in route.answers.values())
    use = _USES.get(route.body)
    if use is None and gives:
        use = CookieUse.GIVEN
    if use is None:
        return attrs.evolve(route, sends=(*route.sends, _SET_COOKIE)) if route.ends_session else route
    is_taken = use is not CookieUse.GIVEN
    return attrs.evolve(
        route,
        cookie=use,
        body=NoTokenBody if is_taken else route.body,
        body_required=route.body_required and not is_taken,
        answers={status: None if shape is None else _without_token(shape) for status, shape in route.answers.items()},
        sends=(*route.sends, _SET_COOKIE),
        problems=(*route.problems, CrossSiteRequestError),
    )


def _without_token(shape: Shape) -> Shape:
    shapes = (SignedInByCookieAnswer if each is SignedInAnswer else each for each in shapes_of(shape))
    return reduce(or_, shapes)
