"""What can be run at length: a part is a name and rounds, each of which takes a seed."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

import attrs

from tests.hosts.conformance import SERVED, api_schema, check_operation, check_workflows
from tests.hosts.hostile_texts import api_document, check_any_text, text_places
from userservice_core.http.routes import ROUTES


class Trial(Protocol):
    """Raises if something is wrong."""

    def __call__(self, *, seed: int) -> object:
        """Try what comes of *seed*."""
        ...


_EXAMPLES: Final = 1_000
_SCENARIOS: Final = 300
_STEPS: Final = 25


@attrs.frozen
class Part:
    """
    Something to run at length.

    Attributes:
        trials: Makes the trials of one round, each with how many requests, scenarios or the like it counts for.
    """

    name: str
    trials: Callable[[], Iterator[tuple[int, Trial]]]


@attrs.define
class Outcome:
    """What came of a part."""

    trials: int = 0
    failures: int = 0

    def add(self, trial: Trial, *, counts_for: int, seed: int) -> None:
        """Run *trial*, and print why it failed if it does."""
        self.trials += counts_for
        try:
            trial(seed=seed)
        except Exception:  # noqa: BLE001 - whatever it is, the other trials are of interest too
            self.failures += 1
            traceback.print_exc()


def _conformance() -> Iterator[tuple[int, Trial]]:
    schema = api_schema()
    for route in ROUTES:
        yield _EXAMPLES * len(SERVED), partial(check_operation, schema, route, examples=_EXAMPLES)


def _workflows() -> Iterator[tuple[int, Trial]]:
    schema = api_schema()
    for host in SERVED:
        yield _SCENARIOS, partial(check_workflows, schema, host, scenarios=_SCENARIOS, steps=_STEPS)


def _texts() -> Iterator[tuple[int, Trial]]:
    document = api_document()
    for route in ROUTES:
        if route.body is not None and text_places(document, route):
            yield _EXAMPLES, partial(check_any_text, document, route, examples=_EXAMPLES)


PARTS: Final = (
    Part("http-conformance", _conformance),
    Part("http-workflows", _workflows),
    Part("texts", _texts),
)
