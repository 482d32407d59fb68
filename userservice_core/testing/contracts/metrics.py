"""What :mod:`userservice_core.ports.metrics` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from userservice_core.testing.contracts.races import race

if TYPE_CHECKING:
    from userservice_core.ports.metrics import Metrics


class MetricsContract:
    """For :class:`~userservice_core.ports.metrics.Metrics`."""

    @pytest.fixture
    def metrics(self) -> Metrics:
        """Where nothing was counted yet."""
        raise NotImplementedError("override this fixture")

    def _use(self, metrics: Metrics) -> None:
        finish = metrics.request_began("login")
        with metrics.timing("password_hash"):
            metrics.count("sign_in", outcome="invalid-credentials", times=2)
        metrics.gauge("outbox_records", 3)
        finish(200)

    def test_everything_is_rendered(self, metrics: Metrics) -> None:
        """As lines of text, used or not."""
        for _ in range(2):
            text, content_type = metrics.render()
            assert content_type.startswith("text/plain")
            assert text == b"" or text.endswith(b"\n")
            self._use(metrics)

    def test_what_is_timed_may_fail(self, metrics: Metrics) -> None:
        """The error is the caller's, as it was."""
        with pytest.raises(ZeroDivisionError), metrics.timing("password_hash"):
            raise ZeroDivisionError

    def test_any_name_may_be_measured(self, metrics: Metrics) -> None:
        """Measuring never fails."""
        for name in ("unmatched", "with-hyphen", "é", "", 'a"b\\', "line\nbreak"):
            metrics.request_began(name)(599)
            metrics.count(name, outcome=name)
            metrics.gauge(name, -1.5)
            with metrics.timing(name):
                pass
        metrics.render()

    def test_many_threads_share_it(self, metrics: Metrics) -> None:
        """While others read."""

        def use() -> None:
            for _ in range(50):
                self._use(metrics)

        def read() -> None:
            for _ in range(20):
                metrics.render()

        assert race([use, use, use, read]) == [None] * 4
