"""Alerts, the dashboard and what autoscalers ask for: queries that Prometheus can read, of metrics that there are."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.fast.deploy.described import DEPLOY, KUBERNETES, ROOT, documents
from userservice_core.capacity import autoscaler
from userservice_core.capacity.manifest import REQUESTS_METRIC
from userservice_core.http.routes import METRICS_ROUTE, ROUTES
from userservice_core.infrastructure.system.metrics import PrometheusMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator

_RULES: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())
_DASHBOARD: Final[dict[str, Any]] = json.loads((DEPLOY / "grafana" / "userservice.json").read_text())
_ADAPTER: Final[dict[str, Any]] = yaml.safe_load((KUBERNETES / "metrics" / "config.yaml").read_text())
_OPERATIONS: Final = {METRICS_ROUTE.operation_id, *(route.operation_id for route in ROUTES)}
_LABELS_OF_TARGETS: Final = frozenset({"namespace", "pod", "app"})
_OWN_LABELS: Final = {
    "userservice_http_requests_total": {"operation", "status"},
    "userservice_http_request_seconds": {"operation"},
    "userservice_seconds": {"what"},
    "userservice_occurrences_total": {"what", "outcome"},
    "userservice_level": {"what"},
}
# Rates in which some burn, each with its windows and the share of a budget of 30 days that is gone by then.
_BURN_RATES: Final = (
    ("1h", "5m", 14.4, 0.02),
    ("6h", "30m", 6.0, 0.05),
    ("1d", "2h", 3.0, 0.1),
    ("3d", "6h", 1.0, 0.1),
)


def _rules() -> Iterator[dict[str, Any]]:
    for group in _RULES["groups"]:
        yield from group["rules"]


def _queries() -> Iterator[tuple[str, str]]:
    for rule in _rules():
        yield f"rules: {rule.get('alert') or rule['record']}", rule["expr"]
    for panel in _DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield f"dashboard: {panel['title']}", target["expr"].replace("$__rate_interval", "5m")
    for rule in (*_ADAPTER["rules"], *_ADAPTER["externalRules"]):
        name = rule["name"]["as"]
        yield f"adapter: {name}", rule["seriesQuery"]
        query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'namespace="a"').replace("<<.GroupBy>>", "pod")
        yield f"adapter: {name}", query


def _selections(query: str) -> list[promql_parser.VectorSelector]:
    """Return what *query* selects; raises ValueError if it is none."""
    found: list[promql_parser.VectorSelector] = []

    def visit(part: promql_parser.Expr) -> None:
        if isinstance(part, promql_parser.VectorSelector):
            found.append(part)
        elif isinstance(part, promql_parser.MatrixSelector):
            found.append(part.vector_selector)

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


@pytest.fixture(scope="module")
def constants() -> set[str]:
    """Every text that stands in the code; those that end in something else as patterns."""
    texts = set()
    for folder in ("userservice_core", "adapters"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 60:
                    texts.add(re.escape(node.value))
                elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                    texts.add(re.escape(str(node.values[0].value)) + ".+")
    return {text for text in texts if re.fullmatch(r"[a-z_\\-]+|[a-z_]+_\.\+", text)}


def test_every_query_can_be_read_and_asks_for_metrics_that_there_are(constants: set[str]) -> None:
    """Families, their labels, operations, and the names that things are counted by."""
    families = _families()
    recorded = {rule["record"] for rule in _rules() if "record" in rule}
    wrong = []
    for place, query in _queries():
        for selection in _selections(query):
            metric = str(selection.name)
            family = re.sub(r"_(bucket|count|sum)$", "", metric)
            if metric in recorded or metric == "ALERTS":
                continue
            if family not in families:
                wrong.append(f"{place}: no metric {metric}")
                continue
            for matcher in selection.matchers.matchers:
                if matcher.name == "le":
                    if float(matcher.value) not in families[family]:
                        wrong.append(f"{place}: no bucket {matcher.value}")
                elif matcher.name not in _OWN_LABELS[family] | _LABELS_OF_TARGETS:
                    wrong.append(f"{place}: {metric} has no label {matcher.name}")
                elif matcher.name in {"operation", "what", "outcome"}:
                    known = _OPERATIONS if matcher.name == "operation" else constants
                    wrong += [
                        f"{place}: nothing is {matcher.name}={value}"
                        for value in matcher.value.split("|")
                        if not _is_known(value, known)
                    ]

    assert wrong == []
    assert len(list(_queries())) > 60


def _is_known(value: str, known: set[str]) -> bool:
    if value.endswith(".+"):
        return any(text.startswith(value.removesuffix(".+")) for text in known)
    return (
        value in known or re.escape(value) in known or any(re.fullmatch(text, value) for text in known if ".+" in text)
    )


def _families() -> dict[str, set[float]]:
    """Return what the service serves, each family with the bounds of its buckets."""
    metrics = PrometheusMetrics()
    metrics.request_began("login")(200)
    with metrics.timing("password_hash"):
        pass
    metrics.count("consumer")
    metrics.gauge("outbox_records", 1)
    page, _ = metrics.render()
    families: dict[str, set[float]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                name = re.sub(r"_(bucket|count|sum)$", "", sample.name)
                families.setdefault(name, set())
                if "le" in sample.labels:
                    families[name].add(float(sample.labels["le"]))
    return families


@pytest.mark.parametrize(("what", "budget"), [("errors", "0.001"), ("slow", "0.01")])
def test_the_burn_rates_are_those_of_the_workbook(what: str, budget: str) -> None:
    """Each pair of windows, its factor, and that the factor spends the share of a month's budget that is told."""
    alerts = [rule for rule in _rules() if rule.get("alert") and f"userservice:{what}:" in rule["expr"]]

    assert [alert["labels"]["severity"] for alert in alerts] == ["page", "page", "ticket", "ticket"]
    for alert, (long, short, factor, share) in zip(alerts, _BURN_RATES, strict=True):
        windows = [str(selection.name).rpartition("rate")[2] for selection in _selections(alert["expr"])]
        assert windows == [long, short]
        assert re.findall(r"> (\S+) \* (\S+)", alert["expr"]) == [(f"{factor:g}", budget)] * 2
        assert factor * promql_parser.parse_duration(long) / timedelta(days=30) == pytest.approx(share, rel=0.01)
        assert f"{share:.0%}".replace("%", " %") in alert["annotations"]["summary"]


