"""From a file of results and a target to a plan, and what is wrong with either."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from userservice_core.capacity.plan import Plan
from userservice_core.capacity.results import Measured
from userservice_core.capacity.scaling_law import ScalingLaw
from userservice_core.capacity.target import Target
from userservice_core.cli import main
from userservice_core.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_TARGET = """
users = 1_000_000
events = 200

[requests]
get_current_user = 1000
login = 50

[day.sale]
at_seconds = 43_200
factor = 3
ramp_seconds = 120
height_seconds = 900

[prices]
processor_hour = 0.04
"""

_VALUES = {
    "planning-processor-get-current-user": (0.5, "ms"),
    "planning-processor-login": (30.0, "ms"),
    "planning-database-processor-get-current-user": (0.1, "ms"),
    "planning-database-processor-login": (2.0, "ms"),
    "planning-database-time-get-current-user": (1.0, "ms"),
    "planning-database-time-login": (4.0, "ms"),
    "planning-relay": (1000.0, "1/s"),
    "planning-consumer": (500.0, "1/s"),
    "planning-worker-memory": (100.0, "MiB"),
    "planning-worker-start": (3.0, "s"),
    "planning-user-size": (4096.0, "B"),
}


def _results(**changes: Any) -> str:  # noqa: ANN401 - figures of any kind
    figures = [{"figure": name, "value": value, "unit": unit} for name, (value, unit) in _VALUES.items()]
    return json.dumps({"machine": {}, "figures": figures, **changes})


def _plan(target: str = _TARGET) -> Plan:
    wanted = Target.parse(target)
    return Plan.make(Measured.parse(_results(), operations=wanted.operations), wanted)


def test_the_arithmetic_of_a_plan() -> None:
    """By hand, from the figures above."""
    plan = _plan()

    # 1000 x 0.5 ms and 50 x 30 ms: two processors, at 70 % of three; one to spare. Three times that: six of nine.
    assert plan.work == pytest.approx(2.0)
    assert (plan.pods.day, plan.pods.sale) == (4, 10)
    # 1050 requests a second are two processors, so one at 70 % carries 367.5.
    assert plan.pods.requests_per_second == pytest.approx(367.5)
    # One worker of 100 MiB, one hash of 19 MiB, a quarter to spare, in steps of 16.
    assert plan.pods.memory_mib == 160
    # In the sale 3 x (1000 x 0.1 + 50 x 2) ms: 0.6 processors, less than the least; 3 x (1 + 0.2) connections busy.
    assert plan.database.processors == 2
    assert plan.database.busy_connections == pytest.approx(3.6)
    assert plan.database.pgbouncer["default_pool_size"] == 10  # 3.6 + 3 x 1.897
    assert plan.database.size_gib == pytest.approx(1e6 * 4096 * 1.5 / 2**30)
    # 600 events a second in the sale, at 70 % of what one does.
    assert (plan.events.relays, plan.events.consumers, plan.events.partitions) == (2, 2, 24)
    assert (plan.specification.least, plan.specification.most) == (2, 10)
    assert plan.cost.per_month == pytest.approx(plan.summary.pod_hours * 730 / 24 * 0.04)


def test_twice_the_requests_take_twice_the_work_and_never_fewer_pods() -> None:
    """And so on for what depends on it."""
    one = _plan()
    two = _plan(_TARGET.replace("= 1000", "= 2000").replace("login = 50", "login = 100"))

    assert two.work == pytest.approx(2 * one.work)
    assert two.pods.day > one.pods.day
    assert two.summary.pod_hours > one.summary.pod_hours


def test_everything_that_results_lack_is_said_at_once() -> None:
    """With the names of the figures, so that the benchmark can be run again."""
    with pytest.raises(ConfigurationError) as raised:
        Measured.parse('[{"figure": "planning-relay", "value": 3, "unit": "1/s"}]', operations=frozenset({"login"}))

    assert len(raised.value.problems) == 7
    assert "the results have no figure 'planning-processor-login' in ms" in raised.value.problems


@pytest.mark.parametrize("text", ["", "{", "3", '{"figures": 3}'])
def test_results_that_are_none(text: str) -> None:
    """A clear line in place of a traceback."""
    with pytest.raises(ConfigurationError):
        Measured.parse(text, operations=frozenset({"login"}))


def test_workers_of_a_quota_give_the_scaling_law() -> None:
    """From one, two and four of them; without them, or where others disturbed them, growth counts as linear."""
    figures = [{"figure": name, "value": value, "unit": unit} for name, (value, unit) in _VALUES.items()]
    units = [
        {"figure": f"scale-out-{units}", "value": value, "unit": "1/s"}
        for units, value in ((1, 10.0), (2, 18.0), (4, 30.0))
    ]
    operations = frozenset({"login"})

    assert Measured.parse(json.dumps(figures), operations=operations).law == ScalingLaw(one=1.0)
    disturbed = [{**unit, "others": 1.5} for unit in units]
    assert Measured.parse(json.dumps([*figures, *disturbed]), operations=operations).law == ScalingLaw(one=1.0)
    law = Measured.parse(json.dumps([*figures, *units]), operations=operations).law
    assert [law.throughput(count) for count in (1, 2, 4)] == pytest.approx([10, 18, 30])


def test_everything_wrong_with_a_target_is_said_at_once() -> None:
    """Unknown names, wrong kinds, numbers out of bounds, what is missing."""
    text = """
