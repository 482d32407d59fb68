"""Looks at a service and its machine while a load runs: its metrics, its database, and who uses the processors."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import threading
import time
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

import attrs
import psutil
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.load.bottleneck import Interval
from benchmarks.usage import busy_seconds, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOK_SECONDS: Final = 5.0
_PERIOD_SECONDS: Final = 1.0

_ACTIVITY: Final = """
SELECT (SELECT sum(active_time) / 1000 FROM pg_stat_database WHERE datname = current_database()),
       (SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = 'Lock')
"""

_COUNTERS: Final = {
    ("userservice_http_request_seconds_count", ""): "requests",
    ("userservice_http_request_seconds_sum", ""): "in_flight",
    ("userservice_seconds_sum", "password_hash"): "hashing",
    ("userservice_seconds_sum", "hash_queue_wait"): "hash_waiting",
    ("userservice_seconds_sum", "database_pool_wait"): "pool_waiting",
}
_LEVELS: Final = {"outbox_records": "outbox_records", "outbox_oldest_age_seconds": "outbox_age"}


@attrs.frozen(kw_only=True)
class Look:
    """What was seen at one time: what only grows, and what is as it is."""

    at: float
    counters: Mapping[str, float]
    levels: Mapping[str, float]


def interval_between(before: Look, after: Look, *, began: float) -> Interval:
    """Return what happened between two looks; of a counter that began again, as after a restart, nothing is known."""
    seconds = after.at - before.at
    rates = {
        name: (value - before.counters[name]) / seconds
        for name, value in after.counters.items()
        if name in before.counters and value >= before.counters[name]
    }
    return Interval(at=after.at - began, **rates, **after.levels)


def read_metrics(page: str) -> tuple[dict[str, float], dict[str, float]]:
    """
    Read what matters here of a page in Prometheus' text format.

    What a service shows at all but has not counted yet is 0.
    """
    counters: dict[str, float] = {}
    levels: dict[str, float] = {}
    lines = "\n".join(line for line in page.splitlines() if "_bucket{" not in line)
    for family in text_string_to_metric_families(lines + "\n"):
        if family.name == "userservice_http_request_seconds":
            counters = {**dict.fromkeys(_COUNTERS.values(), 0.0), **counters}
        for sample in family.samples:
            what = sample.labels.get("what", "")
            if (counter := _COUNTERS.get((sample.name, what))) is not None:
                counters[counter] = counters.get(counter, 0.0) + sample.value
            elif sample.name == "userservice_level" and what in _LEVELS:
                levels[_LEVELS[what]] = sample.value
    return counters, levels


def listening_on(port: int) -> list[psutil.Process]:
    """Return the processes of this machine that serve *port*, without those whose parents do as well."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(
                one.laddr.port == port and one.status == psutil.CONN_LISTEN
                for one in process.net_connections(kind="tcp")
            ):
                found[process.pid] = process
    return [process for process in found.values() if process.ppid() not in found]


def port_here(url: str, *, usual: int) -> int | None:
    """Return the port of a URL that leads to this machine; None of others."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    with contextlib.suppress(ValueError):
        return (parts.port or usual) if ipaddress.ip_address(host).is_loopback else None
    return (parts.port or usual) if host == "localhost" else None


class Sampler:
    """
    Looks once a second, in a thread of its own, within its block.

    Args:
        metrics: Pages of metrics, those of relays as well; one that is not there tells nothing.
        dsn: Of the service's database, None if it may not be asked.
        parties: By the names of :class:`Interval`, the processes whose use of the processors is told, with all that
            they start; empty where they are not on this machine.
    """

    def __init__(
        self, *, metrics: Iterable[str], dsn: str | None, parties: Mapping[str, Iterable[psutil.Process]]
    ) -> None:
        self._metrics = tuple(metrics)
        self._parties = {name: tuple(processes) for name, processes in parties.items()}
        self._dsn = dsn
        self._database: psycopg.Connection | None = None
        self._looks: list[Look] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """What was seen so far."""
        looks = self._looks
        return tuple(
            interval_between(before, after, began=looks[0].at)
            for before, after in itertools.pairwise(looks)
            if after.at > before.at
        )

    def _run(self) -> None:
        is_last = False
        # The last look is after the end, so that what came of the last second is in it.
        while not is_last:
            is_last = self._ended.is_set()
            self._looks.append(self._look())
            self._ended.wait(_PERIOD_SECONDS)

    def _look(self) -> Look:
        at, counters, levels = time.monotonic(), {"machine": busy_seconds()}, dict[str, float]()
        for name, processes in self._parties.items():
            if processes:
                counters[name] = sum(_used_by(process) for process in processes)
        for url in self._metrics:
            with contextlib.suppress(OSError, ValueError):
                more, further = read_metrics(_page(url))
                for name, value in more.items():
                    counters[name] = counters.get(name, 0.0) + value
                levels.update(further)
        if self._database is not None:
            with contextlib.suppress(psycopg.Error):
                row = self._database.execute(_ACTIVITY).fetchone()
                assert row is not None
                counters["in_database"], levels["on_locks"] = float(row[0] or 0), float(row[1])
        return Look(at=at, counters=counters, levels=levels)


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_LOOK_SECONDS) as response:  # noqa: S310 - the operator says what is asked
        return str(response.read().decode())


def _used_by(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return seconds_of(process)
    return 0.0
