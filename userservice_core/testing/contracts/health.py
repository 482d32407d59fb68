"""What :mod:`userservice_core.ports.health` promises."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from userservice_core.ports.context import deadline_after
from userservice_core.testing.contracts.races import race

if TYPE_CHECKING:
    from userservice_core.ports.health import Health, Ping


class HealthContract:
    """For :class:`~userservice_core.ports.health.Health`."""

    @pytest.fixture
    def health(self) -> Health:
        """That of a process which can serve."""
        raise NotImplementedError("override this fixture")

    def test_a_process_that_can_serve_takes_requests(self, health: Health) -> None:
        """And none of its resources is in trouble."""
        report = health.report()

        assert report.status.takes_requests
        assert set(report.resources.values()) <= {"ok"}
        assert not health.is_draining

    def test_many_threads_are_told_the_same(self, health: Health) -> None:
        """From memory: thousands of reports are made in no time."""
        reports = race([lambda: [health.report() for _ in range(1_000)]] * 4)

        assert {report.status for part in reports if isinstance(part, list) for report in part} == {
            health.report().status
        }


class PingContract:
    """For :class:`~userservice_core.ports.health.Ping`."""

    @pytest.fixture
    def ping(self) -> Ping:
        """That of a resource which answers."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def lost(self) -> Ping:
        """That of a resource which does not."""
        raise NotImplementedError("override this fixture")

    def test_it_returns_if_the_resource_answers(self, ping: Ping) -> None:
        """As often as it is asked."""
        with deadline_after(10):
            ping.ping()
            ping.ping()

    def test_it_raises_within_the_deadline_if_not(self, lost: Ping) -> None:
        """Whatever error that is."""
        began = time.monotonic()

        with deadline_after(1), pytest.raises(Exception):  # noqa: B017, PT011 - any that there is
            lost.ping()

        assert time.monotonic() - began < 5

    def test_its_name_is_a_word(self, ping: Ping) -> None:
        """Since it is a member of an answer and a part of a metric's name."""
        assert ping.name.isidentifier()
