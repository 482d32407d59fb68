"""A plan in words and numbers, and as plots."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from userservice_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from userservice_core.capacity.plan import Plan


def document_of(plan: Plan) -> dict[str, Any]:
    """Return *plan* without its simulated day, for programs."""
    law = plan.measured.law
    return {
        "workProcessors": round(plan.work, 3),
        "pods": attrs.asdict(plan.pods),
        "autoscaler": {"least": plan.specification.least, "most": plan.specification.most},
        "database": attrs.asdict(plan.database),
        "events": attrs.asdict(plan.events),
        "scalingLaw": {"one": law.one, "contention": law.contention, "coherency": law.coherency},
        "day": attrs.asdict(plan.summary),
        "cost": attrs.asdict(plan.cost),
    }


def lines_of(plan: Plan) -> Iterator[str]:
    """Yield *plan* for people."""
    for name, texts in _parts_of(plan):
        for index, text in enumerate(texts):
            yield f"{'' if index else name:<14}{text}"


def _parts_of(plan: Plan) -> Iterator[tuple[str, tuple[str, ...]]]:
    pods, database, events, day, law = plan.pods, plan.database, plan.events, plan.summary, plan.measured.law
    best = "no number of workers is too many" if math.isinf(law.best_units) else f"best at {law.best_units:.0f} workers"
    yield "Work", (f"{plan.work:.2f} processors busy at the height of a usual day",)
    yield "Scaling law", (f"contention {law.contention:.4f}, coherency {law.coherency:.6f}; {best}",)
    yield (
        "Pods",
        (
            f"{pods.day} at the height of a usual day, {pods.sale} at that of a sale, one of them to spare",
            f"{pods.processors:g} processors and {pods.memory_mib} MiB each, USERSERVICE_WORKERS={pods.workers}",
        ),
    )
    aim = f"{plan.target.utilization:.0%} of the processor, {pods.requests_per_second:.0f} requests a second and pod"
    yield "Autoscaler", (f"{plan.specification.least} to {plan.specification.most} pods at {aim}",)
    size = f"{database.processors} processors, {database.size_gib:.1f} GiB, max_connections={database.max_connections}"
    busy = f"{database.busy_connections:.1f} connections busy at the height"
    yield "Database", (size, f"{busy}, USERSERVICE_DATABASE_POOL_SIZE={database.pool_size}")
    yield "PgBouncer", (", ".join(f"{name}={value}" for name, value in database.pgbouncer.items()),)
    yield (
        "Events",
        (f"{events.relays} relays, {events.partitions} partitions, {events.consumers} consumers of a group",),
    )
    changes = f"{day.most_replicas} pods at most, {day.changes} changes"
    yield (
        "A day",
        (
            f"{day.requests:,.0f} requests, {day.pod_hours:.0f} pod hours, {changes}",
            f"{day.refused_share:.3%} of the requests refused, {day.slow_share:.3%} slow",
        ),
    )
    cost = plan.cost
    yield "Cost", (f"{cost.per_month:,.2f} a month, {cost.per_million_requests:,.2f} for a million requests",)


def plot(plan: Plan, folder: Path) -> list[Path]:
    """
    Draw the simulated day, and how workers add up, into *folder* as SVG files.

    Raises:
        ConfigurationError: If the extra `plots` is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        problem = "matplotlib is not installed: install userservice with the extra plots"
        raise ConfigurationError((problem,)) from error
    folder.mkdir(parents=True, exist_ok=True)
    hours = [moment.at_seconds / 3600 for moment in plan.moments]
    day = Figure(figsize=(10, 9), layout="constrained")
    rates, replicas, waits, refused = day.subplots(4, 1, sharex=True)
    rates.plot(hours, [moment.rate for moment in plan.moments])
    rates.set_ylabel("requests a second")
    replicas.step(hours, [moment.replicas for moment in plan.moments], where="post", label="wanted")
    replicas.step(hours, [moment.ready for moment in plan.moments], where="post", linestyle=":", label="ready")
    replicas.set_ylabel("pods")
    replicas.legend()
    waits.plot(hours, [moment.latency_seconds * 1000 for moment in plan.moments])
    waits.set_ylabel("latency of 99 of 100, ms")
    refused.plot(hours, [moment.refused for moment in plan.moments])
    refused.set_ylabel("refused a second")
    refused.set_xlabel("hour of the day")
    law = plan.measured.law
    scaling = Figure(figsize=(6, 4), layout="constrained")
    axes = scaling.subplots()
    units = range(1, max(8, 2 * plan.specification.most * plan.pods.workers) + 1)
    axes.plot(units, [law.throughput(each) / law.one for each in units], label="universal scalability law")
    axes.plot(units, list(units), linestyle=":", label="linear")
    axes.set_xlabel("workers")
    axes.set_ylabel("throughput of one")
    axes.legend()
    files = [folder / "capacity-day.svg", folder / "capacity-scaling.svg"]
    for figure, file in zip((day, scaling), files, strict=True):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return files
