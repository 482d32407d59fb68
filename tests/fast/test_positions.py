"""Positions of servers, and which server may be the primary."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pytest

from userservice_core.infrastructure.postgres.positions import ServerState, state_of, written_position
from userservice_core.infrastructure.postgres.replicas import Timelines
from userservice_core.ports.consistency import UNKNOWN_OFFSET, Position

_STARTED: Final = datetime(2026, 1, 2, tzinfo=UTC)
_PAGE: Final = 8192
_SYSTEM: Final = 7_713_229_063_832_754_115


def _state(*, timeline: int = 1, system_id: int = _SYSTEM, is_standby: bool = False) -> ServerState:
    return ServerState(is_standby=is_standby, position=Position(system_id, timeline, 5), started_at=_STARTED)


def test_positions_of_different_histories_cannot_be_compared() -> None:
    """Of one history, the one that is further on includes the other."""
    place = Position(1, 1, 10)

    assert place.includes(place)
    assert place.includes(Position(1, 1, 9))
    assert not place.includes(Position(1, 1, 11))
    assert not place.includes(Position(1, 2, 9))
    assert not place.includes(Position(2, 1, 9))


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (5 * _PAGE, 5 * _PAGE),
        (5 * _PAGE + 24, 5 * _PAGE),
        (5 * _PAGE + 40, 5 * _PAGE),
        (5 * _PAGE + 32, 5 * _PAGE + 32),
        (5 * _PAGE + 48, 5 * _PAGE + 48),
        (5 * _PAGE - 8, 5 * _PAGE - 8),
    ],
)
def test_a_header_of_a_page_is_waited_for_by_nobody(offset: int, expected: int) -> None:
    """The next record comes behind it, so that the last one may be said to end there."""
    state = state_of((False, _SYSTEM, 1, offset, _STARTED))
    assert state is not None

    assert state.position.offset == expected
    assert written_position((1, offset), state).offset == expected


def test_the_number_of_a_system_has_no_sign() -> None:
    """The server writes it with one."""
    state = state_of((True, -1, 1, 5, _STARTED))
    assert state is not None

    assert state.position.system_id == 2**64 - 1


def test_a_server_that_has_replayed_nothing_has_no_position() -> None:
    """Nor one whose history is not known."""
    assert state_of((True, _SYSTEM, 1, None, _STARTED)) is None
    assert state_of((True, _SYSTEM, None, 5, _STARTED)) is None


def test_a_write_whose_place_is_not_known_is_held_by_no_replica() -> None:
    """It is of the history of its server, so that it is no reason to wait."""
    assert written_position(None, _state(timeline=3)) == Position(_SYSTEM, 3, UNKNOWN_OFFSET)
    assert written_position((3, 9), None).offset == UNKNOWN_OFFSET


def test_a_primary_of_an_older_history_is_refused() -> None:
    """Once a newer one was seen, there or on a replica; also connections that were there before."""
    timelines = Timelines()
    before = [timelines.admits(_state(timeline=1)), timelines.admits(_state(timeline=2))]
    after = [timelines.admits(_state(timeline=1)), timelines.admits(_state(timeline=2))]
    timelines.saw_replica(Position(_SYSTEM, 3, 1))
    at_last = [timelines.admits(_state(timeline=number)) for number in (1, 2, 3)]

    assert before == [True, True]
    assert after == [False, True]
    assert at_last == [False, False, True]


def test_only_histories_of_one_system_are_compared() -> None:
    """A replica of another system than the primary's says nothing of it."""
    timelines = Timelines()
    assert timelines.admits(_state(timeline=5))
    timelines.saw_replica(Position(8, 9, 1))

    assert timelines.admits(_state(timeline=5))
    assert timelines.admits(_state(timeline=1, system_id=9))
    assert not timelines.admits(_state(timeline=1, system_id=8))


def test_it_does_not_matter_who_is_asked_first() -> None:
    """A process that starts asks all servers at once, and a replica may answer before an old primary does."""
    timelines = Timelines()
    timelines.saw_replica(Position(_SYSTEM, 2, 1))

    assert not timelines.saw_primary(_state(timeline=1))
    assert not timelines.admits(_state(timeline=1))
    assert timelines.saw_primary(_state(timeline=2))
    assert timelines.admits(_state(timeline=2))


def test_a_standby_is_not_judged_here() -> None:
    """Whoever writes to it is told so by itself; nor is a server that cannot tell its position."""
    timelines = Timelines()
    assert timelines.admits(_state(timeline=5))

    assert timelines.admits(_state(timeline=1, is_standby=True))
    assert timelines.admits(None)


def test_behind_a_pooler_the_address_counts() -> None:
    """Connections stay while the pooler leads them to the old primary, and are good again when it does not."""
    timelines = Timelines()
    current, old = _state(timeline=2), _state(timeline=1)
    assert timelines.saw_primary(current)
    told = timelines.saw_primary(old)
    while_old = timelines.admits(current)

    assert not told
    assert not while_old
    # Whoever asks where the address leads can still connect to the right one.
    assert timelines.is_current(current)
    assert not timelines.is_current(old)
    assert timelines.saw_primary(current)
    assert timelines.admits(current)
