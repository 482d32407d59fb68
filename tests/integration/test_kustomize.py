"""What kustomize makes of `deploy/kubernetes`: the objects that a cluster is given."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from tests.servers import installed

_KUBERNETES: Final = Path(__file__).parents[2] / "deploy" / "kubernetes"
_VERSION: Final = "1.34"


def _built(folder: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the objects of *folder* by kind and name."""
    command = [installed.kustomize(), "build", str(_KUBERNETES / folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return {(document["kind"], document["metadata"]["name"]): document for document in yaml.safe_load_all(output)}


@pytest.mark.parametrize("folder", sorted(path.name for path in _KUBERNETES.iterdir()))
def test_what_is_built_is_valid_and_refers_to_what_there_is(folder: str) -> None:
    """By the schemas of Kubernetes; settings come from the ConfigMap that goes with them, by the hash in its name."""
    built = _built(folder)
    for (kind, name), document in built.items():
        kubernetes_validate.validate(document, _VERSION, strict=True)
        if kind == "HorizontalPodAutoscaler":
            target = document["spec"]["scaleTargetRef"]
            assert (target["kind"], target["name"]) in built
        if kind in {"Deployment", "Job"}:
            pods = document["spec"]["template"]["spec"]
            assert pods.get("serviceAccountName") in {None, *(name for kind, name in built if kind == "ServiceAccount")}
            for container in pods["containers"]:
                assert ":" in container["image"], name
                for source in container.get("envFrom", ()):
                    assert ("ConfigMap", source["configMapRef"]["name"]) in built


def test_an_overlay_changes_what_is_its_own_and_nothing_else() -> None:
    """Addresses, registry, namespace and size; the rest of the settings stays."""
    base, example = _built("base"), _built("example")
    (base_settings,) = (document["data"] for (kind, _), document in base.items() if kind == "ConfigMap")
    (settings,) = (document["data"] for (kind, _), document in example.items() if kind == "ConfigMap")
    api = example["Deployment", "userservice-api"]
    changed = {name for name, value in settings.items() if base_settings[name] != value}

    assert changed == {"USERSERVICE_ISSUER", "USERSERVICE_PUBLIC_URL", "USERSERVICE_MAIL_FROM"}
    assert settings.keys() == base_settings.keys()
    assert api["metadata"]["namespace"] == "accounts"
    assert api["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.shop.example/userservice:0.1.0"
    assert example["HorizontalPodAutoscaler", "userservice-api"]["spec"]["maxReplicas"] == 30
