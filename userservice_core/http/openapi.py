"""The API in OpenAPI 3.1, made from the route table and the wire types, so that it cannot disagree with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from userservice_core.http import problems
from userservice_core.http.possible_problems import possible_problems
from userservice_core.http.problems import STATUS_BY_CODE, TYPE_PREFIX
from userservice_core.http.refresh_cookie import COOKIE_NAME
from userservice_core.http.routes import Caller, CookieUse, Holder, Route, shapes_of
from userservice_core.http.vocabulary import term_of
from userservice_core.http.wire import OAuthErrorAnswer, ProblemAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from userservice_core.http.possible_problems import ErrorKind
    from userservice_core.http.routes import Shape

API_VERSION: Final = "1"

Json = dict[str, Any]

_JSON: Final = "application/json"
_SCHEMAS: Final = "#/components/schemas/"
_PROBLEM: Final = "ProblemAnswer"
_NOT_MODIFIED: Final = 304
_UNAUTHORIZED: Final = 401
_UNAVAILABLE: Final = 503
_FIRST_PROBLEM: Final = 400

_KEY_MEANING: Final = (
    "Names this request for 24 hours: sent again, it takes effect once, and is answered as before. Where anyone may"
    " call, it needs 128 random bits, such as a UUID."
)

_ORIGIN_MEANING: Final = "Of the page that asks, which has to be one that may use the cookie; browsers send it."
_SITE_MEANING: Final = "`same-origin` or `same-site`; browsers send it, and without `Origin` it has to be the first."

_ABOUT: Final = """\
Accounts, sign-in, roles and who may do what.

Bodies are JSON in UTF-8, of at most 64 KiB; members that are not known are refused. Times are RFC 3339 in UTC, ids are
UUIDs. What goes wrong is told as a problem document (RFC 9457) whose `type` is stable; with input that is not valid,
its `errors` name every fault at once, each with a JSON Pointer.

