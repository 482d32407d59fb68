"""The route table holds together, and a route that says too little does not import."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from userservice_core.http.routes import METRICS_ROUTE, ROUTES, Caller, Holder, Route

_ALL = (*ROUTES, METRICS_ROUTE)


def _as_arguments(route: Route) -> dict[str, Any]:
    return {field.name: getattr(route, field.name) for field in attrs.fields(Route)}


def test_operation_ids_are_unique() -> None:
    """They name operations in OpenAPI, in metrics and in logs."""
    assert len({route.operation_id for route in _ALL}) == len(_ALL)


@pytest.mark.asvs("8.2.1", "8.3.1")
def test_a_route_without_a_rule_of_who_may_call_it_cannot_be_made() -> None:
    """Forgetting the rule is an error at import and not an open door."""
    arguments = _as_arguments(ROUTES[0])
    del arguments["who"]

    with pytest.raises(TypeError, match="who"):
        Route(**arguments)


@pytest.mark.parametrize(
    "wrong",
    [
        {"who": None},
        {"operation_id": "another"},
        {"method": "TRACE"},
        {"path": "auth/register"},
        {"path": "/auth/"},
        {"path": "/auth/{id"},
        {"path": "/auth/{}"},
        {"path": "/auth/x{id}"},
        {"pure": True},
        {"sensitive": True},
        {"fresh": True},
    ],
    ids=str,
)
def test_a_route_that_contradicts_itself_cannot_be_made(wrong: dict[str, Any]) -> None:
    """A handler of another name, a pure route with a body, a sensitive one for anyone: none of them imports."""
    with pytest.raises((TypeError, ValueError)):
        Route(**{**_as_arguments(ROUTES[0]), **wrong})


def test_a_permission_is_named_in_full() -> None:
    """A rule that no permission could meet, or every one, is a slip."""
    with pytest.raises(ValueError, match="must match"):
        Holder("user")


def test_only_routes_for_anyone_run_on_an_event_loop() -> None:
    """Telling who calls may take a signature or the database."""
    assert {route.who for route in _ALL if route.pure} == {Caller.ANYONE}