users = "many"
cats = 3
[requests]
login = -1
[day]
night = 2
[day.sale]
factor = 3
[autoscaler]
least = 1.5
[clouds]
sky = 1
"""
    with pytest.raises(ConfigurationError) as raised:
        Target.parse(text)

    assert raised.value.problems == (
        "users is no number",
        "cats is nothing of a target",
        "day.night is no number from 0 to 1",
        "autoscaler.least is no whole number from 1 to 10,000",
        "clouds is no table of a target",
        "events must be given",
        "users must be given",
        "requests.login is no number of requests a second",
        "requests must name an operation and how often it comes a second",
        "day.sale.at_seconds must be given",
        "day.sale.ramp_seconds must be given",
        "day.sale.height_seconds must be given",
    )


def test_pods_that_slow_each_other_down_too_much_are_no_plan() -> None:
    """Past some number of them more do less, so what they cannot do is said and not planned."""
    wanted = Target.parse(_TARGET)
    measured = Measured.parse(_results(), operations=wanted.operations)
    crowded = Measured(
        **{field: getattr(measured, field) for field in Measured.__annotations__ if field != "law"},
        law=ScalingLaw(one=1.0, contention=0.1, coherency=0.2),
    )

    with pytest.raises(ConfigurationError, match="no number of pods carries"):
        Plan.make(crowded, wanted)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A target and results, as files."""
    (tmp_path / "target.toml").write_text(_TARGET)
    (tmp_path / "results.json").write_text(_results())
    return str(tmp_path / "target.toml"), str(tmp_path / "results.json")


def test_the_command_prints_draws_and_writes_the_manifest(files: tuple[str, str], tmp_path: Path) -> None:
    """All of it from one run."""
    target, results = files
    manifest, plots = tmp_path / "hpa.yaml", tmp_path / "plots"
    finished = CliRunner().invoke(
        main,
        ["capacity", target, "--results", results, "--json", "--manifest", str(manifest), "--plots", str(plots)],
        catch_exceptions=False,
    )
    document = json.loads(finished.stdout)
    written = yaml.safe_load(manifest.read_text())

    assert document["pods"]["day"] == 4
    assert written["spec"]["minReplicas"] == 2
    assert written["spec"]["maxReplicas"] == 10
    assert [metric["type"] for metric in written["spec"]["metrics"]] == ["Resource", "Pods"]
    assert written["spec"]["behavior"]["scaleDown"]["policies"] == [
        {"type": "Percent", "value": 100, "periodSeconds": 15}
    ]
    assert sorted(file.name for file in plots.iterdir()) == ["capacity-day.svg", "capacity-scaling.svg"]
    assert all("<svg" in file.read_text() for file in plots.iterdir())


def test_the_command_says_in_words_what_it_planned(files: tuple[str, str]) -> None:
    """And ends with 78 where the target is none."""
    target, results = files
    finished = CliRunner().invoke(main, ["capacity", target, "--results", results], catch_exceptions=False)
    refused = CliRunner().invoke(main, ["capacity", results, "--results", results])

    assert "Pods          4 at the height of a usual day, 10 at that of a sale" in finished.stdout
    assert (finished.exit_code, refused.exit_code) == (0, 78)
    assert "the target is no TOML" in refused.stderr
