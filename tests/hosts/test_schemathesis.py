"""Requests made from the OpenAPI document: whatever it allows or forbids is answered as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from adapters.starlette_app.app import create_app
from userservice_core.http.routes import ROUTES, Route

if TYPE_CHECKING:
    from tests.hosts.installation import Installation

_CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    allow_header_conformance,
]
# Any 4xx refuses: a text over its length may be over that of the body (413) or of the address (414) first.
_CONFIG: Final = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}}})
_SETTINGS: Final = hypothesis.settings(
    max_examples=50, database=None, suppress_health_check=list(hypothesis.HealthCheck)
)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: str(route.operation_id))
def test_the_api_keeps_to_its_description(installation: Installation, route: Route) -> None:
    """Status, type and shape of every answer are described, and what the schema forbids is refused."""
    app = create_app(installation.service)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=_CONFIG)
    operation = schema.find_operation_by_id(route.operation_id)
    cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    # Of somebody who may do everything and signed in just now: each answer is that of the operation itself.
    sent = (
        {"authorization": f"Bearer {installation.administrator_token('root@example.com')}"} if route.wants_user else {}
    )
    if route.body is not None or route.query is not None:
        cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @_SETTINGS
    @hypothesis.given(case=cases)
    def keep_to_it(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=_CHECKS, headers=sent)

    keep_to_it()
