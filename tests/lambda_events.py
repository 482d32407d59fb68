"""Events as the front ends of AWS Lambda send them, and answers as they read them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from userservice_core.http.messages import Response

if TYPE_CHECKING:
    from userservice_core.http.messages import Headers

CLIENT_IP: Final = "192.0.2.7"

EventMaker = Callable[[str, str, "Headers", bytes], dict[str, Any]]
"""Makes an event of a method, a target, headers and a body."""


def http_api_event(method: str, target: str, headers: Headers, body: bytes) -> dict[str, Any]:
    """Return what an HTTP API or a function URL sends (payload format 2.0): cookies apart, repeated headers joined."""
    path, _, query = target.partition("?")
    cookies = [cookie for name, value in headers if name == "cookie" for cookie in value.split("; ")]
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {name: ",".join(values) for name, values in _multiple(headers).items() if name != "cookie"},
        "requestContext": {
            "stage": "$default",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": CLIENT_IP},
        },
        **_body(body, absent={}),
    }
    return {**event, "cookies": cookies} if cookies else event


def rest_api_event(method: str, target: str, headers: Headers, body: bytes) -> dict[str, Any]:
    """Return what a REST API sends (payload format 1.0): everything twice, the query decoded, null for what is not."""
    path, _, query = target.partition("?")
    several = _multiple(headers)
    parameters = _multiple(tuple(parse_qsl(query, keep_blank_values=True, encoding="latin-1")))
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": _last(several) or None,
        "multiValueHeaders": several or None,
        "queryStringParameters": _last(parameters) or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": {"proxy": path.removeprefix("/")},
        "stageVariables": None,
        "requestContext": {
            "stage": "prod",
            "path": f"/prod{path}",
            "httpMethod": method,
            "identity": {"sourceIp": CLIENT_IP, "userAgent": None},
        },
        **_body(body, absent={"body": None}),
    }


def load_balancer_event(method: str, target: str, headers: Headers, body: bytes) -> dict[str, Any]:
    """
    Return what a load balancer sends whose target group knows one value of each header.

    Of what is repeated only the last would reach the function, which cannot see then what was wrong. So that hosts
    can be compared by requests that repeat something, such a request takes the other kind.
    """
    several = several_values_event(method, target, headers, body)
    named = (several["multiValueHeaders"], several["multiValueQueryStringParameters"])
    if any(len(values) > 1 for values_by_name in named for values in values_by_name.values()):
        return several
    single = {name: value for name, value in several.items() if not name.startswith("multiValue")}
    return {**single, "headers": _last(named[0]), "queryStringParameters": _last(named[1])}


def several_values_event(method: str, target: str, headers: Headers, body: bytes) -> dict[str, Any]:
    """Return what a load balancer sends whose target group has multi-value headers switched on."""
    path, _, query = target.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&")] if query else []
    forwarded = ", ".join([*(value for name, value in headers if name == "x-forwarded-for"), CLIENT_IP])
    others = tuple(header for header in headers if header[0] != "x-forwarded-for")
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/t/1"}},
        "httpMethod": method,
        "path": path,
        "multiValueQueryStringParameters": _multiple(tuple((name, value) for name, _, value in pairs)),
        "multiValueHeaders": _multiple((*others, ("x-forwarded-for", forwarded))),
        **_body(body, absent={"body": ""}),
    }


def response_of(result: dict[str, Any]) -> Response:
    """Read an answer as a front end does, whichever members it has."""
    headers = [(name, value) for name, value in (result.get("headers") or {}).items()]
    headers += [(name, value) for name, values in (result.get("multiValueHeaders") or {}).items() for value in values]
    headers += [("set-cookie", value) for value in result.get("cookies") or ()]
    content: str = result["body"]
    return Response(
        status=result["statusCode"],
        headers=tuple(headers),
        body=base64.b64decode(content) if result["isBase64Encoded"] else content.encode(),
    )


def _multiple(pairs: Headers) -> dict[str, list[str]]:
    several: dict[str, list[str]] = {}
    for name, value in pairs:
        several.setdefault(name, []).append(value.encode("latin-1", "replace").decode("utf-8", "replace"))
    return several


def _last(several: dict[str, list[str]]) -> dict[str, str]:
    return {name: values[-1] for name, values in several.items()}


def _body(body: bytes, *, absent: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a body; a front end encodes what is no text."""
    if not body:
        return {**absent, "isBase64Encoded": False}
    try:
        return {"body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
