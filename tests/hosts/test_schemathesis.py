"""Whatever the OpenAPI document allows or forbids, every host answers as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hosts.conformance import SERVED, api_schema, check_operation, check_workflows
from userservice_core.http.routes import ROUTES, Route

if TYPE_CHECKING:
    from schemathesis.specs.openapi.schemas import OpenApiSchema


@pytest.fixture(scope="module")
def schema() -> OpenApiSchema:
    """The document, read once."""
    return api_schema()


@pytest.mark.asvs("2.2.1", "2.2.2", "4.1.1", "15.3.1")
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: str(route.operation_id))
def test_every_host_keeps_to_the_description(schema: OpenApiSchema, route: Route) -> None:
    """Status, type, headers and shape of every answer are described, and what the schema forbids is refused."""
    check_operation(schema, route, examples=50)


@pytest.mark.parametrize("host", SERVED)
def test_what_one_operation_gives_the_next_one_takes(schema: OpenApiSchema, host: str) -> None:
    """Ids of earlier answers lead to what was made, changed and deleted, and every answer is still as described."""
    # The same sequences each time, so that they are known to lead somewhere; the soak tries others.
    succeeded = check_workflows(schema, host, scenarios=20, steps=12, seed=1)

    assert [label for label in succeeded if "{id}" in label], "no id of one answer led to another"