def test_every_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    """A page or a ticket, with a sentence for whoever is woken by it."""
    alerts = [rule for rule in _rules() if "alert" in rule]

    assert {alert["labels"]["severity"] for alert in alerts} == {"page", "ticket"}
    for alert in alerts:
        assert alert.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert set(alert["annotations"]) == {"summary", "description"}
        if "for" in alert:
            assert promql_parser.parse_duration(alert["for"]) > timedelta(0)
    counts = Counter((alert["alert"], alert["labels"].get("window")) for alert in alerts)
    assert max(counts.values()) == 1


def test_the_panels_of_the_dashboard_lie_beside_each_other() -> None:
    """Numbers once each, no panel over another, and each with the variables of the dashboard."""
    taken: Counter[tuple[int, int]] = Counter()
    for panel in _DASHBOARD["panels"]:
        place = panel["gridPos"]
        taken.update(
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        )
    ids = [panel["id"] for panel in _DASHBOARD["panels"]]
    variables = {variable["name"] for variable in _DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w+)", json.dumps(_DASHBOARD["panels"])))

    assert max(taken.values()) == 1
    assert max(x for x, _ in taken) < 24
    assert len(ids) == len(set(ids))
    assert used == variables


def test_what_the_autoscalers_ask_for_is_supplied() -> None:
    """Each metric of pods or from outside has a rule of the adapter, and the other way round."""
    asked = set()
    for _, document in documents("base", "consumer"):
        if document["kind"] == "HorizontalPodAutoscaler":
            for metric in document["spec"]["metrics"]:
                if metric["type"] != "Resource":
                    kind = metric["type"].lower()
                    asked.add((kind, metric[kind]["metric"]["name"]))

    assert asked == {
        *(("pods", rule["name"]["as"]) for rule in _ADAPTER["rules"]),
        *(("external", rule["name"]["as"]) for rule in _ADAPTER["externalRules"]),
    }
    assert ("pods", REQUESTS_METRIC) in asked


def test_the_autoscaler_is_the_one_that_capacity_planning_simulates() -> None:
    """From 2 to 10 pods at 70 % of the processor, with the behaviour that the simulation has by default."""
    (manifest,) = (document["spec"] for place, document in documents("base") if place == "base/api-autoscaler.yaml")

    assert (manifest["minReplicas"], manifest["maxReplicas"]) == (2, 10)
    assert manifest["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    for direction, rules in (("scaleUp", autoscaler.SCALE_UP), ("scaleDown", autoscaler.SCALE_DOWN)):
        described = manifest["behavior"][direction]
        assert described["stabilizationWindowSeconds"] == rules.stabilization_seconds
        assert described["selectPolicy"] == rules.select
        assert [
            autoscaler.Policy(autoscaler.PolicyKind(each["type"]), each["value"], each["periodSeconds"])
            for each in described["policies"]
        ] == list(rules.policies)
