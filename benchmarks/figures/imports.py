"""How long it takes to load the library, beside loading what it needs."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks.figure import Bench, Figure, Round, at_most

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scene import Scene

_TIMES: Final = 5
_TIMED: Final = "import time; began = time.perf_counter(); {}; print(1000 * (time.perf_counter() - began))"
# What the base of the library declares, as far as any program that uses it loads it.
_BASE: Final = (
    "import attrs, msgspec, jwt; from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa;"
    " from cryptography.hazmat.primitives import hashes, serialization"
)
_STATEMENTS: Final = {
    "import": "import userservice_core",
    "import-verifier": "from userservice_core import TokenVerifier, Authorizer",
}


def _milliseconds(statement: str) -> float:
    """Return how long a new interpreter takes for a statement, the median of some."""
    command = [sys.executable, "-c", _TIMED.format(statement)]
    return statistics.median(
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(_TIMES)
    )


def _imports(_: Scene) -> Iterator[dict[str, Round]]:
    for _number in itertools.count():
        limit = _milliseconds(_BASE)
        yield {name: Round(value=_milliseconds(statement), limit=limit) for name, statement in _STATEMENTS.items()}


BENCHES: Final = (
    Bench(
        figures=tuple(
            Figure(
                name=name,
                title=statement,
                unit="ms",
                limit="loading attrs, msgspec, PyJWT and cryptography",
                goal=at_most(1.2),
                row="import",
            )
            for name, statement in _STATEMENTS.items()
        ),
        measure=_imports,
    ),
)
