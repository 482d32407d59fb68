"""The API in OpenAPI 3.1, made from the route table and the wire types, so that it cannot disagree with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from userservice_core.http import problems
from userservice_core.http.routes import Caller, Holder, Route
from userservice_core.http.wire import OAuthErrorAnswer, ProblemAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

API_VERSION: Final = "1"
_REF: Final = "#/components/schemas/{name}"
_PROBLEM: Final = "ProblemAnswer"
_REASONS: Final = {
    200: "Done",
    201: "Created",
    202: "Accepted",
    204: "Done, with nothing to say",
    304: "The client holds this representation already",
    503: "Not now",
}


def openapi_document(routes: Sequence[Route], *, issuer: str) -> bytes:
    """Describe *routes* as JSON; *issuer* is the address they are served under."""
    shapes = {shape for route in routes for shape in _shapes_of(route)} | {ProblemAnswer, OAuthErrorAnswer}
    _, schemas = msgspec.json.schema_components(sorted(shapes, key=lambda shape: shape.__name__), ref_template=_REF)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "User Service", "version": API_VERSION},
        "servers": [{"url": issuer}],
        "paths": _paths(routes),
        "components": {
            "schemas": schemas,
            "responses": {
                "Problem": {
                    "description": "What went wrong (RFC 9457)",
                    "content": {problems.CONTENT_TYPE: {"schema": {"$ref": _REF.format(name=_PROBLEM)}}},
                },
                "OAuthError": {
                    "description": "What went wrong (RFC 6749)",
                    "content": _content(OAuthErrorAnswer),
                },
            },
            "securitySchemes": _security_schemes(routes, issuer=issuer),
        },
    }
    return msgspec.json.encode(document)


def _shapes_of(route: Route) -> Iterable[type[msgspec.Struct]]:
    return (shape for shape in (route.body, *route.answers.values()) if shape is not None)


def _paths(routes: Sequence[Route]) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return paths


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "tags": [route.path.split("/")[1].strip(".")],
        "security": _security(route),
        "responses": _responses(route),
        "x-rate-class": route.rate_class.value,
        "x-replica-ok": route.replica_ok,
        "x-fresh": route.fresh,
    }
    if isinstance(route.who, Holder):
        operation["x-permission"] = route.who.permission
    if route.body is not None:
        operation["requestBody"] = {"required": route.body_required, "content": _body_content(route)}
    if parameters := [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)]:
        operation["parameters"] = parameters
    return operation


def _security_schemes(routes: Sequence[Route], *, issuer: str) -> dict[str, Any]:
    scopes = {
        route.who.permission: route.summary for route in routes if isinstance(route.who, Holder) and route.takes_clients
    }
    return {
        "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "clientToken": {
            "type": "oauth2",
            "flows": {"clientCredentials": {"tokenUrl": f"{issuer}/oauth/token", "scopes": scopes}},
        },
        "clientSecret": {
            "type": "http",
            "scheme": "basic",
            "description": "Id and secret of a service client; both may be in the body instead.",
        },
    }


def _security(route: Route) -> list[dict[str, list[str]]]:
    if isinstance(route.who, Holder) and route.takes_clients:
        return [{"accessToken": []}, {"clientToken": [route.who.permission]}]
    if route.wants_user:
        return [{"accessToken": []}]
    if route.who is Caller.CLIENT:
        return [{"clientSecret": []}, {}]
    takes_any = route.who is Caller.BEARER and not route.body_required
    return [{"accessToken": []}, {}] if takes_any else []


def _responses(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, shape in route.answers.items():
        answer: dict[str, Any] = {"description": _REASONS[status]}
        if shape is not None:
            answer["content"] = _content(shape)
        elif route.content_type != "application/json":
            answer["content"] = {route.content_type: {"schema": {"type": "string"}}}
        responses[str(status)] = answer
    error = "OAuthError" if route.who is Caller.CLIENT else "Problem"
    responses["default"] = {"$ref": f"#/components/responses/{error}"}
    return responses


def _content(shape: type[msgspec.Struct], *, content_type: str = "application/json") -> dict[str, Any]:
    return {content_type: {"schema": {"$ref": _REF.format(name=shape.__name__)}}}


def _body_content(route: Route) -> dict[str, Any]:
    content = _content(route.body, content_type=route.body_format.value) if route.body is not None else {}
    if route.method == "PATCH":
        content["application/merge-patch+json"] = content["application/json"]
    return content


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    schema = {"type": "string", "format": "uuid"}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in route.parameters]


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    if not route.conditional:
        return []
    description = "The ETag of what is to be changed; if it has another version by now, the answer is 412."
    return [{"name": "If-Match", "in": "header", "description": description, "schema": {"type": "string"}}]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    (reference,), schemas = msgspec.json.schema_components([route.query], ref_template=_REF)
    schema = schemas[reference["$ref"].rpartition("/")[2]]
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": details}
        for name, details in schema["properties"].items()
    ]
