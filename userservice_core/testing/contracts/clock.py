"""What :mod:`userservice_core.ports.clock` promises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import RFC_4122, UUID

import pytest

from userservice_core.testing.contracts.races import race

if TYPE_CHECKING:
    from userservice_core.ports.clock import Clock, Entropy, IdGenerator


class ClockContract:
    """For :class:`~userservice_core.ports.clock.Clock`."""

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock."""
        raise NotImplementedError("override this fixture")

    def test_times_are_in_utc(self, clock: Clock) -> None:
        """And aware."""
        assert clock.now().utcoffset() == timedelta(0)


class IdGeneratorContract:
    """For :class:`~userservice_core.ports.clock.IdGenerator`."""

    @pytest.fixture
    def ids(self) -> IdGenerator:
        """The generator."""
        raise NotImplementedError("override this fixture")

    def test_ids_are_of_version_7(self, ids: IdGenerator) -> None:
        """RFC 9562 §5.7."""
        new = ids.new()

        assert type(new) is UUID
        assert (new.version, new.variant) == (7, RFC_4122)

    def test_later_ids_sort_after_earlier_ones(self, ids: IdGenerator) -> None:
        """However fast they come."""
        made = [ids.new() for _ in range(5_000)]

        assert sorted(made) == made
        assert len(set(made)) == 5_000

    def test_many_threads_share_a_generator(self, ids: IdGenerator) -> None:
        """No id comes twice."""
        made = race([lambda: [ids.new() for _ in range(1_000)]] * 4)

        assert len({each for part in made if isinstance(part, list) for each in part}) == 4_000


class EntropyContract:
    """For :class:`~userservice_core.ports.clock.Entropy`."""

    @pytest.fixture
    def entropy(self) -> Entropy:
        """The source."""
        raise NotImplementedError("override this fixture")

    @pytest.mark.parametrize("length", [0, 1, 12, 32, 1000])
    def test_as_many_bytes_come_as_were_asked_for(self, entropy: Entropy, length: int) -> None:
        """None if none were."""
        assert len(entropy.token_bytes(length)) == length

    def test_bytes_do_not_repeat(self, entropy: Entropy) -> None:
        """Whoever asks."""
        made = race([lambda: [entropy.token_bytes(16) for _ in range(100)]] * 4)

        assert len({each for part in made if isinstance(part, list) for each in part}) == 400