Every answer carries `X-Request-Id`, which is the one sent with the request if it was of letters, digits, `.`, `_` and
`-`. Answers may get further members, and values further kinds: ignore what you do not know.
"""

_TAGS: Final[tuple[tuple[str, str, str], ...]] = (
    ("/auth/check-permissions", "Authorization", "What a user may do."),
    ("/auth", "Authentication", "Accounts come into being, people sign in, stay signed in and sign out."),
    ("/oauth", "Service clients' tokens", "Tokens for programs, and questions about tokens (RFC 6749, 7662, 7009)."),
    ("/users/{id}/effective-permissions", "Authorization", "What a user may do."),
    ("/users", "The caller's account", "What users see and change of their own."),
    ("/admin/users", "Administration of users", "Users as administrators see and change them."),
    ("/admin/roles", "Administration of roles", "Roles and what they grant."),
    ("/admin/permissions", "Administration of permissions", "What roles can grant."),
    ("/admin/clients", "Administration of clients", "Programs that call the service in their own name."),
    ("/admin/audit-log", "Audit", "Who did what."),
    ("/", "The service", "Health, keys, metrics and this description."),
)
"""The beginning of a path, and under which heading its operations stand; the first that fits counts."""

_MEANINGS: Final = {
    200: "Done",
    201: "Created",
    202: "Accepted; what follows happens later",
    204: "Done, with nothing to say",
    304: "The client holds this representation already",
    503: "Not now",
}

_HEADERS: Final[Mapping[str, tuple[str, str, str]]] = {
    "consistency-token": (
        "Consistency-Token",
        "Where the installation has replicas: names what was written, to be sent with the reads that have to see it.",
        "p1.3q2-7wEB.AAEC",
    ),
    "etag": ("ETag", "Names this version of the representation, for `If-Match` and `If-None-Match`.", '"3-user1"'),
    "location": (
        "Location",
        "Where what was made is found, relative to the server.",
        "/admin/roles/0192f0c1-2a4b-7c3d-8e5f-00000000000a",
    ),
    "idempotency-replayed": (
        "Idempotency-Replayed",
        "Says `true` where the request was sent before with this key, and the answer is that of the first time.",
        "true",
    ),
    "set-cookie": (
        "Set-Cookie",
        "Has a browser keep the refresh token, or forget it where the session is over.",
        f"{COOKIE_NAME}=…; Max-Age=1209600; Path=/; Secure; HttpOnly; SameSite=Strict",
    ),
    "content-disposition": (
        "Content-Disposition",
        "Lets a browser save the answer to a file.",
        'attachment; filename="account.json"',
    ),
    "link": ("Link", "Other pages of the list, by `rel` (RFC 8288).", '<?cursor=c1.AAEC>; rel="next"'),
    "retry-after": ("Retry-After", "Seconds after which to try again.", "1"),
    "www-authenticate": (
        "WWW-Authenticate",
        "What is wanted, and what was wrong with what was shown (RFC 6750, RFC 9470, RFC 7617).",
        'Bearer realm="userservice"',
    ),
    "x-request-id": ("X-Request-Id", "Names the request in the logs.", "0192f0c1-2a4b-7c3d-8e5f-00000000000c"),
}


def openapi_document(routes: Sequence[Route], *, issuer: str) -> bytes:
    """Describe *routes* as JSON; *issuer* is the address they are served under."""
    kinds = {kind.code: kind for route in routes for group in possible_problems(route).values() for kind in group}
    responses = {
        _response_name(route, status, group): _problem_response(route, status, group)
        for route in routes
        for status, group in possible_problems(route).items()
    }
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "User Service",
            "version": API_VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": issuer, "description": "This installation"}],
        "tags": _tags(routes),
        "paths": _paths(routes),
        "components": {
            "schemas": _schemas(routes),
            "responses": dict(sorted(responses.items())),
            "headers": {name: _header(*said) for name, said in _used_headers(routes)},
            "examples": {code: _problem_example(kind) for code, kind in sorted(kinds.items())},
            "securitySchemes": _security_schemes(routes, issuer=issuer),
        },
    }
    return msgspec.json.encode(document)


def tag_of(path: str) -> str:
    """Return the heading under which the operations of *path* stand."""
    return next(tag for prefix, tag, _ in _TAGS if path.startswith(prefix))


def _tags(routes: Iterable[Route]) -> list[Json]:
    """Return the headings in the order in which the table comes to them."""
    meanings = {tag: meaning for _, tag, meaning in _TAGS}
    return [
        {"name": tag, "description": meanings[tag]} for tag in dict.fromkeys(tag_of(route.path) for route in routes)
    ]


# --- operations -------------------------------------------------------------------------------------------------------


def _paths(routes: Sequence[Route]) -> dict[str, Json]:
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return paths


def _operation(route: Route) -> Json:
    operation: Json = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "description": _description(route),
        "tags": [tag_of(route.path)],
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


def _description(route: Route) -> str:
    return f"For {_who(route)}. Wants a recent sign-in." if route.fresh else f"For {_who(route)}."


def _who(route: Route) -> str:
    match route.who:
        case Holder(permission=permission):
            return f"users{' and service clients' if route.takes_clients else ''} who hold `{permission}`"
        case Caller.USER:
            return "every user"
        case Caller.BEARER:
            return "whoever has the token that it takes"
        case Caller.CLIENT:
            return "service clients, by their secret"
        case Caller.ANYONE:
            return "anyone"


def _security_schemes(routes: Iterable[Route], *, issuer: str) -> Json:
    """Describe how callers show who they are."""
    scopes = {
        route.who.permission: f"To call {route.method} {route.path} and the like."
        for route in routes
        if isinstance(route.who, Holder) and route.takes_clients
    }
    cookie = {
        "refreshCookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE_NAME,
            "description": "The refresh token, which browsers send by themselves, from the pages that may use it.",
        }
    }
    return {
        "accessToken": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The access token of a sign-in: `Authorization: Bearer …`.",
        },
        "clientToken": {
            "type": "oauth2",
            "description": "The access token of a service client, sent in the same way.",
            "flows": {"clientCredentials": {"tokenUrl": f"{issuer}/oauth/token", "scopes": scopes}},
        },
        "clientSecret": {
            "type": "http",
            "scheme": "basic",
            "description": "Id and secret of a service client; both may be in the body instead.",
        },
        **(cookie if any(route.cookie for route in routes) else {}),
    }


def _security(route: Route) -> list[dict[str, list[str]]]:
    if isinstance(route.who, Holder) and route.takes_clients:
        return [{"accessToken": []}, {"clientToken": [route.who.permission]}]
    if route.wants_user:
        return [{"accessToken": []}]
    if route.who is Caller.CLIENT:
        return [{"clientSecret": []}, {}]
    if route.cookie is CookieUse.TAKEN:
        return [{"refreshCookie": []}]
    if route.cookie is CookieUse.TAKEN_OR_ACCESS_TOKEN:
        return [{"accessToken": []}, {"refreshCookie": []}]
    takes_any = route.who is Caller.BEARER and route.body is not None and not route.body_required
    return [{"accessToken": []}, {}] if takes_any else []


def _body_content(route: Route) -> Json:
    content = _content(route.body, content_type=route.body_format.value) if route.body is not None else {}
    if route.method == "PATCH":
        content["application/merge-patch+json"] = content[_JSON]
    return content


def _path_parameters(route: Route) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": "An id that a list or the answer of a creation gave.",
            "schema": {"type": "string", "format": "uuid"},
        }
        for name in route.parameters
    ]


def _query_parameters(route: Route) -> list[Json]:
    if route.query is None:
        return []
    (reference,), schemas = msgspec.json.schema_components([route.query], ref_template=_SCHEMAS + "{name}")
    schema = schemas[reference["$ref"].rpartition("/")[2]]
    required = schema.get("required", ())
    # What is defined by itself, such as an enumeration, is written out: components are made of bodies only.
    inlined = {name: _written_out(details, schemas) for name, details in schema["properties"].items()}
    return [
        _query_parameter(route.query.__name__, name, details, is_required=name in required)
        for name, details in inlined.items()
    ]


def _written_out(schema: Json, schemas: Mapping[str, Json]) -> Json:
    """Put what *schema*, or its items, refer to in the place of the reference."""
    if reference := schema.get("$ref"):
        return schemas[reference.removeprefix(_SCHEMAS)]
    return {**schema, "items": _written_out(schema["items"], schemas)} if "items" in schema else schema


def _query_parameter(shape: str, name: str, details: Json, *, is_required: bool) -> Json:
    parameter: Json = {"name": name, "in": "query", "required": is_required, "schema": _without_null(details)}
    if term := term_of(shape, name):
        parameter["description"] = term.meaning
        if term.example is not UNSET and term.example is not None:
            parameter["example"] = term.example
    return parameter


def _without_null(schema: Json) -> Json:
    """Return the schema of what can be sent: a parameter is left out and never null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    return choices[0] if len(choices) == 1 else {name: value for name, value in schema.items() if value is not None}


