"""What it takes of a processor to load the library, beside loading what it needs; hardly anything is waited for."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks.figure import Bench, Figure, Round, at_most

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.scene import Scene

_TIMES: Final = 5
_TIMED: Final = "import time; began = time.process_time(); {}; print(1000 * (time.process_time() - began))"
# What the base of the library declares, as far as any program that uses it loads it.
_BASE: Final = (
    "import attrs, msgspec, jwt; from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa;"
    " from cryptography.hazmat.primitives import hashes, serialization"
)
_STATEMENTS: Final = {
    "import": "import userservice_core",
    "import-verifier": "from userservice_core import TokenVerifier, Authorizer",
}


def _milliseconds(statement: str, variables: Mapping[str, str]) -> float:
    """Return what a new interpreter uses of a processor for a statement, the median of some."""
    command, environment = [sys.executable, "-c", _TIMED.format(statement)], {**os.environ, **variables}
    times = [
        float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
        for _ in range(_TIMES)
    ]
    return statistics.median(times)


def _imports(scene: Scene) -> Iterator[dict[str, Round]]:
    for number in itertools.count():
        statements = (_BASE, *_STATEMENTS.values())
        if number == 0:  # which leaves the bytecode
            for statement in statements:
                _milliseconds(statement, scene.bytecode)
        limit, *values = (_milliseconds(statement, scene.bytecode) for statement in statements)
        yield {name: Round(value=value, limit=limit) for name, value in zip(_STATEMENTS, values, strict=True)}


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
