"""The alerts, as Prometheus itself reads and evaluates them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.servers import installed

_FOLDER: Final = Path(__file__).parents[2] / "deploy" / "prometheus"


def _promtool(*arguments: str, folder: Path = _FOLDER) -> subprocess.CompletedProcess[str]:
    command = [installed.promtool(), *arguments]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=60)


def _changed(folder: Path, old: str, new: str) -> Path:
    """Return a copy of the files of the alerts, with another text in the rules."""
    copy = shutil.copytree(_FOLDER, folder / "prometheus")
    rules = (copy / "rules.yaml").read_text()
    assert old in rules
    (copy / "rules.yaml").write_text(rules.replace(old, new))
    return copy


def test_prometheus_takes_the_rules() -> None:
    """All of them, in every group."""
    checked = _promtool("check", "rules", "rules.yaml")
    rules = yaml.safe_load((_FOLDER / "rules.yaml").read_text())["groups"]

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{sum(len(group['rules']) for group in rules)} rules found" in checked.stdout


def test_the_alerts_wake_somebody_when_they_are_to_and_only_then() -> None:
    """By series that are made up, minute by minute."""
    tested = _promtool("test", "rules", "rules.test.yaml")

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_has_a_case() -> None:
    """In which it is seen to wake somebody."""
    groups = yaml.safe_load((_FOLDER / "rules.yaml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    cases = yaml.safe_load((_FOLDER / "rules.test.yaml").read_text())["tests"]
    seen = {
        found
        for case in cases
        for test in (*case.get("alert_rule_test", ()), *case.get("promql_expr_test", ()))
        if test.get("exp_alerts") or test.get("exp_samples")
        for found in re.findall(r"\bUserService\w+", str(test))
    }

    assert alerts <= seen


@pytest.mark.parametrize(
    ("arguments", "old", "new"),
    [
        (("check", "rules", "rules.yaml"), "sum(rate(", "sum(rates("),
        (("test", "rules", "rules.test.yaml"), "> 14.4 * 0.001", "> 14.4 * 0.1"),
    ],
    ids=["unreadable", "deaf"],
)
def test_a_mistake_is_noticed(arguments: tuple[str, ...], old: str, new: str, tmp_path: Path) -> None:
    """A function that there is not, and a factor with which nobody would be woken."""
    assert _promtool(*arguments, folder=_changed(tmp_path, old, new)).returncode != 0
