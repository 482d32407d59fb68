"""Time, ids and entropy of the machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest

from userservice_core.infrastructure.system.clock import SystemClock, SystemEntropy, Uuid7Generator


@pytest.mark.asvs("16.2.2")
def test_now_is_aware_and_in_utc() -> None:
    """It is the machine's time."""
    before, now, after = datetime.now(UTC), SystemClock().now(), datetime.now(UTC)

    assert before <= now <= after
    assert now.utcoffset() == timedelta(0)


def test_ids_are_version_7_of_the_present() -> None:
    """The standard library's type, with the time in its first 48 bits (RFC 9562 §5.7)."""
    before = datetime.now(UTC)
    made = Uuid7Generator().new()

    assert type(made) is UUID
    assert (made.version, made.variant) == (7, RFC_4122)
    assert abs((made.int >> 80) / 1000 - before.timestamp()) < 60


def test_later_ids_sort_after_earlier_ones() -> None:
    """Also within one millisecond."""
    ids = Uuid7Generator()
    made = [ids.new() for _ in range(20_000)]

    assert made == sorted(set(made))


def test_ids_of_many_threads_differ_and_stay_in_order_within_each() -> None:
    """One generator serves all threads."""
    ids = Uuid7Generator()

    def several() -> list[UUID]:
        return [ids.new() for _ in range(2_000)]

    with ThreadPoolExecutor(8) as pool:
        runs = [future.result() for future in [pool.submit(several) for _ in range(8)]]

    assert all(run == sorted(run) for run in runs)
    assert len(set().union(*runs)) == 16_000


@pytest.mark.asvs("11.5.1")
def test_entropy_has_the_length_asked_for_and_differs() -> None:
    """None of it is ever the same."""
    entropy = SystemEntropy()

    assert [len(entropy.token_bytes(length)) for length in (0, 1, 32)] == [0, 1, 32]
    assert entropy.token_bytes(32) != entropy.token_bytes(32)
