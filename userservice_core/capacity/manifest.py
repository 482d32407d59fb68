"""The manifest of the planned autoscaler, and the settings that go with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.capacity.autoscaler import Rules
    from userservice_core.capacity.plan import Plan

REQUESTS_METRIC: Final = "userservice_http_requests_per_second"
"""As the adapter of `deploy/kubernetes` calls the requests a second of a pod."""


def autoscaler_manifest(plan: Plan) -> dict[str, Any]:
    """Return a HorizontalPodAutoscaler (autoscaling/v2) that does what the plan's simulation did."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "userservice-api"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "userservice-api"},
            "minReplicas": plan.specification.least,
            "maxReplicas": plan.specification.most,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {
                            "type": "Utilization",
                            "averageUtilization": round(plan.target.utilization * 100),
                        },
                    },
                },
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": REQUESTS_METRIC},
                        "target": {
                            "type": "AverageValue",
                            "averageValue": str(max(1, round(plan.pods.requests_per_second))),
                        },
                    },
                },
            ],
            "behavior": {
                "scaleUp": _rules(plan.specification.scale_up),
                "scaleDown": _rules(plan.specification.scale_down),
            },
        },
    }


def _rules(rules: Rules) -> dict[str, Any]:
    return {
        "stabilizationWindowSeconds": rules.stabilization_seconds,
        "selectPolicy": rules.select.value,
        "policies": [
            {"type": policy.kind.value, "value": policy.value, "periodSeconds": policy.period_seconds}
            for policy in rules.policies
        ],
    }


def as_yaml(document: dict[str, Any]) -> str:
    """Return *document* as YAML, its scalars as JSON, which YAML includes."""
    return "".join(f"{line}\n" for line in _lines(document))


def _lines(value: dict[str, Any] | list[Any]) -> Iterator[str]:
    for name, part in value.items() if isinstance(value, dict) else (("-", part) for part in value):
        lead = "-" if isinstance(value, list) else f"{name}:"
        if not isinstance(part, dict | list):
            yield f"{lead} {json.dumps(part)}"
            continue
        lines = list(_lines(part))
        if isinstance(value, list):
            yield f"- {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])
        else:
            yield lead
            yield from (f"  {line}" for line in lines)
