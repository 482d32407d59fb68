"""Requests made from the OpenAPI document: whatever it allows or forbids is answered as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from adapters.starlette_app.app import create_app

if TYPE_CHECKING:
    from tests.hosts.installation import Installation

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


@pytest.fixture
def described_api(installation: Installation) -> Any:  # noqa: ANN401 - the type of schemathesis is its own matter
    """The API as its own document describes it."""
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(installation.service))


_SCHEMA = schemathesis.pytest.from_fixture("described_api")


@_SCHEMA.parametrize()
@hypothesis.settings(max_examples=25, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_the_api_keeps_to_its_description(case: schemathesis.Case[Any]) -> None:
    """Status, type and shape of every answer are described, and what the schema forbids is refused."""
    case.call_and_validate(checks=_CHECKS)
