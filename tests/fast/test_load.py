"""What is said of a load: how many come when, what it is held to, and what was at its limit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from benchmarks.load.bottleneck import (
    BROKER,
    CPU,
    DATABASE,
    GENERATOR,
    HASH_QUEUE,
    NOTHING,
    POOL,
    Capacity,
    Interval,
    busiest,
    find_bottleneck,
)
from benchmarks.load.outcome import Criteria, Outcome, checks_of, criteria_for, outcome_of
from benchmarks.load.page import Report, document_of, lines_of, page_of
from benchmarks.load.sampling import Look, interval_between, port_here, read_metrics
from benchmarks.load.scenarios import SCENARIOS

_TWO = Capacity(processors=2, workers=2)
_IDLE = Interval(
    at=1.0,
    requests=20.0,
    in_flight=0.4,
    hash_waiting=0.0,
    hashing=0.1,
    pool_waiting=0.0,
    in_database=0.1,
    on_locks=0.0,
    machine=0.5,
    service=0.2,
    database=0.1,
    relay=0.05,
    generator=0.1,
    outbox_records=0.0,
    outbox_age=0.0,
)


def _seen(**others: float | None) -> list[Interval]:
    return [attrs.evolve(_IDLE, at=float(at), **others) for at in range(8)]


# --- the bottleneck ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        ({}, NOTHING),
        ({"generator": 0.95, "machine": 1.9, "in_flight": 40.0, "hash_waiting": 30.0}, GENERATOR),
        ({"in_flight": 20.0, "hash_waiting": 17.0, "hashing": 2.0, "machine": 2.0, "service": 1.8}, HASH_QUEUE),
        ({"in_flight": 12.0, "in_database": 8.0, "database": 0.2}, DATABASE),
        ({"in_flight": 12.0, "in_database": 8.0, "pool_waiting": 4.0}, DATABASE),
        ({"in_flight": 9.0, "in_database": 9.0, "on_locks": 8.0, "database": 0.1}, DATABASE),
        ({"machine": 1.95, "database": 1.2, "service": 0.5}, DATABASE),
        ({"in_flight": 10.0, "in_database": 1.0, "pool_waiting": 8.0}, POOL),
        ({"machine": 1.95, "database": 0.4, "service": 1.2}, CPU),
        ({"machine": 1.95, "service": 0.1, "database": 0.05}, CPU),
    ],
)
def test_a_bottleneck_is_named_by_its_cause(seen: dict[str, float], name: str) -> None:
    """What fills processors or connections goes before processors and connections."""
    verdict = find_bottleneck(_seen(**seen), _TWO)

    assert verdict.bottleneck == name
    assert verdict.sentence.startswith(name)


def test_one_worker_is_full_where_the_machine_is_not() -> None:
    """A process that serves cannot use more than one processor for what it does itself."""
    verdict = find_bottleneck(_seen(service=0.95, machine=1.2), Capacity(processors=8, workers=1))

    assert verdict.bottleneck == CPU


@pytest.mark.parametrize(("waiting", "name"), [(0.3, NOTHING), (0.6, HASH_QUEUE)])
def test_a_few_that_wait_are_no_queue(waiting: float, name: str) -> None:
    """Also where hardly anybody else is there, so that they are most of all."""
    assert find_bottleneck(_seen(in_flight=0.7, hash_waiting=waiting), _TWO).bottleneck == name


@pytest.mark.parametrize(
    ("records", "age", "name"), [((0, 900), 30.0, BROKER), ((900, 10), 30.0, NOTHING), ((0, 900), 2.0, NOTHING)]
)
def test_events_that_wait_longer_and_longer_name_the_broker(records: tuple[int, int], age: float, name: str) -> None:
    """Neither many that are just on their way, nor old ones that become fewer."""
    first, last = records
    intervals = [
        attrs.evolve(each, outbox_records=first + (last - first) * number / 7, outbox_age=age * number / 7)
        for number, each in enumerate(_seen())
    ]

    assert find_bottleneck(intervals, _TWO).bottleneck == name


def test_what_else_is_at_its_limit_is_told() -> None:
    """Hashing fills the processors as well."""
    verdict = find_bottleneck(_seen(in_flight=20.0, hash_waiting=17.0, machine=2.0, service=1.8), _TWO)

    assert "also at its limit: CPU" in verdict.sentence


def test_nothing_is_made_up() -> None:
    """Of a service elsewhere, that shows no metrics and whose database may not be asked, little is known."""
    verdict = find_bottleneck([Interval(at=float(at)) for at in range(5)], Capacity(processors=2))

    assert [pressure.value for pressure in verdict.pressures] == [None] * 6
    assert verdict.sentence == "nothing that could be seen"
    assert find_bottleneck([], _TWO).bottleneck == NOTHING


def test_what_is_nearest_to_its_limit_is_told_where_nothing_is_at_it() -> None:
    """So that one knows what comes next."""
    assert "nearest to its limit is CPU, at 83% of it" in find_bottleneck(_seen(machine=1.5), _TWO).sentence


def test_judged_is_the_busiest_part_of_a_run() -> None:
    """A promotion is over before the end, and its queue with it."""
    quiet, peak = _seen(), _seen(in_flight=30.0, pool_waiting=20.0)

    assert list(busiest([*quiet, *peak[:4], *quiet[:4]])) == peak[:4]
    assert find_bottleneck([*quiet, *peak, *quiet], _TWO).bottleneck == POOL


# --- what is looked at ------------------------------------------------------------------------------------------------

_PAGE = """\
# HELP userservice_http_request_seconds From the request's arrival to its answer.
# TYPE userservice_http_request_seconds histogram
userservice_http_request_seconds_bucket{le="0.1",operation="login"} 3.0
userservice_http_request_seconds_count{operation="login"} 3.0
userservice_http_request_seconds_sum{operation="login"} 1.5
userservice_http_request_seconds_count{operation="get_current_user"} 4.0
userservice_http_request_seconds_sum{operation="get_current_user"} 0.25
# HELP userservice_seconds How long something took.
# TYPE userservice_seconds histogram
userservice_seconds_sum{what="hash_queue_wait"} 0.75
userservice_seconds_sum{what="something_else"} 9.0
# HELP userservice_level How much there is.
# TYPE userservice_level gauge
userservice_level{what="outbox_records"} 12.0
"""


def test_metrics_are_summed_over_operations_and_what_was_not_counted_yet_is_nothing() -> None:
    """Only what a page does not show at all is unknown."""
    counters, levels = read_metrics(_PAGE)

    assert counters == {"requests": 7.0, "in_flight": 1.75, "hash_waiting": 0.75, "hashing": 0.0, "pool_waiting": 0.0}
    assert levels == {"outbox_records": 12.0}
    assert read_metrics("") == ({}, {})


def test_seconds_in_a_state_become_requests_in_it_at_once() -> None:
    """By Little's law; and of a counter that began again, nothing is known."""
    before = Look(at=10.0, counters={"in_flight": 1.0, "requests": 50.0, "machine": 4.0}, levels={})
    after = Look(
        at=12.0,
        counters={"in_flight": 9.0, "requests": 5.0, "machine": 6.0, "service": 1.0},
        levels={"outbox_age": 3.0},
    )

    assert interval_between(before, after, began=5.0) == Interval(at=7.0, in_flight=4.0, machine=1.0, outbox_age=3.0)


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://127.0.0.1:8000", 8000),
        ("http://localhost", 80),
        ("postgresql://user@[::1]/users", 80),
        ("https://accounts.example.com", None),
        ("http://10.0.0.1:8000", None),
    ],
)
def test_processes_are_looked_for_only_where_they_can_be(url: str, port: int | None) -> None:
    """Whatever serves the same port of this machine is not what serves it elsewhere."""
    assert port_here(url, usual=80) == port


