"""From what was measured and what is wanted to what is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import attrs

from userservice_core.capacity import autoscaler as hpa
from userservice_core.capacity.queueing import Service, waiting_seconds
from userservice_core.capacity.results import Measured
from userservice_core.capacity.simulation import (
    DAY_SECONDS,
    AutoscalerMetrics,
    Moment,
    PodModel,
    Summary,
    day_of,
    simulate,
    summarize,
)
from userservice_core.capacity.target import Target
from userservice_core.config import HASHING_COSTS, HashingProfile
from userservice_core.errors import ConfigurationError

_STEP_SECONDS: Final = 5
_MOST_PODS: Final = 10_000
_HOURS_OF_A_MONTH: Final = 730.0
_GIB: Final = 2.0**30
_PARTITIONS: Final = 24
"""Of a topic by default, and never raised in place."""

_BUSY: Final = 0.7
"""Share of what a relay or a consumer can do that is planned for: the rest is for catching up after an outage."""

_MEMORY_RESERVE: Final = 1.25
_BLOAT: Final = 1.5
"""What tables and indexes take beyond their rows as freshly written, once rows have been updated for a while."""

_DIRECT_CONNECTIONS: Final = 2
"""Of a worker or relay past the pooler: one that listens and one that notifies."""

_ADMINISTRATION: Final = 10
"""Connections for people, migrations, backups and exporters."""


@attrs.frozen(kw_only=True)
class Pods:
    """
    The pods that serve.

    Attributes:
        day: That the height of a usual day takes, one of them to spare.
        sale: That the height of the sale takes, the same; as `day` without a sale.
        workers: Of each, `USERSERVICE_WORKERS`.
        processors: That each asks for.
        memory_mib: The same.
        requests_per_second: That each is to carry at the autoscaler's target.
    """

    day: int
    sale: int
    workers: int
    processors: float
    memory_mib: int
    requests_per_second: float


@attrs.frozen(kw_only=True)
class Database:
    """
    The primary, and the pooler in front of it.

    Attributes:
        processors: At the height, sale included, less what the settings leave free.
        busy_connections: On average at the height.
        pool_size: `USERSERVICE_DATABASE_POOL_SIZE` of each worker.
        pgbouncer: `default_pool_size` and `max_client_conn`.
        max_connections: Of PostgreSQL.
        size_gib: On disk.
    """

    processors: int
    busy_connections: float
    pool_size: int
    pgbouncer: Mapping[str, int]
    max_connections: int
    size_gib: float


@attrs.frozen(kw_only=True)
class Events:
    """The way of the events: relays, partitions of the busiest topic, consumers of one group."""

    relays: int
    partitions: int
    consumers: int


@attrs.frozen(kw_only=True)
class Cost:
    """In the currency of the prices."""

    per_month: float
    per_million_requests: float


@attrs.frozen(kw_only=True)
class Plan:
    """
    What an installation needs.

    Attributes:
        work: Processors that the height of a usual day keeps busy.
        moments: The simulated day.
        step_seconds: Of each.
    """

    target: Target
    measured: Measured
    work: float
    pods: Pods
    database: Database
    events: Events
    specification: hpa.Specification
    summary: Summary
    cost: Cost
    moments: list[Moment] = attrs.field(repr=False)
    step_seconds: int = _STEP_SECONDS

    @classmethod
    def make(cls, measured: Measured, target: Target) -> Plan:
        """
        Plan for *target* by what was *measured*.

        Raises:
            ConfigurationError: If no number of pods carries it.
        """
        parts = [(rate, measured.processor_seconds[name]) for name, rate in target.requests.items() if rate > 0]
        service = Service.of_mix(parts)
        rate = sum(rate for rate, _ in parts)
        factor = target.sale.factor if target.sale else 1.0
        pods = _pods(measured, target, service, rate)
        specification = hpa.Specification(least=target.least, most=max(target.least, target.most or pods.sale))
        moments = simulate(
            day_of(peak=rate, night=target.night, sale=target.sale, step_seconds=_STEP_SECONDS),
            step_seconds=_STEP_SECONDS,
            pod=PodModel(
                processors=target.pod_processors,
                service=service,
                start_seconds=target.schedule_seconds + measured.start_seconds,
                longest_wait_seconds=target.longest_wait_seconds,
            ),
            specification=specification,
            metrics=AutoscalerMetrics(utilization=target.utilization, rate=pods.requests_per_second),
            law=measured.law,
        )
        summary = summarize(moments, step_seconds=_STEP_SECONDS, wanted_wait_seconds=target.wait_seconds)
        events = _events(measured, target, factor)
        database = _database(measured, target, factor, pods, events, most=specification.most)
        return cls(
            target=target,
            measured=measured,
            work=rate * service.mean_seconds,
            pods=pods,
            database=database,
            events=events,
            specification=specification,
            summary=summary,
            cost=_cost(target, summary, pods, database),
            moments=moments,
        )


def _pods(measured: Measured, target: Target, service: Service, rate: float) -> Pods:
    workers = max(1, math.floor(target.pod_processors))
    hashes = workers * max(1, math.floor(target.pod_processors) // workers)
    hash_mib = HASHING_COSTS[HashingProfile.DEFAULT].memory_kib / 1024
    memory = (workers * measured.worker_mib + hashes * hash_mib) * _MEMORY_RESERVE
    factor = target.sale.factor if target.sale else 1.0
    day = _pods_for(measured, target, service, rate)
    return Pods(
        day=day + 1,
        sale=_pods_for(measured, target, service, rate * factor) + 1,
        workers=workers,
        processors=target.pod_processors,
        memory_mib=math.ceil(memory / 16) * 16,
        requests_per_second=target.utilization * target.pod_processors / service.mean_seconds,
    )


def _pods_for(measured: Measured, target: Target, service: Service, rate: float) -> int:
    """
    Return how many pods carry *rate* at the wanted utilization, with waits as short as wanted.

    Raises:
        ConfigurationError: If no number of them does.
    """
    pods = max(1, math.ceil(rate * service.mean_seconds / target.pod_processors))
    while pods * target.pod_processors <= max(1.0, measured.law.best_units) and pods <= _MOST_PODS:
        efficiency = measured.law.efficiency(max(1.0, pods * target.pod_processors))
        servers = max(1, round(pods * target.pod_processors))
        lost = servers / (pods * target.pod_processors) / efficiency
        slowed = attrs.evolve(service, mean_seconds=service.mean_seconds * lost)
        is_calm = rate * slowed.mean_seconds <= servers * target.utilization
        if is_calm and waiting_seconds(servers, rate, slowed, quantile=0.99) <= target.wait_seconds:
            return pods
        pods += 1
    problem = f"no number of pods carries {rate:,.0f} requests a second: past some, more do less"
    raise ConfigurationError((problem,))


def _database(measured: Measured, target: Target, factor: float, pods: Pods, events: Events, *, most: int) -> Database:
    work = factor * sum(rate * measured.database_processor_seconds[name] for name, rate in _asked(target))
    busy = factor * sum(rate * measured.database_seconds[name] for name, rate in _asked(target))
    pooled = _staffed(busy)
    pool_size = min(200, _staffed(busy / (most * pods.workers)))
    workers = most * pods.workers
    direct = workers * _DIRECT_CONNECTIONS + events.relays * (_DIRECT_CONNECTIONS + 1)
    return Database(
        processors=max(2, math.ceil(work / target.database_utilization)),
        busy_connections=busy,
        pool_size=pool_size,
        pgbouncer={
            "default_pool_size": pooled,
            "max_client_conn": workers * pool_size + events.relays * pool_size + _ADMINISTRATION,
        },
        max_connections=pooled + direct + _ADMINISTRATION,
        size_gib=target.users * measured.user_bytes * _BLOAT / _GIB + target.retained_gib,
    )


def _asked(target: Target) -> list[tuple[str, float]]:
    return [(name, rate) for name, rate in target.requests.items() if rate > 0]


def _staffed(busy: float) -> int:
    """Return connections for *busy* ones on average, with three times the square root to spare (square-root rule)."""
    return max(4, math.ceil(busy + 3 * math.sqrt(busy)))


def _events(measured: Measured, target: Target, factor: float) -> Events:
    events = target.events * factor
    consumers = max(2, math.ceil(events / (measured.consumer_events * _BUSY)))
    relays = max(2, math.ceil(events / (measured.relay_events * _BUSY)))
    # Twice as many as consumers, since the number can never be raised in place.
    partitions = max(_PARTITIONS, math.ceil(2 * consumers / 12) * 12)
    return Events(relays=relays, partitions=partitions, consumers=consumers)


def _cost(target: Target, summary: Summary, pods: Pods, database: Database) -> Cost:
    prices = target.prices
    pod_hour = pods.processors * prices.processor_hour + pods.memory_mib / 1024 * prices.memory_gib_hour
    days = _HOURS_OF_A_MONTH * 3600 / DAY_SECONDS
    month = (
        summary.pod_hours * days * pod_hour
        + database.processors * prices.database_processor_hour * _HOURS_OF_A_MONTH
        + database.size_gib * prices.storage_gib_month
        + prices.fixed_month
    )
    return Cost(per_month=month, per_million_requests=month / (summary.requests * days) * 1e6)
