"""What operators, verifiers of tokens and generators of clients ask; all of it from the process's memory."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from userservice_core.http.call import JSON, json_response
from userservice_core.http.conditional import etag_of_content
from userservice_core.http.messages import Response
from userservice_core.http.wire import LiveAnswer, ReadyAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from userservice_core.http.call import Call

_CACHED: Final = ("cache-control", "public, max-age=300")
"""Less than a signing key is published before its first use, so that no verifier meets a key it cannot know."""


def get_jwks(call: Call) -> Response:
    """Publish the keys that verify access tokens: next, current and retired."""
    return cacheable(call.services.use_cases.token_issuer.jwks())


def get_liveness(_call: Call) -> Response:
    """Tell that the process answers; touches nothing else."""
    return json_response(200, LiveAnswer())


def get_readiness(call: Call) -> Response:
    """Tell whether a load balancer should send requests here."""
    report = call.services.health.report()
    answer = ReadyAnswer(status=report.status.value, resources=dict(report.resources))
    if report.status.takes_requests:
        return json_response(200, answer)
    return json_response(503, answer, (("retry-after", "1"),))


def get_openapi(call: Call) -> Response:
    """Describe this API."""
    headers = (("content-type", JSON), _CACHED)
    return _with_etag(Response(status=200, headers=headers, body=call.services.openapi()))


def get_docs(call: Call) -> Response:
    """Describe this API to people."""
    return _docs_page(call.services.openapi())


@lru_cache(maxsize=1)
def _docs_page(document: bytes) -> Response:
    """Make the page when it is first asked for: most processes never are."""
    from userservice_core.http.documentation import CONTENT_SECURITY_POLICY, documentation_page

    headers = (
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", CONTENT_SECURITY_POLICY),
        _CACHED,
    )
    page = documentation_page(msgspec.json.decode(document))
    return _with_etag(Response(status=200, headers=headers, body=page.encode()))


def get_metrics(call: Call) -> Response:
    """Show the metrics in Prometheus' text format."""
    content, content_type = call.services.metrics.render()
    return Response(status=200, headers=(("content-type", content_type),), body=content)


def cacheable(content: msgspec.Struct | Mapping[str, Any]) -> Response:
    """Answer with *content* as JSON that any cache may keep for some minutes."""
    return _with_etag(json_response(200, content, (_CACHED,)))


def _with_etag(response: Response) -> Response:
    headers = (*response.headers, ("etag", etag_of_content(response.body)))
    return Response(status=response.status, headers=headers, body=response.body)