def _header_parameters(route: Route) -> list[Json]:
    parameters = []
    if route.conditional:
        parameters.append(
            _header_parameter("If-Match", "The ETag of what is to be changed; if it has another version by now: 412.")
        )
    if route.takes_key:
        parameters.append(_header_parameter("Idempotency-Key", _KEY_MEANING))
    if route.replica_ok:
        parameters.append(
            _header_parameter("Consistency-Token", "That of the client's last write, which the answer will hold then.")
        )
    if route.cookie is not None:
        parameters += [_header_parameter("Origin", _ORIGIN_MEANING), _header_parameter("Sec-Fetch-Site", _SITE_MEANING)]
    if _may_be_held(route):
        parameters.append(
            _header_parameter("If-None-Match", "The ETag of what the client holds; if it is still the same: 304.")
        )
    return parameters


def _header_parameter(name: str, description: str) -> Json:
    schema = {"type": "string"}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _may_be_held(route: Route) -> bool:
    return route.method == "GET" and "etag" in route.sends


# --- answers ----------------------------------------------------------------------------------------------------------


def _responses(route: Route) -> Json:
    responses: Json = {str(status): _response(route, status, shape) for status, shape in route.answers.items()}
    if _may_be_held(route):
        headers = _headers(("etag", "x-request-id"))
        responses[str(_NOT_MODIFIED)] = {"description": _MEANINGS[_NOT_MODIFIED], "headers": headers}
    for status, group in possible_problems(route).items():
        reference = {"$ref": f"#/components/responses/{_response_name(route, status, group)}"}
        if str(status) in responses:
            responses[str(status)]["content"] |= _problem_content(route, group)
        else:
            responses[str(status)] = reference
    return dict(sorted(responses.items()))


def _response(route: Route, status: int, shape: Shape | None) -> Json:
    names = _sent_with_success(route) if status < _FIRST_PROBLEM else _problem_headers(status)
    answer: Json = {"description": _MEANINGS[status], "headers": _headers((*names, "x-request-id"))}
    if shape is not None:
        answer["content"] = _content(shape)
    elif route.content_type != _JSON:
        answer["content"] = {route.content_type: {"schema": {"type": "string"}}}
    return answer


def _sent_with_success(route: Route) -> tuple[str, ...]:
    replayed = ("idempotency-replayed",) if route.takes_key else ()
    written = ("consistency-token",) if route.method != "GET" else ()
    return (*route.sends, *replayed, *written)


def _content(shape: Shape, *, content_type: str = _JSON) -> Json:
    references = [{"$ref": _SCHEMAS + each.__name__} for each in shapes_of(shape)]
    return {content_type: {"schema": references[0] if len(references) == 1 else {"anyOf": references}}}


def _headers(names: Iterable[str]) -> Json:
    return {_HEADERS[name][0]: {"$ref": f"#/components/headers/{_HEADERS[name][0]}"} for name in names}


def _used_headers(routes: Iterable[Route]) -> Iterator[tuple[str, tuple[str, str]]]:
    used = {name for route in routes for name in _sent_with_success(route)} | {
        "retry-after",
        "www-authenticate",
        "x-request-id",
    }
    return ((name, (meaning, example)) for key, (name, meaning, example) in _HEADERS.items() if key in used)


