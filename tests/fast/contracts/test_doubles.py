"""The contracts over the doubles that are shipped for tests, and what is theirs alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from userservice_core.errors import DeadlineExceededError, OverloadedError
from userservice_core.testing.clocks import NOON, FakeClock, SeededEntropy, SequentialIds
from userservice_core.testing.contracts.clock import ClockContract, EntropyContract, IdGeneratorContract
from userservice_core.testing.contracts.passwords import PasswordHasherContract
from userservice_core.testing.passwords import FakePasswordHasher


class TestFakeClock(ClockContract):
    """A clock that a test moves."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """At two in the afternoon, somewhere east of Greenwich."""
        return FakeClock(datetime(2026, 6, 1, 14, tzinfo=timezone(timedelta(hours=2))))


class TestSequentialIds(IdGeneratorContract):
    """Ids that a test can tell in advance."""

    @pytest.fixture
    def ids(self) -> SequentialIds:
        """From the beginning."""
        return SequentialIds()


class TestSeededEntropy(EntropyContract):
    """Bytes that a test can tell in advance."""

    @pytest.fixture
    def entropy(self) -> SeededEntropy:
        """From the beginning."""
        return SeededEntropy()


class TestFakePasswordHasher(PasswordHasherContract):
    """Hashes that cost nothing."""

    @pytest.fixture
    def hasher(self) -> FakePasswordHasher:
        """One that works."""
        return FakePasswordHasher()

    @pytest.fixture
    def full_hasher(self) -> FakePasswordHasher:
        """One that is told to refuse."""
        hasher = FakePasswordHasher()
        hasher.failure = OverloadedError()
        return hasher

    @pytest.fixture
    def busy_hasher(self) -> FakePasswordHasher:
        """One that is told to give up."""
        hasher = FakePasswordHasher()
        hasher.failure = DeadlineExceededError()
        return hasher

    @pytest.fixture
    def outdated_hash(self) -> str:
        """A hash of another version."""
        return FakePasswordHasher(version=0).hash("password")


def test_a_fake_clock_stands_still_until_it_is_moved() -> None:
    """By a time or to one."""
    clock = FakeClock()

    assert clock.now() == clock.now() == NOON
    assert clock.advance(timedelta(seconds=1.5)) == clock.now() == NOON + timedelta(seconds=1.5)
    clock.set(datetime(2027, 1, 1, tzinfo=UTC))
    assert clock.now() == datetime(2027, 1, 1, tzinfo=UTC)


def test_sequential_ids_are_the_same_in_each_run() -> None:
    """And those of another series are others."""
    first, second, other = SequentialIds(), SequentialIds(), SequentialIds(series=4095)

    assert [first.new() for _ in range(3)] == [second.new() for _ in range(3)]
    assert other.new() not in {SequentialIds().new(), SequentialIds(series=1).new()}
    for series in (-1, 4096):
        with pytest.raises(ValueError, match="between 0 and 4095"):
            SequentialIds(series=series)


def test_seeded_entropy_is_the_same_in_each_run() -> None:
    """Another seed gives other bytes."""
    assert SeededEntropy(7).token_bytes(32) == SeededEntropy(7).token_bytes(32)
    assert SeededEntropy(7).token_bytes(32) != SeededEntropy(8).token_bytes(32)


def test_a_fake_hasher_counts_its_work() -> None:
    """So that a test sees that two ways cost the same."""
    hasher = FakePasswordHasher()
    password_hash = hasher.hash("password")

    for ask in (
        lambda: hasher.verify(password_hash, "password"),
        lambda: hasher.verify(password_hash, "other"),
        lambda: hasher.verify("unreadable", "password"),
        lambda: hasher.verify_nobody("password"),
    ):
        before = hasher.work
        ask()
        assert hasher.work == before + 1
