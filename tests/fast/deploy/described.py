"""What the files of `deploy/` say, read from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[3]
DEPLOY: Final = ROOT / "deploy"
KUBERNETES: Final = DEPLOY / "kubernetes"
_WORKLOADS: Final = frozenset({"Deployment", "StatefulSet", "Job"})


@attrs.frozen(kw_only=True)
class Container:
    """A container of ours in one of the files: where, its arguments, its variables."""

    place: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str]


def documents(*folders: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each Kubernetes object of *folders*, with the name of its file; of all folders if none is named."""
    for folder in folders or tuple(sorted(path.name for path in KUBERNETES.iterdir())):
        for file in sorted((KUBERNETES / folder).glob("*.yaml")):
            for document in yaml.safe_load_all(file.read_text()):
                if "apiVersion" in document and document["kind"] != "Kustomization":
                    yield f"{folder}/{file.name}", document


def workloads(*folders: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield each object that makes pods: its file, itself, and the specification of its pods."""
    for place, document in documents(*folders):
        if document["kind"] in _WORKLOADS:
            yield place, document, document["spec"]["template"]["spec"]


def settings_of(folder: str) -> dict[str, str]:
    """Return the variables of the ConfigMap of *folder*; empty where there is none."""
    file = KUBERNETES / folder / "settings.env"
    if not file.exists():
        return {}
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def compose() -> dict[str, Any]:
    """Return the file for docker compose."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    return document


class _Intrinsic(yaml.SafeLoader):
    """Reads what CloudFormation adds to YAML: `!Ref` and the like, as what they are given."""


def _intrinsic(loader: _Intrinsic, _suffix: str, node: yaml.Node) -> Any:  # noqa: ANN401 - YAML
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Intrinsic.add_multi_constructor("!", _intrinsic)


def template() -> dict[str, Any]:
    """Return the template for AWS."""
    text = (DEPLOY / "lambda" / "template.yaml").read_text()
    document: dict[str, Any] = yaml.load(text, _Intrinsic)  # noqa: S506 - a safe loader
    return document


def containers() -> Iterator[Container]:
    """Yield every container of ours, of all files."""
    for place, _, pods in workloads():
        for container in pods["containers"]:
            folder = place.partition("/")[0]
            variables = settings_of(folder) | {each["name"]: each["value"] for each in container.get("env", ())}
            yield Container(place=place, arguments=tuple(container["args"]), variables=variables)
    for name, service in compose()["services"].items():
        if service.get("image") == "userservice":
            yield Container(
                place=f"compose/{name}", arguments=tuple(service["command"]), variables=service["environment"]
            )
    resources = template()["Resources"]
    for task in (each for each in resources.values() if each["Type"] == "AWS::ECS::TaskDefinition"):
        for container in task["Properties"]["ContainerDefinitions"]:
            variables = {each["Name"]: str(each["Value"]) for each in container["Environment"]}
            variables |= {each["Name"]: str(each["ValueFrom"]) for each in container["Secrets"]}
            yield Container(place="lambda/relay", arguments=tuple(container["Command"]), variables=variables)