# --- scenarios --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_has_people_of_the_locustfile_a_course_and_criteria(name: str) -> None:
    """Each part of the users is one, and time goes on."""
    scenario = SCENARIOS[name]
    text = (Path(__file__).parents[2] / "benchmarks" / "load" / "locustfile.py").read_text(encoding="utf-8")
    times = [time for time, _ in scenario.course]

    assert {kind for kind, _ in scenario.kinds} <= set(re.findall(r"^class (\w+)\(Person\)", text, re.MULTILINE))
    assert times == sorted(times)
    assert (times[0], times[-1], max(part for _, part in scenario.course)) == (0.0, 1.0, 1.0)
    assert criteria_for(name).p95 > 0


def test_a_promotion_comes_and_goes() -> None:
    """Five times the usual in the middle, and the usual before and after."""
    parts = [SCENARIOS["promotion"].part_at(time) for time in (0.0, 0.05, 0.2, 0.5, 0.9, 1.0)]

    assert parts == pytest.approx([0.0, 0.1, 0.2, 1.0, 0.2, 0.2])


# --- the outcome ------------------------------------------------------------------------------------------------------


def _entry(method: str, name: str, times: dict[str, int], *, faults: int = 0) -> dict[str, Any]:
    return {
        "method": method,
        "name": name,
        "num_requests": sum(times.values()),
        "num_failures": faults,
        "start_time": 100.0,
        "last_request_timestamp": 110.0,
        "response_times": times,
    }


def _error(name: str, text: str, occurrences: int) -> dict[str, Any]:
    return {"method": "POST", "name": name, "error": f"CatchResponseError('{text}')", "occurrences": occurrences}


_HISTORY = [
    {
        "Timestamp": str(100 + at),
        "User Count": "5",
        "Name": name,
        "Requests/s": "10.5",
        "Failures/s": "0.0",
        "50%": "N/A" if at == 0 else "12",
        "95%": "30",
        "99%": "40",
    }
    for at in range(3)
    for name in ("/users/me", "Aggregated")
]


