"""What benchmarks measured, as a file of results has it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from userservice_core.capacity.scaling_law import ScalingLaw
from userservice_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSOR_TIME: Final = "planning-processor-"
DATABASE_PROCESSOR_TIME: Final = "planning-database-processor-"
DATABASE_TIME: Final = "planning-database-time-"
EVENTS_OF_A_RELAY: Final = "planning-relay"
EVENTS_OF_A_CONSUMER: Final = "planning-consumer"
MEMORY_OF_A_WORKER: Final = "planning-worker-memory"
START_OF_A_WORKER: Final = "planning-worker-start"
SIZE_OF_A_USER: Final = "planning-user-size"
SIGN_INS_OF_UNITS: Final = re.compile(r"scale-out-(\d+)")

MOST_OF_OTHERS: Final = 0.2
"""Processors that other programs may keep busy while it is measured how workers add up; else it is not counted."""

UNITS: Final = {
    PROCESSOR_TIME: "ms",
    DATABASE_PROCESSOR_TIME: "ms",
    DATABASE_TIME: "ms",
    EVENTS_OF_A_RELAY: "1/s",
    EVENTS_OF_A_CONSUMER: "1/s",
    MEMORY_OF_A_WORKER: "MiB",
    START_OF_A_WORKER: "s",
    SIZE_OF_A_USER: "B",
}


def figure_of(prefix: str, operation: str) -> str:
    """Return the name of a figure that there is for each operation."""
    return prefix + operation.replace("_", "-")


@attrs.frozen(kw_only=True)
class Measured:
    """
    What planning takes from the results.

    Attributes:
        processor_seconds: Of the service, for a request of each operation.
        database_processor_seconds: Of PostgreSQL, the same.
        database_seconds: For how long the request holds a connection, the same.
        relay_events: A second, of one relay.
        consumer_events: A second, of one consumer.
        worker_mib: Memory of a worker without the passwords that it hashes.
        start_seconds: From the start of a server to its being ready.
        user_bytes: Of the database, for each user.
        law: How workers add up.
    """

    processor_seconds: Mapping[str, float]
    database_processor_seconds: Mapping[str, float]
    database_seconds: Mapping[str, float]
    relay_events: float
    consumer_events: float
    worker_mib: float
    start_seconds: float
    user_bytes: float
    law: ScalingLaw

    @classmethod
    def parse(cls, text: str, *, operations: frozenset[str]) -> Measured:
        """
        Read a file of results.

        Args:
            text: A list of figures in JSON, or an object with one as its member `figures`.
            operations: Those that have to be in it.

        Raises:
            ConfigurationError: If it is none, or something is missing; with everything that is.
        """
        figures = dict(_figures(text))
        problems = [
            f"the results have no figure {name!r} in {unit}"
            for name, unit in _needed(operations)
            if name not in figures or figures[name][1] != unit
        ]
        units = {
            int(named.group(1)): value
            for name, (value, _) in figures.items()
            if (named := SIGN_INS_OF_UNITS.fullmatch(name))
        }
        if problems:
            raise ConfigurationError(tuple(problems))

        def of_operations(prefix: str) -> dict[str, float]:
            return {operation: figures[figure_of(prefix, operation)][0] / 1000 for operation in operations}

        return cls(
            processor_seconds=of_operations(PROCESSOR_TIME),
            database_processor_seconds=of_operations(DATABASE_PROCESSOR_TIME),
            database_seconds=of_operations(DATABASE_TIME),
            relay_events=figures[EVENTS_OF_A_RELAY][0],
            consumer_events=figures[EVENTS_OF_A_CONSUMER][0],
            worker_mib=figures[MEMORY_OF_A_WORKER][0],
            start_seconds=figures[START_OF_A_WORKER][0],
            user_bytes=figures[SIZE_OF_A_USER][0],
            law=ScalingLaw.fit(units) if units else ScalingLaw(one=1.0),
        )


def _needed(operations: frozenset[str]) -> Iterator[tuple[str, str]]:
    for name, unit in UNITS.items():
        if name.endswith("-"):
            yield from ((figure_of(name, operation), unit) for operation in sorted(operations))
        else:
            yield name, unit


def _figures(text: str) -> Iterator[tuple[str, tuple[float, str]]]:
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise ConfigurationError((f"the results are no JSON: {error}",)) from error
    figures = document.get("figures") if isinstance(document, dict) else document
    if not isinstance(figures, list):
        raise ConfigurationError(("the results are no list of figures",))
    for figure in figures:
        match figure:
            case {"figure": str(name), "others": int() | float() as others} if (
                others > MOST_OF_OTHERS and SIGN_INS_OF_UNITS.fullmatch(name)
            ):
                continue  # measured while others worked, of which it says more than of the service
            case {"figure": str(name), "value": int() | float() as value, "unit": str(unit)} if value > 0:
                yield name, (float(value), unit)
            case _:  # a figure of another kind, or one that could not be measured
                continue
