"""
Run the checks at length: ``python -m tests.soak``, which ``make soak`` calls.

``ONLY`` names parts, or the word that the names of several begin with, separated by commas; without it all are run.
``MINUTES`` repeats each part with the next seed until its time is over, and without it each is run once. ``SEED`` is
the first seed; without it, it is drawn and told. What is printed is one JSON object a line and part; how far it is, and
why something failed, goes to the standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import sys
import time
from importlib.metadata import version
from itertools import count
from typing import Final

import attrs
import structlog

from tests.servers.versions import KAFKA, NEWEST_POSTGRES
from tests.soak.outcomes import Outcome, Part
from tests.soak.parts import PARTS

_VERSIONS: Final = ("userservice", "hypothesis", "schemathesis", "kafka-python", "psycopg")
_TELL_SECONDS: Final = 10.0


def main() -> int:
    """Run the parts; return 1 if anything failed, 2 if a part does not exist."""
    only = [name.strip() for name in os.environ.get("ONLY", "").split(",") if name.strip()]
    if unknown := [name for name in only if not any(part.is_meant_by(name) for part in PARTS)]:
        names = ", ".join(part.name for part in PARTS)
        print(f"ONLY names {', '.join(unknown)}; there are {names}.", file=sys.stderr)
        return 2
    seconds = float(os.environ.get("MINUTES") or 0) * 60
    seed = int(os.environ.get("SEED") or secrets.randbelow(2**32))
    structlog.configure(processors=[_drop])
    has_failed = False
    for part in PARTS:
        if not only or any(part.is_meant_by(name) for name in only):
            has_failed |= run(part, seed=seed, seconds=seconds)
    return int(has_failed)


def run(part: Part, *, seed: int, seconds: float) -> bool:
    """Run *part* once, or until its time is over, print what came of it, and tell whether anything failed."""
    outcome = Outcome()
    progress = _Progress(part.name, seconds=seconds)
    progress.tell(f"begins with seed {seed}")
    rounds = 0
    for rounds in count(1):
        _run_round(part, outcome, progress, seed=seed + rounds - 1)
        if progress.is_over:
            break
    line = {
        "name": part.name,
        **attrs.asdict(outcome, filter=lambda attribute, _: attribute.name != "figures"),
        "seed": seed,
        "upper95": float(f"{outcome.upper_bound:.3g}"),
        "rounds": rounds,
        "seconds": round(progress.seconds, 1),
        **({"figures": outcome.figures} if outcome.figures else {}),
        "versions": {
            "python": platform.python_version(),
            "postgres": NEWEST_POSTGRES,
            "kafka": KAFKA,
            **{name: version(name) for name in _VERSIONS},
        },
    }
    print(json.dumps(line), flush=True)
    return outcome.failures > 0


def _run_round(part: Part, outcome: Outcome, progress: _Progress, *, seed: int) -> None:
    with contextlib.closing(part.trials()) as trials:
        for counts_for, trial in trials:
            outcome.add(trial, counts_for=counts_for, seed=seed)
            progress.tell_now_and_then(f"{outcome.trials} trials, {outcome.failures} failures, seed {seed}")
            if progress.has_limit and progress.is_over:
                return


class _Progress:
    """Says on the standard error how far a part is."""

    def __init__(self, name: str, *, seconds: float) -> None:
        self._name = name
        self._limit_seconds = seconds
        self._began = self._told_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """For how long the part has run."""
        return time.monotonic() - self._began

    @property
    def has_limit(self) -> bool:
        """Whether there is a time after which it ends."""
        return self._limit_seconds > 0

    @property
    def is_over(self) -> bool:
        """Whether no further round is to begin."""
        return self.seconds >= self._limit_seconds

    def tell_now_and_then(self, what: str) -> None:
        """Say *what*, unless something was said a moment ago."""
        if time.monotonic() - self._told_at >= _TELL_SECONDS:
            self.tell(what)

    def tell(self, what: str) -> None:
        """Say *what*."""
        self._told_at = time.monotonic()
        limit = f" of {self._limit_seconds:.0f}" if self.has_limit else ""
        print(f"{self._name}: {what} ({self.seconds:.0f}{limit} s)", file=sys.stderr, flush=True)


def _drop(*_: object) -> structlog.typing.EventDict:
    raise structlog.DropEvent


if __name__ == "__main__":
    sys.exit(main())
