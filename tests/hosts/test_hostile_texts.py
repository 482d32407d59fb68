"""Texts that break programs, through every text of every body and query, over every host."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.hosts.conformance import SERVED
from tests.hosts.hostile_texts import (
    HOSTILE_TEXTS,
    Target,
    api_document,
    memory_target,
    text_places,
    try_body,
    try_query,
)
from userservice_core.http.routes import ROUTES, Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_DOCUMENT: Final = api_document()
_WITH_TEXT: Final = [route for route in ROUTES if route.body is not None and text_places(_DOCUMENT, route)]
_SHARED: Final = Path(__file__).parents[2].parent / "shared"
_WITH_QUERY: Final = [route for route in ROUTES if route.query is not None]


def _texts(route: Route, host: str) -> Iterator[tuple[str, str]]:
    """Give all texts to the bare pipeline, and to a host, which knows no member, another quarter for each route."""
    for index, kind in enumerate(HOSTILE_TEXTS):
        if host == "pipeline" or (index + ROUTES.index(route)) % 4 == 0:
            yield kind, HOSTILE_TEXTS[kind]


def _try_all(
    attempt: Callable[[Target, str], object], texts: Iterable[tuple[str, str]], host: str
) -> Mapping[str, str]:
    """Try the texts, and return what went wrong with which."""
    target = memory_target(host)
    wrong = {}
    for kind, text in texts:
        try:
            attempt(target, text)
        except AssertionError as error:
            wrong[kind] = str(error)
    return wrong


@pytest.mark.asvs("1.1.2", "1.2.1", "1.2.3", "1.2.4")
@pytest.mark.parametrize("host", ["pipeline", *SERVED])
@pytest.mark.parametrize("route", _WITH_TEXT, ids=lambda route: str(route.operation_id))
def test_a_text_in_a_body_comes_back_or_is_refused_with_its_place(route: Route, host: str) -> None:
    """Whatever its class: controls, directions, joiners, surrogates, pairs of normal forms, injections, lengths."""
    assert _try_all(partial(try_body, _DOCUMENT, route), _texts(route, host), host) == {}


@pytest.mark.asvs("1.1.1", "1.2.1", "1.2.4")
@pytest.mark.parametrize("host", ["pipeline", *SERVED])
@pytest.mark.parametrize("route", _WITH_QUERY, ids=lambda route: str(route.operation_id))
def test_a_text_in_a_query_is_taken_or_refused_with_its_place(route: Route, host: str) -> None:
    """The same classes, percent-encoded; what is no UTF-8 then is told as well."""
    assert _try_all(partial(try_query, route), _texts(route, host), host) == {}


@pytest.mark.skipif(not _SHARED.is_dir(), reason="no naughty strings in ../shared")
@pytest.mark.parametrize("route", _WITH_TEXT, ids=lambda route: str(route.operation_id))
def test_each_of_the_big_list_of_naughty_strings_comes_back_or_is_refused(route: Route) -> None:
    """Through each text of each body; the hosts share the list, each with another part of it for another route."""
    strings = json.loads((_SHARED / "vectors" / "blns_blns.json").read_text(encoding="utf-8"))
    turn = ROUTES.index(route)
    wrong = {
        host: _try_all(
            partial(try_body, _DOCUMENT, route),
            [(text, text) for index, text in enumerate(strings) if (index + turn) % len(SERVED) == place],
            host,
        )
        for place, host in enumerate(SERVED)
    }

    assert len(strings) > 500
    assert [wrong[host] for host in SERVED] == [{}] * len(SERVED)
