"""Requests made from the OpenAPI document, sent to every host: what the suite does in short and the soak at length."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import hypothesis
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.hosts.installation import HOSTS, Installation
from tests.hosts.requests_adapter import ADDRESS, session_with
from userservice_core.http.openapi import openapi_document
from userservice_core.http.routes import ROUTES, Route
from userservice_core.testing.clocks import FakeClock

if TYPE_CHECKING:
    from schemathesis.specs.openapi.schemas import OpenApiSchema

SERVED: Final = ("starlette", "flask", "lambda")
"""One of each kind of host; the shapes of events of Lambda are compared by the suite itself."""

# What sends requests again (for credentials and for objects that are gone) does so on connections of its own, which
# lead nowhere; the suite has tests of its own for both.
_CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    missing_required_header,
    unsupported_method,
    allow_header_conformance,
]

_FIRST_PROBLEM: Final = 400

# Any 4xx refuses: a text over its length may be over that of the body (413) or of the address (414) first. What the
# schema allows may break a rule that no schema can say (400), be about nothing that there is (404), or be known (304).
_CONFIG: Final = {
    "checks": {
        "negative_data_rejection": {"expected-statuses": ["4xx"]},
        "positive_data_acceptance": {"expected-statuses": ["2xx", "304", "4xx"]},
    }
}


@attrs.frozen
class Served:
    """A service of its own behind a host, and what shows that one may do everything and signed in just now."""

    session: requests.Session
    authorization: Mapping[str, str]

    @classmethod
    def begin(cls, host: str) -> Served:
        """Wire a service with an administrator in it."""
        installation = Installation.begin(FakeClock())
        token = installation.administrator_token("root@example.com")
        return cls(session_with(HOSTS[host](installation.service)), {"authorization": f"Bearer {token}"})


def api_schema() -> OpenApiSchema:
    """Read the document."""
    document = json.loads(openapi_document(ROUTES, issuer=ADDRESS))
    return schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(_CONFIG))


def check_operation(schema: OpenApiSchema, route: Route, *, examples: int, seed: int | None = None) -> None:
    """Send *examples* of what the document allows and forbids to all hosts, and expect the same of each."""
    hosts = {name: Served.begin(name) for name in SERVED}
    operation = schema.find_operation_by_id(route.operation_id)
    cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if route.body is not None or route.query is not None:
        cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @_settings(examples=examples)
    @hypothesis.given(case=cases)
    def keep_to_it(case: schemathesis.Case[Any]) -> None:
        statuses = {}
        for name, served in hosts.items():
            sent = dict(served.authorization) if route.wants_user else {}
            response = case.call(session=served.session, base_url=ADDRESS, headers=sent)
            case.validate_response(response, checks=_CHECKS, headers=sent)
            statuses[name] = response.status_code
        assert len(set(statuses.values())) == 1, statuses

    (keep_to_it if seed is None else hypothesis.seed(seed)(keep_to_it))()


def check_workflows(
    schema: OpenApiSchema, host: str, *, scenarios: int, steps: int, seed: int | None = None
) -> Counter[str]:
    """
    Call operations one after the other, with what earlier answers gave, each scenario on a service of its own.

    Returns:
        How often each operation succeeded.
    """
    reached: Counter[str] = Counter()

    class Workflows(schema.as_state_machine()):  # type: ignore[misc]  # a class made while running
        served: Served

        def setup(self) -> None:
            self.served = Served.begin(host)

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
            # Who signs out is no administrator any more.
            leaves = case.operation.definition.raw["operationId"].startswith("logout")
            sent = {} if leaves else dict(self.served.authorization)
            return {"session": self.served.session, "base_url": ADDRESS, "headers": sent}

        def validate_response(self, response: Any, case: schemathesis.Case[Any], **_: Any) -> None:  # noqa: ANN401
            case.validate_response(response, checks=_CHECKS)
            if response.status_code < _FIRST_PROBLEM:
                reached[case.operation.label] += 1

    machine = Workflows if seed is None else hypothesis.seed(seed)(Workflows)
    machine.run(settings=_settings(examples=scenarios, steps=steps))
    return reached


def _settings(*, examples: int, steps: int = 1) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
