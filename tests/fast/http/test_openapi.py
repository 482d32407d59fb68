"""The OpenAPI document is valid, complete, and says what the table says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from userservice_core.http.openapi import openapi_document
from userservice_core.http.routes import METRICS_ROUTE, ROUTES, Holder, Route

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALL = (*ROUTES, METRICS_ROUTE)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description of every route there is."""
    content: dict[str, Any] = json.loads(openapi_document(_ALL, issuer="https://id.example"))
    return content


def _references(node: Any) -> Iterator[str]:  # noqa: ANN401 - JSON of any shape
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from _references(inner)


def _resolved(document: dict[str, Any], reference: str) -> Any:  # noqa: ANN401 - JSON of any shape
    node: Any = document
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node


def test_every_schema_is_a_json_schema(document: dict[str, Any]) -> None:
    """OpenAPI 3.1 uses JSON Schema 2020-12 as it is."""
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """A generator of clients follows them all."""
    assert [reference for reference in _references(document) if not _resolved(document, reference)] == []


@pytest.mark.parametrize("route", _ALL, ids=lambda route: str(route.operation_id))
def test_every_route_is_described(document: dict[str, Any], route: Route) -> None:
    """Path, method, name, who may call and every answer, problems included."""
    operation = document["paths"][route.path][route.method.lower()]

    assert operation["operationId"] == route.operation_id
    assert operation["responses"].keys() == {*map(str, route.answers), "default"}
    assert ("requestBody" in operation) == (route.body is not None)
    assert ({"accessToken": []} in operation["security"]) or not route.wants_user
    if isinstance(route.who, Holder) and route.takes_clients:
        assert {"clientToken": [route.who.permission]} in operation["security"]


def test_bodies_refuse_unknown_members(document: dict[str, Any]) -> None:
    """The schema says what the decoder does."""
    register = document["components"]["schemas"]["RegisterBody"]

    assert register["additionalProperties"] is False
    assert register["required"] == ["email", "password"]


def test_parameters_of_the_path_are_described(document: dict[str, Any]) -> None:
    """In front of those of the query, each of which may be a list."""
    one, many = document["paths"]["/admin/users/{id}/roles"]["delete"]["parameters"]

    assert one == {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    assert (many["name"], many["in"], many["required"], many["schema"]["type"]) == ("roleId", "query", True, "array")


def test_parameters_of_the_query_are_described(document: dict[str, Any]) -> None:
    """Name, place and bounds."""
    assert document["paths"]["/auth/verify-email"]["get"]["parameters"] == [
        {
            "name": "token",
            "in": "query",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 512},
        }
    ]
