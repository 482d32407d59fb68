"""What a load is made of: who comes, how many of them at which time, and how long they think."""

from __future__ import annotations

import itertools
from typing import Final

import attrs


@attrs.frozen(kw_only=True)
class Scenario:
    """
    A load that has a name.

    Attributes:
        kinds: Which classes of the locustfile come, each with its weight among them.
        course: Points of time and how many are there, both as parts of the whole; in between it is a straight line.
        users: How many there are at the height, where nothing else is said.
    """

    name: str
    title: str
    kinds: tuple[tuple[str, int], ...]
    course: tuple[tuple[float, float], ...]
    users: int

    def part_at(self, time: float) -> float:
        """Return which part of the users is there at a *time* from 0 to 1."""
        for (before, least), (after, most) in itertools.pairwise(self.course):
            if before <= time <= after and before < after:
                return least + (most - least) * (time - before) / (after - before)
        return self.course[-1][1]


_COMING_AND_STAYING: Final = ((0.0, 0.0), (0.1, 1.0), (1.0, 1.0))
_ALL_AT_ONCE: Final = ((0.0, 1.0), (1.0, 1.0))

SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="steady",
            title="A usual hour: people sign in, read, think, and change little; other services ask what they may do",
            kinds=(("Visitor", 9), ("Asker", 1)),
            course=_COMING_AND_STAYING,
            users=50,
        ),
        Scenario(
            name="promotion",
            title="A promotion: five times as many for a while, and then the usual again",
            kinds=(("Visitor", 16), ("Newcomer", 2), ("Asker", 2)),
            course=((0.0, 0.0), (0.1, 0.2), (0.35, 0.2), (0.4, 1.0), (0.7, 1.0), (0.75, 0.2), (1.0, 0.2)),
            users=200,
        ),
        Scenario(
            name="login-storm",
            title="Everybody signs in at once, again and again",
            kinds=(("Returner", 1),),
            course=_ALL_AT_ONCE,
            users=20,
        ),
        Scenario(
            name="registration-storm",
            title="New people register at once, one after the other",
            kinds=(("Newcomer", 1),),
            course=_ALL_AT_ONCE,
            users=20,
        ),
        Scenario(
            name="profile-updates",
            title="Profiles and addresses are changed, each change an event",
            kinds=(("Editor", 1),),
            course=_COMING_AND_STAYING,
            users=40,
        ),
        Scenario(
            name="mixed",
            title="All of them together",
            kinds=(("Visitor", 13), ("Editor", 3), ("Returner", 2), ("Newcomer", 1), ("Asker", 1)),
            course=_COMING_AND_STAYING,
            users=60,
        ),
    )
}