def _outcome(*, exceptions: int = 0) -> Outcome:
    document = {
        "operations": [
            _entry("POST", "/auth/login", {"100": 18, "900": 2}, faults=3),
            _entry("GET", "/users/me", {"5": 170, "20": 10}),
        ],
        "errors": [_error("/auth/login", "503 overloaded", 2), _error("/auth/login", "401 invalid-credentials", 1)],
        "exceptions": [{"count": exceptions, "text": "KeyError('user')"}] if exceptions else [],
    }
    return outcome_of(document, _HISTORY)


def test_an_outcome_has_rates_percentiles_and_what_went_wrong() -> None:
    """As Locust counted it; a refusal is told from a failure by its status."""
    outcome = _outcome()
    read, sign_in = outcome.operations

    assert (read.name, read.requests, read.per_second) == ("GET /users/me", 180, 18.0)
    assert [read.percentile(part) for part in (0.5, 0.95, 0.99)] == [5.0, 20.0, 20.0]
    assert sign_in.percentile(0.95) == 900.0
    assert outcome.whole.percentile(0.95) == 100.0
    assert (outcome.whole.requests, outcome.refused, outcome.failed) == (200, 2, 1)
    assert outcome.faults[1].text == "401 invalid-credentials"
    assert [second.p50 for second in outcome.course] == [0.0, 12.0, 12.0]


@pytest.mark.parametrize(
    ("criteria", "missed"),
    [
        (Criteria(failed=0.01, refused=0.01, p95=1000), []),
        (Criteria(failed=0.001, refused=0.01, p95=1000), ["failed"]),
        (Criteria(failed=0.01, refused=0.0, p95=1000), ["refused"]),
        (Criteria(failed=0.01, refused=0.01, p95=100), ["95 of 100 POST /auth/login within"]),
        (Criteria(failed=0.01, refused=0.01, p95=100, operations={"POST /auth/login": 900}), []),
        (
            Criteria(failed=0.01, refused=0.01, p95=10, operations={"POST /auth/login": 900}),
            ["95 of 100 GET /users/me within"],
        ),
    ],
)
def test_an_outcome_is_held_to_its_criteria(criteria: Criteria, missed: list[str]) -> None:
    """Each of them can be missed, and each operation may have its own bound."""
    assert [check.what for check in checks_of(_outcome(), criteria) if not check.is_met] == missed


def test_a_fault_of_the_script_is_a_failure() -> None:
    """A load that did not do what it was to do shows nothing."""
    missed = [
        check
        for check in checks_of(_outcome(exceptions=3), Criteria(failed=0.01, refused=1, p95=1e4))
        if not check.is_met
    ]

    assert [(check.what, check.value) for check in missed] == [("failed", 2.0)]


def test_no_request_at_all_is_no_success() -> None:
    """Nothing fails, and nothing is slow."""
    nothing = outcome_of({"operations": [], "errors": [], "exceptions": []}, [])

    assert [check.is_met for check in checks_of(nothing, criteria_for("steady"))] == [False, True, True]


@pytest.mark.parametrize("text", ["[other]\nfailed = 0", "[steady]\nfailed = 0\nrefused = 0", "[steady]\np99 = 1"])
def test_criteria_that_say_too_little_are_refused(text: str, tmp_path: Path) -> None:
    """So that a slip of the pen lets nothing pass."""
    file = tmp_path / "criteria.toml"
    file.write_text(text)

    with pytest.raises(ValueError, match="steady"):
        criteria_for("steady", file=file)


# --- the report -------------------------------------------------------------------------------------------------------


def test_a_report_says_whether_it_passed_and_why_it_is_not_faster() -> None:
    """As lines, as a page without anything of others, and as a document."""
    outcome, intervals = _outcome(), tuple(_seen(in_flight=20.0, hash_waiting=17.0))
    report = Report(
        scenario=SCENARIOS["login-storm"],
        users=20,
        seconds=10.0,
        url="http://127.0.0.1:1/<here>",
        outcome=outcome,
        checks=checks_of(outcome, Criteria(failed=0.001, refused=0.01, p95=1000)),
        verdict=find_bottleneck(intervals, _TWO),
        intervals=intervals,
        versions={"locust": "2"},
    )
    lines, page, document = list(lines_of(report)), page_of(report), document_of(report)

    assert lines[-1] == "Failed: login-storm"
    assert lines[-2].startswith("Bottleneck: hash queue")
    assert "Not met: failed 0.5 %, at most 0.1 %" in lines
    assert "<svg" in page
    assert "hash queue: 17.0 of 20.0" in page
    assert "&lt;here&gt;" in page
    assert "<script" not in page
    assert (document["passed"], document["bottleneck"]) == (False, "hash queue")
    assert document["operations"][-1]["p95"] == 100.0
