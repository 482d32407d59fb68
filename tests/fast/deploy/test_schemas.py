"""The files for docker compose, AWS and the services of continuous integration, by the schemas of their readers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import check_jsonschema
import jsonschema
import pytest
import yaml

from tests.fast.deploy.described import DEPLOY, compose

_SCHEMAS: Final = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"


def _faults(document: Any, schema: str) -> list[str]:  # noqa: ANN401 - JSON
    described = json.loads((_SCHEMAS / schema).read_text())
    validator = jsonschema.validators.validator_for(described)(described)
    return [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(document)]


def test_the_file_for_compose_is_valid() -> None:
    """By the schema of the Compose Specification; and what a service waits for is there, and can become it."""
    document = compose()
    services = document["services"]
    waits = [
        (name, awaited, how["condition"], services.get(awaited, {}))
        for name, service in services.items()
        for awaited, how in service.get("depends_on", {}).items()
    ]

    assert _faults(document, "compose-spec.json") == []
    assert [wait for wait in waits if not wait[3]] == []
    assert [wait[:3] for wait in waits if wait[2] == "service_healthy" and "healthcheck" not in wait[3]] == []
    named = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    files = {each for each in named if each.startswith("./")}
    assert named - files == set(document["volumes"])
    assert [each for each in sorted(files) if not (DEPLOY / "compose" / each).exists()] == []


def test_a_mistake_in_the_file_for_compose_is_found() -> None:
    """The schema bites."""
    document = compose()
    document["services"]["api"]["restarts"] = "always"

    assert _faults(document, "compose-spec.json") != []


@pytest.mark.parametrize("script", sorted((DEPLOY / "compose").glob("*.sh")), ids=lambda file: file.name)
def test_the_scripts_can_be_read_by_their_shell(script: Path) -> None:
    """Every line of them."""
    shell = script.read_text().partition("\n")[0].removeprefix("#!")
    subprocess.run([shell, "-n", str(script)], check=True, timeout=10)


def test_the_template_for_aws_is_valid(tmp_path: Path) -> None:
    """By the rules of CloudFormation and of the Serverless Application Model, which find a mistake."""
    file = DEPLOY / "lambda" / "template.yaml"
    mistaken = tmp_path / "template.yaml"
    mistaken.write_text(file.read_text().replace("EngineFamily: POSTGRESQL", "EngineFamily: SQLITE"))

    lines = _lint(file, mistaken)

    assert [line for line in lines if not line.startswith(str(mistaken))] == []
    assert any("'SQLITE' is not one of" in line for line in lines)


def _lint(*files: Path) -> list[str]:
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "parseable", "--regions", "eu-central-1"]
    finished = subprocess.run(
        [*command, "--", *map(str, files)], capture_output=True, text=True, check=False, timeout=120
    )
    return [*finished.stdout.splitlines(), *finished.stderr.splitlines()]


def test_the_templates_of_continuous_integration_run_what_there_is() -> None:
    """Targets of the Makefile, and files that exist."""
    makefile = (DEPLOY.parent / "Makefile").read_text()
    script = (DEPLOY / "ci" / "nightly.sh").read_text()
    targets = [line.split()[1] for line in script.splitlines() if line.startswith("make ")]

    assert targets
    assert [target for target in targets if f"\n{target}: " not in makefile] == []
    assert _faults(yaml.safe_load((DEPLOY / "ci" / "gitlab.yaml").read_text()), "gitlab-ci.json") == []
    workflow = yaml.safe_load((DEPLOY / "ci" / "github.yaml").read_text())
    workflow["on"] = workflow.pop(True)  # YAML 1.1 takes the word for a truth value
    assert _faults(workflow, "github-workflows.json") == []
