"""What came of a load, and whether that is enough."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CRITERIA: Final = Path(__file__).with_name("criteria.toml")

_REFUSALS: Final = ("429", "503")
_WHOLE: Final = "Aggregated"
_NAMED: Final = re.compile(r"CatchResponseError\((['\"])(.*)\1\)", re.DOTALL)


@attrs.frozen(kw_only=True)
class Operation:
    """
    What came of the requests of one operation, or of all together.

    Attributes:
        times: How many took so many milliseconds, rounded to two digits.
        per_second: Of the seconds between the first and the last request of the run.
    """

    name: str
    requests: int
    faults: int
    per_second: float
    times: Mapping[float, int]

    def percentile(self, part: float) -> float:
        """Return within how many milliseconds that *part* of the requests were answered; 0 of none."""
        wanted, passed = part * sum(self.times.values()), 0
        for milliseconds in sorted(self.times):
            passed += self.times[milliseconds]
            if passed >= wanted:
                return milliseconds
        return 0.0


@attrs.frozen(kw_only=True)
class Fault:
    """Requests of an operation that went wrong in the same way; the text begins with the status."""

    operation: str
    text: str
    times: int

    @property
    def is_refusal(self) -> bool:
        """Whether they were told to come back later."""
        return self.text.split(" ", 1)[0] in _REFUSALS


@attrs.frozen(kw_only=True)
class Second:
    """What Locust saw at a time: users, requests and faults a second, and percentiles in ms of the last ten seconds."""

    at: float
    users: int
    per_second: float
    faults_per_second: float
    p50: float
    p95: float
    p99: float


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a load."""

    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]
    exceptions: tuple[tuple[int, str], ...]
    course: tuple[Second, ...]

    @property
    def whole(self) -> Operation:
        """All operations as one."""
        times: Counter[float] = Counter()
        for operation in self.operations:
            times.update(operation.times)
        return Operation(
            name="all",
            requests=sum(operation.requests for operation in self.operations),
            faults=sum(operation.faults for operation in self.operations),
            per_second=sum(operation.per_second for operation in self.operations),
            times=times,
        )

    @property
    def refused(self) -> int:
        """Requests that were told to come back later."""
        return sum(fault.times for fault in self.faults if fault.is_refusal)

    @property
    def failed(self) -> int:
        """Requests that went wrong in another way, and errors of the script itself."""
        return self.whole.faults - self.refused + sum(times for times, _ in self.exceptions)


def outcome_of(document: Mapping[str, Any], history: Iterable[Mapping[str, str]]) -> Outcome:
    """
    Read what Locust told.

    Args:
        document: What the locustfile wrote at the end.
        history: The rows of Locust's own file of the course of a run.
    """
    entries = document["operations"]
    began = min((entry["start_time"] for entry in entries), default=0.0)
    ended = max((entry["last_request_timestamp"] or began for entry in entries), default=0.0)
    return Outcome(
        operations=tuple(sorted(_operations(entries, seconds=max(1.0, ended - began)), key=lambda each: each.name)),
        faults=tuple(
            Fault(operation=f"{each['method']} {each['name']}", text=_text(each["error"]), times=each["occurrences"])
            for each in sorted(document["errors"], key=lambda each: -int(each["occurrences"]))
        ),
        exceptions=tuple((each["count"], each["text"]) for each in document["exceptions"]),
        course=tuple(_course(history)),
    )


def _operations(entries: Iterable[Mapping[str, Any]], *, seconds: float) -> Iterator[Operation]:
    for entry in entries:
        yield Operation(
            name=f"{entry['method']} {entry['name']}",
            requests=entry["num_requests"],
            faults=entry["num_failures"],
            per_second=entry["num_requests"] / seconds,
            times={float(milliseconds): times for milliseconds, times in entry["response_times"].items()},
        )


def _text(error: str) -> str:
    """Return what the locustfile said of a fault; Locust puts the name of its exception around it."""
    named = _NAMED.fullmatch(error)
    return named.group(2) if named else error


def _course(history: Iterable[Mapping[str, str]]) -> Iterator[Second]:
    for row in history:
        if row["Name"] == _WHOLE:
            p50, p95, p99 = (0.0 if row[part] == "N/A" else float(row[part]) for part in ("50%", "95%", "99%"))
            yield Second(
                at=float(row["Timestamp"]),
                users=int(row["User Count"]),
                per_second=float(row["Requests/s"]),
                faults_per_second=float(row["Failures/s"]),
                p50=p50,
                p95=p95,
                p99=p99,
            )


def read_outcome(results: Path, history: Path) -> Outcome:
    """Read what Locust wrote to these files."""
    with history.open(encoding="utf-8", newline="") as file:
        return outcome_of(json.loads(results.read_text(encoding="utf-8")), csv.DictReader(file))


# --- what is asked of it ----------------------------------------------------------------------------------------------


class Criteria(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What a load is held to.

    Attributes:
        failed: The part of the requests that may fail.
        refused: The part that may be told to come back later.
        p95: Milliseconds within which 95 of 100 requests of each operation are answered.
        operations: The same for single operations, such as `POST /auth/login`.
    """

    failed: float
    refused: float
    p95: float
    operations: dict[str, float] = {}


@attrs.frozen(kw_only=True)
class Check:
    """One thing that was asked, what it is, and what it may be at most; for the requests themselves, at least."""

    what: str
    value: float
    bound: float
    unit: str
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether it is as it was to be."""
        return self.value >= self.bound if self.is_least else self.value <= self.bound


def criteria_for(scenario: str, *, file: Path = CRITERIA) -> Criteria:
    """
    Read what a scenario is held to.

    Raises:
        ValueError: If the file cannot be read as such, or says nothing of the scenario.
    """
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    if scenario not in document:
        raise ValueError(f"{file} says nothing of {scenario}")
    try:
        return msgspec.convert(document[scenario], Criteria, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{file}, {scenario}: {error}") from error


def checks_of(outcome: Outcome, criteria: Criteria) -> tuple[Check, ...]:
    """Hold an outcome to its criteria; a load without a request meets none of them."""
    whole = outcome.whole
    number = max(1, whole.requests)
    slow = (
        Check(
            what=f"95 of 100 {operation.name} within",
            value=operation.percentile(0.95),
            bound=criteria.operations.get(operation.name, criteria.p95),
            unit="ms",
        )
        for operation in outcome.operations
    )
    return (
        Check(what="requests", value=whole.requests, bound=1, unit="", is_least=True),
        Check(what="failed", value=100 * outcome.failed / number, bound=100 * criteria.failed, unit="%"),
        Check(what="refused", value=100 * outcome.refused / number, bound=100 * criteria.refused, unit="%"),
        *slow,
    )
