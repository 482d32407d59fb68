"""NUL, lone surrogates and the like where no text belongs: in ids of paths, names of members, and names in queries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest

from tests.hosts.conformance import SERVED
from tests.hosts.hostile_texts import HOSTILE_TEXTS, Target, memory_target
from tests.paths import path_of
from userservice_core.http.body_format import BodyFormat
from userservice_core.http.problems import TYPE_PREFIX
from userservice_core.http.routes import PARAMETER, ROUTES, Route

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOSTS: Final = ("pipeline", *SERVED)
_TEXTS: Final = {
    kind: HOSTILE_TEXTS[kind]
    for kind in ("nul", "nul within", "lone high surrogate", "lone low surrogate", "line ends", "path", "astral")
}
_WITH_ID: Final = [route for route in ROUTES if route.parameters]
_WITH_BODY: Final = [route for route in ROUTES if route.body is not None and route.body_format is BodyFormat.JSON]

_READS: Final = [route for route in ROUTES if route.method == "GET"]


@pytest.fixture(scope="module", params=_HOSTS)
def target(request: pytest.FixtureRequest) -> Target:
    """Each host, and nothing that is sent to it changes anything."""
    return memory_target(request.param)


def _escaped(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def _paths(route: Route, text: str) -> Iterator[str]:
    """Put the text in the place of each id, and after each."""
    path = path_of(route).split("/")
    for place, part in enumerate(route.path.split("/")):
        if PARAMETER.fullmatch(part):
            yield "/".join([*path[:place], _escaped(text), *path[place + 1 :]])
            yield "/".join([*path[:place], path[place] + _escaped(text), *path[place + 1 :]])


@pytest.mark.asvs("1.2.1")
@pytest.mark.parametrize("route", _WITH_ID, ids=lambda route: str(route.operation_id))
def test_what_is_no_id_names_nothing(target: Target, route: Route) -> None:
    """It is not found, or refused, on every host the same; what UTF-8 does not have is no exception."""
    for kind, text in _TEXTS.items():
        for path in _paths(route, text):
            response = target.send(route.method, path, {} if route.body is not None else None)

            assert response.status in {400, 404}, (kind, path, response.status)


@pytest.mark.asvs("1.2.1", "15.3.3")
@pytest.mark.parametrize("route", _WITH_BODY, ids=lambda route: str(route.operation_id))
def test_a_member_of_no_sensible_name_is_refused(target: Target, route: Route) -> None:
    """At the top of the body, and in an object that takes any member, such as preferences."""
    for kind, text in _TEXTS.items():
        for body in ({text: "value"}, {text: {text: None}}, {"attributes": {text: 1}, "preferences": {text: [text]}}):
            response = target.send(route.method, path_of(route), body)

            assert response.status in {400, 401, 403, 404}, (kind, body, response.status)
            if response.status == 400:
                assert json.loads(response.body)["type"].startswith(TYPE_PREFIX)


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.method == "GET"], ids=lambda route: str(route.operation_id)
)
def test_a_parameter_of_no_sensible_name_is_no_fault(target: Target, route: Route) -> None:
    """It is ignored or refused, as its route does with names that it does not know."""
    for kind, text in _TEXTS.items():
        response = target.send("GET", f"{path_of(route)}?{_escaped(text)}={_escaped(text)}")

        assert response.status < 500, (kind, response.status)