def _header(description: str, example: str) -> Json:
    return {"description": description, "schema": {"type": "string"}, "example": example}


# --- problems ---------------------------------------------------------------------------------------------------------


def _response_name(route: Route, status: int, group: Iterable[ErrorKind]) -> str:
    prefix = ("oauth",) if route.who is Caller.CLIENT else ()
    return ".".join([*prefix, str(status), *(kind.code for kind in group)])


def _problem_response(route: Route, status: int, group: Sequence[ErrorKind]) -> Json:
    return {
        "description": "\n".join(f"- `{kind.code}`: {kind.default_detail}" for kind in group),
        "headers": _headers((*_problem_headers(status), "x-request-id")),
        "content": _problem_content(route, group),
    }


def _problem_headers(status: int) -> tuple[str, ...]:
    return {_UNAUTHORIZED: ("www-authenticate",), _UNAVAILABLE: ("retry-after",)}.get(status, ())


def _problem_content(route: Route, group: Sequence[ErrorKind]) -> Json:
    if route.who is Caller.CLIENT:
        return _content(OAuthErrorAnswer)
    examples = {kind.code: {"$ref": f"#/components/examples/{kind.code}"} for kind in group}
    return {problems.CONTENT_TYPE: {"schema": {"$ref": _SCHEMAS + _PROBLEM}, "examples": examples}}


def _problem_example(kind: ErrorKind) -> Json:
    value: Json = {
        "type": TYPE_PREFIX + kind.code,
        "title": problems.title_of(kind.code),
        "status": STATUS_BY_CODE[kind.code],
        "detail": kind.default_detail,
        "requestId": "0192f0c1-2a4b-7c3d-8e5f-00000000000c",
    }
    if kind.code == "invalid-input":
        value["errors"] = [{"pointer": "/email", "code": "required", "message": "This member is required."}]
    return {"summary": value["title"], "value": value}


# --- schemas ----------------------------------------------------------------------------------------------------------


def _schemas(routes: Iterable[Route]) -> dict[str, Json]:
    """Describe every shape, each member with its meaning, each object with an example."""
    routes = tuple(routes)
    taken = {route.body for route in routes if route.body is not None}
    told: set[type[msgspec.Struct]] = {ProblemAnswer, OAuthErrorAnswer}
    given = told.union(*map(_answers, routes))
    taken_schemas = _components(taken)
    schemas = {**_open(_components(given)), **taken_schemas}
    for name, schema in schemas.items():
        for member, details in schema.get("properties", {}).items():
            if term := term_of(name, member):
                details["description"] = term.meaning
    for name, schema in schemas.items():
        if "properties" in schema:
            schema["examples"] = [_example(name, schemas)]
    for name in {shape.__name__ for route in routes if route.is_list for shape in _answers(route)}:
        _let_rows_be_partial(name, schemas)
    return dict(sorted(schemas.items()))


def _answers(route: Route) -> set[type[msgspec.Struct]]:
    return {each for shape in route.answers.values() if shape is not None for each in shapes_of(shape)}


def _let_rows_be_partial(name: str, schemas: dict[str, Json]) -> None:
    """Say that rows of a list lack the members that `fields` does not name."""
    rows = schemas[name]["properties"]["data"]
    whole = rows["items"]["$ref"].removeprefix(_SCHEMAS)
    part = f"{whole}Part"
    schemas[part] = {**schemas[whole], "title": part, "required": []}
    rows["items"] = {"anyOf": [rows["items"], {"$ref": _SCHEMAS + part}]}


def _components(shapes: Iterable[type[msgspec.Struct]]) -> dict[str, Json]:
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_SCHEMAS + "{name}")
    return schemas


def _open(schemas: dict[str, Json]) -> dict[str, Json]:
    """Return the schemas of answers, which may get further members."""
    return {
        name: {key: value for key, value in schema.items() if (key, value) != ("additionalProperties", False)}
        for name, schema in schemas.items()
    }


def _example(name: str, schemas: Mapping[str, Json]) -> Any:  # noqa: ANN401 - JSON of any shape
    """Make an example of a shape of those of its members; none is made up."""
    return {
        member: example
        for member, details in schemas[name].get("properties", {}).items()
        if (example := _member_example(name, member, details, schemas)) is not UNSET
    }


def _member_example(shape: str, member: str, schema: Json, schemas: Mapping[str, Json]) -> Any:  # noqa: ANN401
    term = term_of(shape, member)
    if term is not None and term.example is not UNSET:
        return term.example
    if reference := schema.get("$ref"):
        return _example(reference.removeprefix(_SCHEMAS), schemas)
    if inner := schema.get("items", {}).get("$ref"):
        return [_example(inner.removeprefix(_SCHEMAS), schemas)]
    return UNSET
