"""What is tried over HTTP at length: described requests, ways through them, and texts of any kind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from tests.hosts.conformance import SERVED, api_schema, check_operation, check_workflows
from tests.hosts.hostile_texts import api_document, check_any_text, text_places
from tests.soak.outcomes import Part
from userservice_core.http.routes import ROUTES

if TYPE_CHECKING:
    from tests.soak.outcomes import Trials

_EXAMPLES: Final = 1_000
_SCENARIOS: Final = 300
_STEPS: Final = 25


def _conformance() -> Trials:
    schema = api_schema()
    for route in ROUTES:
        yield _EXAMPLES * len(SERVED), partial(check_operation, schema, route, examples=_EXAMPLES)


def _workflows() -> Trials:
    schema = api_schema()
    for host in SERVED:
        yield _SCENARIOS, partial(check_workflows, schema, host, scenarios=_SCENARIOS, steps=_STEPS)


def _texts() -> Trials:
    document = api_document()
    for route in ROUTES:
        if route.body is not None and text_places(document, route):
            yield _EXAMPLES, partial(check_any_text, document, route, examples=_EXAMPLES)


PARTS: Final = (
    Part("http-conformance", _conformance),
    Part("http-workflows", _workflows),
    Part("http-texts", _texts),
)
