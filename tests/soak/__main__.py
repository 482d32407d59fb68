"""
Run the checks at length: ``python -m tests.soak``, which ``make soak`` calls.

``ONLY`` names parts, separated by commas; without it all are run. ``MINUTES`` repeats each part with the next seed
until its time is over, and without it each is run once. ``SEED`` is the first seed; without it, it is drawn and told.
What is printed is one JSON object a line and part; why something failed goes to the standard error.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import sys
import time
from importlib.metadata import version
from itertools import count
from typing import Final

import structlog

from tests.soak.parts import PARTS, Outcome, Part

_VERSIONS: Final = ("userservice", "hypothesis", "schemathesis")


def main() -> int:
    """Run the parts; return 1 if anything failed, 2 if a part does not exist."""
    only = [name for name in os.environ.get("ONLY", "").split(",") if name]
    names = [part.name for part in PARTS]
    if unknown := sorted(set(only) - set(names)):
        print(f"ONLY names {', '.join(unknown)}; there are {', '.join(names)}.", file=sys.stderr)
        return 2
    seconds = float(os.environ.get("MINUTES") or 0) * 60
    seed = int(os.environ.get("SEED") or secrets.randbelow(2**32))
    structlog.configure(processors=[_drop])
    has_failed = False
    for part in PARTS:
        if not only or part.name in only:
            has_failed |= run(part, seed=seed, seconds=seconds)
    return int(has_failed)


def run(part: Part, *, seed: int, seconds: float) -> bool:
    """Run *part* once, or until its time is over, print what came of it, and tell whether anything failed."""
    outcome = Outcome()
    began = time.monotonic()
    rounds = 0
    for rounds in count(1):
        for counts_for, trial in part.trials():
            outcome.add(trial, counts_for=counts_for, seed=seed + rounds - 1)
            if seconds and time.monotonic() - began >= seconds:
                break
        if time.monotonic() - began >= seconds:
            break
    line = {
        "name": part.name,
        "trials": outcome.trials,
        "failures": outcome.failures,
        "seed": seed,
        "rounds": rounds,
        "seconds": round(time.monotonic() - began, 1),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}},
    }
    print(json.dumps(line), flush=True)
    return outcome.failures > 0


def _drop(*_: object) -> structlog.typing.EventDict:
    raise structlog.DropEvent


if __name__ == "__main__":
    sys.exit(main())
