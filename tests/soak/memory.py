"""What a worker takes while a hundred thousand sign in: within its limit, and after a while no more than before."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.figures.memory import Flood
from benchmarks.scene import Effort, scene_for
from tests.soak.outcomes import Part, Tally

if TYPE_CHECKING:
    from tests.soak.outcomes import Trials

_STEPS: Final = 10
_FULL_AFTER_STEPS: Final = 2
"""By then, everything that is kept and bounded has reached its bound."""
_MAY_GROW: Final = 1.05


def check_memory(*, sign_ins: int, seed: int) -> Tally:
    """Sign in so often, and look after each tenth of it."""
    del seed  # the accounts do not matter
    with scene_for(Effort()) as scene, scene.area():
        flood = Flood(scene)
        sizes, done, faults = [flood.largest_mb()], 0, 0
        counts = [0]
        for _ in range(_STEPS):
            answers, wrong = flood.sign_in(sign_ins // _STEPS)
            done, faults = done + answers, faults + wrong
            counts.append(done)
            sizes.append(flood.largest_mb())
            print(f"memory: {sizes[-1]:.1f} MB after {done} sign-ins", file=sys.stderr, flush=True)
    return Tally(
        trials=done,
        failed=(
            done < sign_ins // _STEPS * _STEPS
            or max(sizes) > flood.limit_mb
            or sizes[-1] > _MAY_GROW * sizes[_FULL_AFTER_STEPS]
        ),
        figures={
            **{f"MB after {count}": round(size, 1) for count, size in zip(counts, sizes, strict=True)},
            "MB at most": round(flood.limit_mb, 1),
            "sign-ins that were refused": faults,
        },
    )


def _memory() -> Trials:
    """A hundred thousand, or as many as `SIGN_INS` says; half an hour on two processors."""
    sign_ins = int(os.environ.get("SIGN_INS") or 100_000)
    yield sign_ins, partial(check_memory, sign_ins=sign_ins)


PARTS: Final = (Part("memory", _memory),)
