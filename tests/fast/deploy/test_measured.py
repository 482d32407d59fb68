"""What pods ask for is what was measured, by the plan that the how-to makes."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.fast.deploy.described import ROOT, documents, workloads
from userservice_core.capacity.plan import Plan
from userservice_core.capacity.results import Measured
from userservice_core.capacity.target import Target
from userservice_core.http.routes import ROUTES

_HOW_TO: Final = ROOT / "docs" / "how-to" / "plan-capacity.md"
_RESULTS: Final = ROOT / "benchmarks" / "results" / "capacity.json"


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of the target in the how-to, by the results of the repository."""
    (target,) = re.findall(r"^```toml\n(.*?)^```", _HOW_TO.read_text(), re.MULTILINE | re.DOTALL)
    wanted = Target.parse(target)
    return Plan.make(Measured.parse(_RESULTS.read_text(), operations=wanted.operations), wanted)


def test_the_target_of_the_how_to_names_routes(plan: Plan) -> None:
    """By their operation ids."""
    assert plan.target.operations <= {route.operation_id for route in ROUTES}


def test_a_pod_asks_for_as_much_memory_as_was_measured(plan: Plan) -> None:
    """With the workers and processors that the plan gives it, and not for twice as much."""
    ((_, _, pods),) = (each for each in workloads("base") if each[0] == "base/api.yaml")
    requested = pods["containers"][0]["resources"]["requests"]

    assert requested["cpu"] == f"{plan.pods.processors:g}"
    assert plan.pods.memory_mib <= int(requested["memory"].removesuffix("Mi")) < 2 * plan.pods.memory_mib


def test_the_autoscaler_aims_at_about_the_requests_that_a_pod_carries(plan: Plan) -> None:
    """Which depends on the mix; the manifest's is that of the how-to, within a tenth."""
    ((_, manifest),) = (each for each in documents("base") if each[0] == "base/api-autoscaler.yaml")
    (aimed,) = (
        int(metric["pods"]["target"]["averageValue"]) for metric in manifest["spec"]["metrics"] if "pods" in metric
    )

    assert aimed == pytest.approx(plan.pods.requests_per_second, rel=0.1)
