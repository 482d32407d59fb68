"""The OpenAPI document is valid, complete, and says what the table says."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import msgspec
import openapi_spec_validator
import pytest

from userservice_core.http.cookie_routes import with_refresh_cookie
from userservice_core.http.openapi import openapi_document
from userservice_core.http.possible_problems import possible_problems
from userservice_core.http.problems import STATUS_BY_CODE
from userservice_core.http.routes import METRICS_ROUTE, ROUTES, Caller, Holder, Route
from userservice_core.http.vocabulary import TERMS

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALL = (*ROUTES, METRICS_ROUTE)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description of every route there is."""
    content: dict[str, Any] = json.loads(openapi_document(_ALL, issuer="https://id.example"))
    return content


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (operation for path in document["paths"].values() for operation in path.values())


def _faults(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    """Return what *schema*, which may refer to others of *document*, has against *value*."""
    validator = jsonschema.Draft202012Validator(
        {**schema, "components": document["components"]}, format_checker=jsonschema.FormatChecker()
    )
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def _resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return what *node* refers to, or itself where it refers to nothing."""
    found: Any = document if "$ref" in node else node
    for step in node.get("$ref", "").removeprefix("#/").split("/"):
        found = found[step] if step else found
    content: dict[str, Any] = found
    return content


def test_it_is_valid(document: dict[str, Any]) -> None:
    """OpenAPI 3.1, its references and the JSON Schemas in it, by a validator of others."""
    openapi_spec_validator.validate(document, cls=openapi_spec_validator.OpenAPIV31SpecValidator)


def test_where_refresh_tokens_travel_in_a_cookie_it_says_so() -> None:
    """Then no body has one, and the operations say what they take and send, and from which pages."""
    text = openapi_document(with_refresh_cookie(_ALL), issuer="https://id.example")
    document = json.loads(text)
    openapi_spec_validator.validate(document, cls=openapi_spec_validator.OpenAPIV31SpecValidator)
    operations = {operation["operationId"]: operation for operation in _operations(document)}
    cookie = document["components"]["securitySchemes"]["refreshCookie"]

    assert b'"refreshToken"' not in text
    assert (cookie["in"], cookie["name"]) == ("cookie", "__Host-refresh-token")
    assert operations["refresh_token"]["security"] == [{"refreshCookie": []}]
    assert operations["logout"]["security"] == [{"accessToken": []}, {"refreshCookie": []}]
    for name in ("login", "answer_mfa_challenge", "refresh_token", "logout", "logout_all"):
        assert "cross-site-request" in operations[name]["responses"]["403"]["$ref"] or name == "login"
        assert {"Origin", "Sec-Fetch-Site"} <= {each["name"] for each in operations[name]["parameters"]}
    sending = {
        name
        for name, operation in operations.items()
        if any("Set-Cookie" in answer.get("headers", {}) for answer in operation["responses"].values())
    }
    assert sending == {
        "login",
        "answer_mfa_challenge",
        "refresh_token",
        "logout",
        "logout_all",
        "delete_session",
        "delete_current_user",
        "deactivate_current_user",
    }


@pytest.mark.parametrize("route", _ALL, ids=lambda route: str(route.operation_id))
def test_every_route_is_described(document: dict[str, Any], route: Route) -> None:
    """Path, method, name, who may call, every answer and every problem by its code."""
    operation = document["paths"][route.path][route.method.lower()]
    problems = possible_problems(route)
    unchanged = {304} if route.method == "GET" and "etag" in route.sends else set()

    assert operation["operationId"] == route.operation_id
    assert operation["responses"].keys() == {str(status) for status in (*route.answers, *problems, *unchanged)}
    assert ("requestBody" in operation) == (route.body is not None)
    assert ({"accessToken": []} in operation["security"]) or not route.wants_user
    if isinstance(route.who, Holder) and route.takes_clients:
        assert {"clientToken": [route.who.permission]} in operation["security"]
    if route.who is Caller.CLIENT:
        assert {"clientSecret": []} in operation["security"]
        return
    for status, kinds in problems.items():
        content = _resolved(document, operation["responses"][str(status)])["content"]["application/problem+json"]
        assert list(content["examples"]) == [kind.code for kind in kinds]


@pytest.mark.parametrize("route", _ALL, ids=lambda route: str(route.operation_id))
def test_headers_that_a_client_needs_are_described(document: dict[str, Any], route: Route) -> None:
    """Those of the table, what a 401 asks for, and when to come back after a 503."""
    responses = document["paths"][route.path][route.method.lower()]["responses"]
    headers = {status: set(_resolved(document, answer)["headers"]) for status, answer in responses.items()}

    assert all("X-Request-Id" in names for names in headers.values())
    assert all("WWW-Authenticate" in names for status, names in headers.items() if status == "401")
    assert all("Retry-After" in names for status, names in headers.items() if status == "503")
    for status in route.answers:
        if status < 400:
            assert set(route.sends) <= {name.lower() for name in headers[str(status)]}


def test_every_member_and_parameter_says_what_it_means(document: dict[str, Any]) -> None:
    """A name without a meaning belongs into `vocabulary.py`; a meaning without a name does not."""
    schemas = document["components"]["schemas"]
    members = [(shape, name, said) for shape in schemas for name, said in schemas[shape].get("properties", {}).items()]
    parameters = [parameter for operation in _operations(document) for parameter in operation.get("parameters", ())]
    queries = [route.query for route in _ALL if route.query is not None]
    asked = {f"{shape.__name__}.{field.encode_name}" for shape in queries for field in msgspec.structs.fields(shape)}
    named = asked | {name for _, name, _ in members} | {f"{shape}.{name}" for shape, name, _ in members}

    assert [f"{shape}.{name}" for shape, name, said in members if "description" not in said] == []
    assert [parameter["name"] for parameter in parameters if "description" not in parameter] == []
    assert [name for name in TERMS if name not in named | {parameter["name"] for parameter in parameters}] == []


def test_every_shape_says_what_it_is(document: dict[str, Any]) -> None:
    """By its docstring, and with an example if it is an object."""
    schemas = document["components"]["schemas"]

    assert [name for name, schema in schemas.items() if not schema.get("description")] == []
    assert [name for name, schema in schemas.items() if "properties" in schema and not schema["examples"][0]] == []


def test_examples_are_what_their_schemas_allow(document: dict[str, Any]) -> None:
    """Of shapes, of parameters, and of problems, which are those of their own status."""
    components = document["components"]
    parameters = [parameter for operation in _operations(document) for parameter in operation.get("parameters", ())]
    shapes = [
        (name, schema, example)
        for name, schema in components["schemas"].items()
        for example in schema.get("examples", ())
    ]
    shapes += [(each["name"], each["schema"], each["example"]) for each in parameters if "example" in each]
    problem = components["schemas"]["ProblemAnswer"]
    shapes += [(code, problem, example["value"]) for code, example in components["examples"].items()]

    faults = {name: _faults(document, schema, example) for name, schema, example in shapes}
    assert {name: found for name, found in faults.items() if found} == {}
    statuses = {code: example["value"]["status"] for code, example in components["examples"].items()}
    assert statuses == {code: STATUS_BY_CODE[code] for code in statuses}


def test_every_heading_is_explained(document: dict[str, Any]) -> None:
    """Each operation stands under one, and each has a few words."""
    explained = {tag["name"] for tag in document["tags"] if tag["description"]}

    assert {tag for operation in _operations(document) for tag in operation["tags"]} == explained


def test_what_is_taken_is_closed_and_what_is_given_is_open(document: dict[str, Any]) -> None:
    """Unknown members of a request are refused; answers may get more, and a client must not trip over them."""
    schemas = document["components"]["schemas"]

    assert schemas["RegisterBody"]["additionalProperties"] is False
    assert schemas["RegisterBody"]["required"] == ["email", "password"]
    assert "additionalProperties" not in schemas["UserAnswer"]
    assert "additionalProperties" not in schemas["ProblemAnswer"]


def test_parameters_of_the_path_are_described(document: dict[str, Any]) -> None:
    """In front of those of the query, each of which may be a list."""
    one, many = document["paths"]["/admin/users/{id}/roles"]["delete"]["parameters"]

    assert (one["name"], one["in"], one["required"]) == ("id", "path", True)
    assert one["schema"] == {"type": "string", "format": "uuid"}
    assert (many["name"], many["in"], many["required"], many["schema"]["type"]) == ("roleId", "query", True, "array")


def test_parameters_of_the_query_are_described(document: dict[str, Any]) -> None:
    """Name, place and bounds; what may be left out is not sent as null."""
    (token,) = document["paths"]["/auth/verify-email"]["get"]["parameters"]
    _, kind = document["paths"]["/users/{id}/effective-permissions"]["get"]["parameters"]

    assert (token["name"], token["in"], token["required"]) == ("token", "query", True)
    assert token["schema"] == {"type": "string", "minLength": 1, "maxLength": 512}
    assert (kind["name"], kind["required"]) == ("resourceType", False)
    assert kind["schema"] == {"type": "string", "minLength": 1, "maxLength": 129}


def test_who_may_call_is_described(document: dict[str, Any]) -> None:
    """The permission that an operation takes is there for programs and for people."""
    for route in ROUTES:
        if isinstance(route.who, Holder):
            operation = document["paths"][route.path][route.method.lower()]
            assert operation["x-permission"] == route.who.permission
            assert route.who.permission in operation["description"]


_TELLING: Final = re.compile(r"passw|token|secret|code|session|email|phone", re.IGNORECASE)
_ASKED_FOR: Final = {
    ("inspect_email_verification", "token"): "the link of a mail, opened by a browser; it uses nothing up",
    ("inspect_account_restoration", "token"): "as above",
    ("list_users", "email"): "administrators look for a part of an address",
    ("list_users", "exactEmail"): "administrators look for an address",
}
"""Parameters of queries that say something of somebody, and why; queries are not logged."""


@pytest.mark.asvs("14.2.1")
def test_no_secret_and_nobodys_data_is_asked_for_in_a_query() -> None:
    """Queries are kept by proxies and browsers; bodies and headers are not."""
    telling = {
        (route.operation_id, field.encode_name)
        for route in ROUTES
        if route.query is not None
        for field in msgspec.structs.fields(route.query)
        if _TELLING.search(field.encode_name)
    }

    assert telling == set(_ASKED_FOR)
