"""What an installation is to carry, as a file in TOML says it."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from typing import Any, Final

import attrs

from userservice_core.capacity.simulation import Sale
from userservice_core.errors import ConfigurationError


@attrs.frozen(kw_only=True)
class Prices:
    """
    What things cost, in one currency.

    Attributes:
        processor_hour: Of a processor that pods ask for.
        memory_gib_hour: Of their memory.
        database_processor_hour: Of a processor of the database, with its memory.
        storage_gib_month: Of the database's storage, all copies together.
        fixed_month: Of what does not grow: balancer, brokers, cache.
    """

    processor_hour: float = 0.0
    memory_gib_hour: float = 0.0
    database_processor_hour: float = 0.0
    storage_gib_month: float = 0.0
    fixed_month: float = 0.0


@attrs.frozen(kw_only=True)
class Target:
    """
    What is to be carried, and how.

    Attributes:
        requests: A second, at the height of a usual day, by operation.
        users: That there will be.
        events: A second, at the same time.
        retained_events: That are kept in the database beside the users, such as the audit log's, in GiB.
        night: The least of a day's rate, as a share of its height.
        sale: A flash sale, or None.
        pod_processors: That a pod asks for; a worker for each, at least one.
        wait_seconds: That 99 of 100 requests may wait for a processor.
        longest_wait_seconds: After which a request is refused.
        utilization: Of the processors, that the autoscaler aims at.
        database_utilization: The same of the database, which nothing scales at run time.
        least: `minReplicas`.
        most: `maxReplicas`; None for what the sale takes.
        schedule_seconds: From a decision of the autoscaler until the container of a new pod starts.
    """

    requests: Mapping[str, float]
    users: float
    events: float
    retained_gib: float = 0.0
    night: float = 0.15
    sale: Sale | None = None
    pod_processors: float = 1.0
    wait_seconds: float = 0.1
    longest_wait_seconds: float = 1.0
    utilization: float = 0.7
    database_utilization: float = 0.6
    least: int = 2
    most: int | None = None
    schedule_seconds: float = 10.0
    prices: Prices = Prices()

    @property
    def operations(self) -> frozenset[str]:
        """Whatever is asked for."""
        return frozenset(name for name, rate in self.requests.items() if rate > 0)

    @classmethod
    def parse(cls, text: str) -> Target:
        """
        Read a target.

        Raises:
            ConfigurationError: If it is none; with everything that is wrong.
        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError((f"the target is no TOML: {error}",)) from error
        reader = _Reader(document)
        target = reader.target()
        if reader.problems:
            raise ConfigurationError(tuple(reader.problems))
        return target


_MOST: Final = 1e9

# Least and most of each number, by table ("" for the file itself) and name.
_BOUNDS: Final[Mapping[tuple[str, str], tuple[float, float]]] = {
    ("", "users"): (1, 1e12),
    ("", "events"): (0, _MOST),
    ("", "retained_gib"): (0, _MOST),
    ("day", "night"): (0, 1),
    ("day.sale", "at_seconds"): (0, 86_400),
    ("day.sale", "factor"): (1, 1000),
    ("day.sale", "ramp_seconds"): (1, 86_400),
    ("day.sale", "height_seconds"): (0, 86_400),
    ("pod", "pod_processors"): (0.1, 256),
    ("pod", "wait_seconds"): (0.001, 60),
    ("pod", "longest_wait_seconds"): (0.001, 300),
    ("pod", "schedule_seconds"): (0, 3600),
    ("autoscaler", "utilization"): (0.05, 0.95),
    ("autoscaler", "least"): (1, 10_000),
    ("autoscaler", "most"): (1, 10_000),
    ("database", "database_utilization"): (0.05, 0.95),
    **{("prices", field.name): (0.0, _MOST) for field in attrs.fields(Prices)},
}
_WHOLE: Final = frozenset({"least", "most"})
_NEEDED: Final = frozenset({("", "users"), ("", "events")})


class _Reader:
    """Reads a document and remembers all that is wrong with it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.problems: list[str] = []
        self._document = document

    def target(self) -> Target:
        day = self._table("day")
        numbers = {
            "": self._numbers("", {k: v for k, v in self._document.items() if not isinstance(v, dict)}),
            "day": self._numbers("day", {k: v for k, v in day.items() if k != "sale"}),
            **{name: self._numbers(name, self._table(name)) for name in ("pod", "autoscaler", "database", "prices")},
        }
        known = {"requests", "day", "pod", "autoscaler", "database", "prices"}
        self.problems += [
            f"{name} is no table of a target"
            for name, value in self._document.items()
            if isinstance(value, dict) and name not in known
        ]
        self.problems += [f"{name} must be given" for _, name in sorted(_NEEDED) if name not in numbers[""]]
        requests = self._requests()
        sale = self._sale(day)
        if self.problems:
            return Target(requests={}, users=0, events=0)
        values: dict[str, Any] = {**numbers[""], **numbers["day"], **numbers["pod"]}
        values |= {**numbers["autoscaler"], **numbers["database"]}
        for name in _WHOLE & values.keys():
            values[name] = int(values[name])
        if values.get("most", math.inf) < values.get("least", 2):
            self.problems.append("autoscaler.most is less than autoscaler.least")
        return Target(requests=requests, sale=sale, prices=Prices(**numbers["prices"]), **values)

    def _table(self, name: str) -> Mapping[str, Any]:
        table = self._document.get(name, {})
        if isinstance(table, dict):
            return table
        self.problems.append(f"{name} is no table")
        return {}

    def _requests(self) -> dict[str, float]:
        requests = {}
        for name, rate in self._table("requests").items():
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= _MOST:
                self.problems.append(f"requests.{name} is no number of requests a second")
            else:
                requests[name] = float(rate)
        if not sum(requests.values()):
            self.problems.append("requests must name an operation and how often it comes a second")
        return requests

    def _sale(self, day: Mapping[str, Any]) -> Sale | None:
        if "sale" not in day:
            return None
        if not isinstance(day["sale"], dict):
            self.problems.append("day.sale is no table")
            return None
        numbers = self._numbers("day.sale", day["sale"])
        missing = [field.name for field in attrs.fields(Sale) if field.name not in numbers]
        self.problems += [f"day.sale.{name} must be given" for name in missing if name not in day["sale"]]
        return None if missing else Sale(**numbers)

    def _numbers(self, table: str, values: Mapping[str, Any]) -> dict[str, float]:
        numbers = {}
        for name, value in values.items():
            place = f"{table}.{name}".removeprefix(".")
            bounds = _BOUNDS.get((table, name))
            if bounds is None:
                self.problems.append(f"{place} is nothing of a target")
            elif isinstance(value, bool) or not isinstance(value, int | float):
                self.problems.append(f"{place} is no number")
            elif not bounds[0] <= value <= bounds[1] or (name in _WHOLE and value != int(value)):
                kind = "whole number" if name in _WHOLE else "number"
                self.problems.append(f"{place} is no {kind} from {bounds[0]:,g} to {bounds[1]:,g}")
            else:
                numbers[name] = value
        return numbers
