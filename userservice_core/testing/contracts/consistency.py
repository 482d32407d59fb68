"""What :mod:`userservice_core.ports.consistency` promises."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from userservice_core.ports.consistency import UNKNOWN_OFFSET, Position

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.ports.consistency import PositionMemory, PositionSigner, PositionSource

_NO_RESET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
_SOMEWHERE: Final = Position(2**64 - 1, 7, 2**40)

positions: Final = st.builds(
    Position, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, UNKNOWN_OFFSET)
)
"""All that a server could say."""


class PositionSignerContract:
    """For :class:`~userservice_core.ports.consistency.PositionSigner`."""

    @pytest.fixture
    def signer(self) -> PositionSigner:
        """One with a key ring of its own."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def successor_ring(self) -> PositionSigner:
        """One with the ring of *signer* and a newer key in it."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def stranger(self) -> PositionSigner:
        """One with another key ring."""
        raise NotImplementedError("override this fixture")

    @given(position=positions)
    @_NO_RESET
    def test_what_was_signed_comes_back(self, signer: PositionSigner, position: Position) -> None:
        """As it was, in text that a header and a cookie hold as it is."""
        token = signer.sign(position)

        assert signer.verify(token) == position
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,200}", token)

    @given(data=st.data())
    @_NO_RESET
    def test_a_change_is_noticed(self, signer: PositionSigner, data: st.DataObject) -> None:
        """Of any character."""
        token = signer.sign(_SOMEWHERE)
        place = data.draw(st.integers(0, len(token) - 1))
        character = data.draw(st.characters(codec="ascii").filter(lambda other: other != token[place]))

        assert signer.verify(f"{token[:place]}{character}{token[place + 1 :]}") is None

    @pytest.mark.parametrize("token", ["", ".", "..", "p1", "p1..", "é", "p1.é.é", "\x00", "p1.AAAA.AAAA"])
    def test_what_is_none_of_ours_is_refused(self, signer: PositionSigner, token: str) -> None:
        """Whatever it is."""
        assert signer.verify(token) is None

    def test_a_newer_key_does_not_end_it(self, signer: PositionSigner, successor_ring: PositionSigner) -> None:
        """While the old one is in the ring."""
        assert successor_ring.verify(signer.sign(_SOMEWHERE)) == _SOMEWHERE

    def test_others_cannot_make_it(self, signer: PositionSigner, stranger: PositionSigner) -> None:
        """A tag under another key is none."""
        assert signer.verify(stranger.sign(_SOMEWHERE)) is None


class PositionSourceContract:
    """For :class:`~userservice_core.ports.consistency.PositionSource`."""

    @pytest.fixture
    def source(self) -> PositionSource:
        """One whose primary answers."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def write(self) -> Callable[[], object]:
        """Commit something on that primary."""
        raise NotImplementedError("override this fixture")

    def test_a_write_moves_it_on(self, source: PositionSource, write: Callable[[], object]) -> None:
        """In the same history."""
        before = source.current()
        write()
        after = source.current()

        assert after.includes(before)
        assert not before.includes(after)


class PositionMemoryContract:
    """For :class:`~userservice_core.ports.consistency.PositionMemory`."""

    @pytest.fixture
    def memory(self) -> PositionMemory:
        """One that keeps what it is told for half a second."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def wait(self) -> Callable[[float], None]:
        """Let this many seconds pass."""
        return time.sleep

    def test_each_writer_has_their_own(self, memory: PositionMemory) -> None:
        """And nobody has one before they wrote."""
        other = attrs.evolve(_SOMEWHERE, offset=1)
        memory.remember("one", _SOMEWHERE)
        memory.remember("other", other)

        assert [memory.recall(writer) for writer in ("one", "other", "third")] == [_SOMEWHERE, other, None]

    def test_one_that_is_further_on_stays(self, memory: PositionMemory) -> None:
        """Two requests may end in another order than they wrote; another history is another beginning."""
        earlier = attrs.evolve(_SOMEWHERE, offset=9)
        later_history = attrs.evolve(_SOMEWHERE, timeline=10, offset=1)
        other_system = Position(1, 1, 1)
        expected = [_SOMEWHERE, _SOMEWHERE, later_history, later_history, other_system]
        found = []
        for position in (_SOMEWHERE, earlier, later_history, _SOMEWHERE, other_system):
            memory.remember("one", position)
            found.append(memory.recall("one"))

        assert found == expected

    def test_it_is_forgotten_when_it_matters_no_more(
        self, memory: PositionMemory, wait: Callable[[float], None]
    ) -> None:
        """By then all replicas that serve have it."""
        memory.remember("one", _SOMEWHERE)
        wait(0.6)

        assert memory.recall("one") is None
