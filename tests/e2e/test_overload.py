"""More than a server can do: it goes on doing what it can, and tells the rest when to come again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.endurance.overload import overloaded, peak_of, scene, storm

if TYPE_CHECKING:
    from pathlib import Path

_CHEAP: Final = {"ARGON2_MEMORY_KIB": "8192", "ARGON2_TIME_COST": "1"}
"""Four times as many sign-ins as with the hash that is the default, and so a fourth of the time for them."""

_LEAST_SHARE: Final = 0.6
"""Of the peak: refusals weigh more beside work that is cheap, and there are more where others use the machine, too."""


@pytest.mark.exclusive
@pytest.mark.asvs("15.2.2")
def test_too_many_sign_ins_cost_no_work_no_memory_and_no_reader(database: str, tmp_path: Path) -> None:
    """
    500 at once all get in after a few tries, if they come again as they are told.

    Twice what can be done is half of it done.
    The checks at length do so with 10,000, and with five and ten times, and look at the clock as well.
    """
    with scene(database, tmp_path, **_CHEAP) as server:
        peak_of(server)
        peak = peak_of(server)
        stormed = storm(server, peak, count=500, strictly=False)
        peak = max(peak, peak_of(server), key=lambda rate: rate.of_wall)
        twice = overloaded(server, peak, times=2, seconds=10, least_share=_LEAST_SHARE, strictly=False)

    print(stormed.figures, twice.figures)
    stormed.require_clean()
    twice.require_clean()
