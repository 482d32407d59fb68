"""Metrics for Prometheus: of this process, or of all worker processes of a server together."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server, values
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from userservice_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from prometheus_client import Metric

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where processes keep their metrics so that one answers for all."""

MAX_LABELS: Final = 500
OTHER: Final = "other"
"""Stands for whatever comes after so many different labels: their number is memory, here and in Prometheus."""

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STATUSES: Final = range(100, 600)


class PrometheusMetrics:
    """
    Implements :class:`~userservice_core.ports.metrics.Metrics`.

    | metric | labels |
    | --- | --- |
    | `userservice_http_requests_total` | operation, status |
    | `userservice_http_request_seconds` (histogram) | operation |
    | `userservice_seconds` (histogram) | what: `password_hash`, `uow_commit`, … |
    | `userservice_occurrences_total` | what, outcome |
    | `userservice_level` | what: `resource_up_database`, … |
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter(
            "userservice_http_requests", "Requests answered.", ("operation", "status"), registry=registry
        )
        self._request_seconds = Histogram(
            "userservice_http_request_seconds",
            "From the request's arrival to its answer.",
            ("operation",),
            registry=registry,
            buckets=_SECONDS,
        )
        self._seconds = Histogram(
            "userservice_seconds", "How long something took.", ("what",), registry=registry, buckets=_SECONDS
        )
        self._occurrences = Counter(
            "userservice_occurrences", "How often something happened.", ("what", "outcome"), registry=registry
        )
        self._level = Gauge(
            "userservice_level", "How much there is.", ("what",), registry=registry, multiprocess_mode="livemostrecent"
        )
        self._labels = _Labels()

    def request_began(self, operation: str) -> Callable[[int], None]:
        began = time.perf_counter()
        label = self._labels.bounded(operation)

        def finish(status: int) -> None:
            self._request_seconds.labels(label).observe(time.perf_counter() - began)
            self._requests.labels(label, str(status) if status in _STATUSES else OTHER).inc()

        return finish

    def timing(self, what: str) -> AbstractContextManager[None]:
        return self._timed(self._labels.bounded(what))

    def count(self, what: str, *, outcome: str = "ok", times: int = 1) -> None:
        self._occurrences.labels(self._labels.bounded(what), self._labels.bounded(outcome)).inc(times)

    def gauge(self, what: str, value: float) -> None:
        self._level.labels(self._labels.bounded(what)).set(value)

    def render(self) -> tuple[bytes, str]:
        folder = os.environ.get(FOLDER_VARIABLE)
        return generate_latest(self._registry if folder is None else _of_all_processes(folder)), CONTENT_TYPE_LATEST

    @contextmanager
    def _timed(self, label: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(label).observe(time.perf_counter() - began)


class _Labels:
    """Passes labels on until there are too many different ones."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def bounded(self, label: str) -> str:
        if label in self._seen:
            return label
        with self._lock:
            if len(self._seen) >= MAX_LABELS:
                return OTHER
            self._seen.add(label)
        return label


def _of_all_processes(folder: str) -> CollectorRegistry:
    registry = CollectorRegistry()
    _ProcessesCollector(registry, path=folder)
    return registry


class _ProcessesCollector(MultiProcessCollector):
    """What processes that have ended counted stays counted; how much there was of something in them does not."""

    def __init__(self, registry: CollectorRegistry, *, path: str) -> None:
        super().__init__(registry, path=path)  # type: ignore[no-untyped-call]
        self._folder = Path(path)

    def collect(self) -> Iterable[Metric]:
        # Here, not when a worker ends: one that was killed tells nobody.
        for levels in self._folder.glob("gauge_live*_*.db"):
            if not _is_running(int(levels.stem.rpartition("_")[2])):
                levels.unlink(missing_ok=True)
        merged: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
        return merged


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def serve_metrics(folder: Path, *, host: str, port: int) -> Iterator[int]:
    """
    Serve, on a port of their own, the metrics of the processes that are started within the block.

    Args:
        folder: Where they keep their metrics; what an earlier run left there is removed.
        host: Address to listen on; metrics are for operators, so it is not the public one.
        port: 0 for any free one.

    Yields:
        The port.

    Raises:
        ConfigurationError: If the folder cannot be written or another process keeps its metrics there, or the port
            cannot be used.
    """
    with _owned(folder):
        try:
            server, thread = start_http_server(port, addr=host, registry=_of_all_processes(str(folder)))
        except OSError as error:
            problem = f"metrics cannot be served on {host} port {port} ({error.strerror})"
            raise ConfigurationError((problem,)) from error
        try:
            with _kept_in(folder):
                yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """
    Have *folder*, emptied, to this process and those that it starts, within the block.

    The lock is the process's own (POSIX `fcntl`): it ends with it, also where workers that it has forked live on.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((folder / "lock").open("w"))
            if not _is_taken(lock):
                problem = f"another process keeps its metrics in {folder}; give each a USERSERVICE_DATA_DIR of its own"
                raise ConfigurationError((problem,))
            for old in folder.glob("*.db"):
                old.unlink()
        except OSError as error:
            raise ConfigurationError((f"metrics cannot be kept in {folder} ({error.strerror})",)) from error
        yield


def _is_taken(lock: IO[str]) -> bool:
    """Lock a file for this process, and tell whether no other has it."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """
    Have the processes that are started within the block keep their metrics in *folder*.

    One that is forked has prometheus_client loaded already, which chose where to keep values when it was imported here.
    """
    before = os.environ.get(FOLDER_VARIABLE)
    os.environ[FOLDER_VARIABLE] = str(folder)
    value_class, values.ValueClass = values.ValueClass, values.get_value_class()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        values.ValueClass = value_class
        if before is None:
            del os.environ[FOLDER_VARIABLE]
        else:
            os.environ[FOLDER_VARIABLE] = before
