"""Measurements that a test can look at, and those that nobody looks at."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class InMemoryMetrics:
    """
    A :class:`~userservice_core.ports.metrics.Metrics` in dicts.

    Attributes:
        requests: How many, by operation and status.
        counts: How many, by what and outcome.
        gauges: The last value, by what.
        seconds: Every duration, by what.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.gauges: dict[str, float] = {}
        self.seconds: dict[str, list[float]] = {}

    def request_began(self, operation: str) -> Callable[[int], None]:
        began = time.perf_counter()

        def finish(status: int) -> None:
            with self._lock:
                self.requests[operation, status] += 1
                self.seconds.setdefault(operation, []).append(time.perf_counter() - began)

        return finish

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds.setdefault(what, []).append(time.perf_counter() - began)

    def count(self, what: str, *, outcome: str = "ok", times: int = 1) -> None:
        with self._lock:
            self.counts[what, outcome] += times

    def gauge(self, what: str, value: float) -> None:
        self.gauges[what] = value

    def render(self) -> tuple[bytes, str]:
        with self._lock:
            lines = [
                *(f'requests{{operation="{name}",status="{code}"}} {n}' for (name, code), n in self.requests.items()),
                *(f'{what}{{outcome="{outcome}"}} {n}' for (what, outcome), n in self.counts.items()),
                *(f"{what} {value}" for what, value in self.gauges.items()),
            ]
        return "".join(f"{line}\n" for line in sorted(lines)).encode(), _CONTENT_TYPE


class NullMetrics:
    """A :class:`~userservice_core.ports.metrics.Metrics` that forgets; for whoever operates nothing."""

    def request_began(self, operation: str) -> Callable[[int], None]:
        del operation
        return _forget

    def timing(self, what: str) -> AbstractContextManager[None]:
        del what
        return nullcontext()

    def count(self, what: str, *, outcome: str = "ok", times: int = 1) -> None:
        """Forget it."""

    def gauge(self, what: str, value: float) -> None:
        """Forget it."""

    def render(self) -> tuple[bytes, str]:
        return b"", _CONTENT_TYPE


def _forget(status: int) -> None:
    del status
