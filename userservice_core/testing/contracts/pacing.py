"""What :mod:`userservice_core.ports.pacing` promises."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from userservice_core.ports.context import BeyondMemoryError, CallContext, call_context
from userservice_core.testing.contracts.races import race

if TYPE_CHECKING:
    from userservice_core.ports.pacing import Pacer


class PacerContract:
    """For :class:`~userservice_core.ports.pacing.Pacer`."""

    @pytest.fixture
    def pacer(self) -> Pacer:
        """One that has seen nothing yet."""
        raise NotImplementedError("override this fixture")

    def test_time_goes_forward(self, pacer: Pacer) -> None:
        """So that what has passed can be told."""
        assert pacer.start() <= pacer.start()

    def test_what_is_faster_than_usual_is_held(self, pacer: Pacer) -> None:
        """Until it has taken as long."""
        for _ in range(20):
            pacer.hold("sample", since=pacer.start() - 0.004)
        since = pacer.start()

        pacer.hold("sample", since=since)

        assert pacer.start() - since >= 0.0039

    def test_a_call_that_may_not_wait_is_not_held(self, pacer: Pacer) -> None:
        """It is told so, however long it took."""
        with call_context(CallContext(may_wait=False)), pytest.raises(BeyondMemoryError):
            pacer.hold("sample", since=pacer.start())

    def test_the_wait_is_bounded(self, pacer: Pacer) -> None:
        """However long the others took, and from many threads at once."""
        for _ in range(20):
            pacer.hold("sample", since=pacer.start() - 3_600)
        began = time.monotonic()

        race([lambda: pacer.hold("sample", since=pacer.start())] * 8)

        assert time.monotonic() - began < 60
