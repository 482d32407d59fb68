"""More than a server can do: it goes on doing what it can, and tells the rest when to come again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.endurance.overload import overloaded, peak_of, scene, storm

if TYPE_CHECKING:
    from pathlib import Path

_LEAST_SHARE: Final = 0.8
"""Of the peak; a tenth less than at length, since in ten seconds a few sign-ins more or less weigh more."""


@pytest.mark.exclusive
@pytest.mark.asvs("15.2.2")
def test_too_many_sign_ins_cost_no_work_no_memory_and_no_reader(database: str, tmp_path: Path) -> None:
    """
    500 at once all get in, soon and after a few tries, if they come again as they are told.

    Twice what can be done is half of it done.
    The checks at length do so with 10,000, and with five and ten times, and look at the clock only.
    """
    with scene(database, tmp_path) as server:
        peak_of(server)
        peak = peak_of(server)
        stormed = storm(server, peak, count=500, strictly=False)
        peak = max(peak, peak_of(server), key=lambda rate: rate.of_wall)
        twice = overloaded(server, peak, times=2, seconds=10, least_share=_LEAST_SHARE, strictly=False)

    print(stormed.figures, twice.figures)
    stormed.require_clean()
    twice.require_clean()
