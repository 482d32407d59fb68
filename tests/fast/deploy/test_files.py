"""Names, commands, ports and paths in the files of `deploy/` are those of the code."""

from __future__ import annotations

import configparser
import re
from typing import TYPE_CHECKING, Any, Final

import click
import kubernetes_validate
import pytest
import yaml

from tests.fast.deploy.described import (
    DEPLOY,
    KUBERNETES,
    ROOT,
    Container,
    compose,
    containers,
    documents,
    settings_of,
    template,
    workloads,
)
from userservice_core.bootstrap import new_key_ring
from userservice_core.cli import main
from userservice_core.config import Settings
from userservice_core.http.routes import METRICS_ROUTE, ROUTES

if TYPE_CHECKING:
    from pathlib import Path

# The oldest and the newest version of Kubernetes that is supported at the time of writing, and a future one as known.
_KUBERNETES: Final = ("1.32", "1.34", "1.36")
_SECRETS: Final = {
    "database-url": "postgresql://userservice:secret@postgres:5432/userservice",
    "database-direct-url": "postgresql://userservice:secret@postgres:5432/userservice",
    "databaseUrl": "postgresql://userservice:secret@proxy:5432/userservice",
    "directDatabaseUrl": "postgresql://userservice:secret@postgres:5432/userservice",
    "mail-url": "smtp+starttls://user:secret@mail:587",
    "mailUrl": "smtp+starttls://user:secret@mail:587",
    "cache-url": "redis://redis:6379/0",
}
_PARAMETERS: Final = {
    "Issuer": "https://accounts.example.com",
    "PublicUrl": "https://www.example.com",
    "MailFrom": "no-reply@example.com",
    "KafkaBootstrapServers": "kafka:9094",
}
_EVERY_CONTAINER: Final = tuple(containers())
_PROBES_OF_CONSUMERS: Final = frozenset({"/health/live", "/metrics"})


@pytest.mark.parametrize("version", _KUBERNETES)
def test_every_object_is_valid(version: str) -> None:
    """By the schemas of Kubernetes, with no member that it does not know."""
    for place, document in documents():
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{place}: {document['kind']} {document['metadata']['name']}: {error}")


def test_every_file_is_part_of_a_kustomization() -> None:
    """One that is forgotten would never be applied."""
    forgotten = []
    for folder in KUBERNETES.iterdir():
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text())
        named = {*listed.get("resources", ())}
        for generator in listed.get("configMapGenerator", ()):
            named |= {*generator.get("envs", ()), *generator.get("files", ())}
        files = {file.name for file in folder.iterdir()} - {"kustomization.yaml"}
        forgotten += sorted(files - named)

    assert forgotten == []


@pytest.mark.parametrize("container", _EVERY_CONTAINER, ids=lambda container: container.place)
def test_the_settings_are_taken(container: Container, tmp_path: Path) -> None:
    """Each variable is a setting of the service, and all together are what it starts with."""
    if not container.variables:
        assert container.arguments[0] == "consume"  # of another service, whose settings are its own
        return
    variables = {name: str(value) for name, value in container.variables.items() if name.startswith("USERSERVICE_")}
    assert len(variables) == len(container.variables)

    assert _read(variables, tmp_path).database_url.startswith("postgresql://")


@pytest.mark.parametrize("function", ["Function", "Consumer"])
def test_the_settings_of_the_functions_are_taken(function: str, tmp_path: Path) -> None:
    """Each serves one request at a time, by one connection, within its time."""
    properties = template()["Resources"][function]["Properties"]
    settings = _read(properties["Environment"]["Variables"], tmp_path)

    assert (settings.database_pool_size, settings.workers) == (1, 1)
    assert properties["Timeout"] > settings.request_timeout_seconds


def _read(variables: dict[str, Any], folder: Path) -> Settings:
    """Read settings with secrets that are somewhere else put in, by the last part of what they are named by."""
    given = {}
    for name, value in variables.items():
        key = re.split(r"[/:]", str(value).rstrip(":}"))[-1]
        if name.endswith("_FILE"):
            file = folder / name
            file.write_text(_SECRETS.get(key) or new_key_ring())
            given[name] = str(file)
        elif "secretsmanager" in str(value) or "SecretArn" in str(value):
            given[name] = _SECRETS.get(key) or new_key_ring()
        else:
            given[name] = _PARAMETERS.get(str(value), str(value))
    return Settings.from_environment(given)


@pytest.mark.parametrize("container", _EVERY_CONTAINER, ids=lambda container: container.place)
def test_the_command_can_be_given(container: Container) -> None:
    """By the command line itself, with all its options."""
    command: click.Command = main
    context = click.Context(main)
    arguments = list(container.arguments)
    while isinstance(command, click.Group) and arguments and arguments[0] in command.commands:
        command = command.commands[arguments.pop(0)]
    command.make_context(command.name, arguments, parent=context)

    assert command is not main


def test_probes_and_ports_are_those_that_are_served() -> None:
    """Paths are routes, or what a relay or a consumer serves; ports are those of the settings or of the command."""
    routes = {route.path for route in ROUTES}
    for place, document, pods in workloads():
        for container in pods["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
            given, served = _served_ports(place, container["args"]), {}
            served = {"http": routes, "metrics": {METRICS_ROUTE.path}, "probes": _PROBES_OF_CONSUMERS}
            assert ports == given, place
            for name, probe in container.items():
                if name.endswith("Probe"):
                    assert probe["httpGet"]["path"] in served[probe["httpGet"]["port"]], f"{place}: {name}"
            annotations = document["spec"]["template"]["metadata"].get("annotations", {})
            if ports:
                assert int(annotations["prometheus.io/port"]) in ports.values(), place


def _served_ports(place: str, arguments: list[str]) -> dict[str, int]:
    """Return the ports that a command with these arguments listens on."""
    match arguments:
        case ["serve", *_]:
            variables = settings_of(place.partition("/")[0])
            return {
                "http": int(variables["USERSERVICE_PORT"]),
                "metrics": int(variables["USERSERVICE_METRICS_PORT"]),
            }
        case ["relay", "--metrics-port", port]:
            return {"metrics": int(port)}
        case ["consume", *_]:
            return {"probes": int(arguments[arguments.index("--probe-port") + 1])}
        case _:
            return {}


def test_the_network_lets_in_what_is_served_and_out_to_what_is_used() -> None:
    """Requests from anywhere, metrics from where Prometheus is, and the ports of the settings outwards."""
    policies = {
        document["metadata"]["name"]: document["spec"]
        for _, document in documents("base")
        if document["kind"] == "NetworkPolicy"
    }
    served = [
        port
        for place, _, pods in workloads("base", "consumer")
        for container in pods["containers"]
        for port in _served_ports(place, container["args"]).items()
    ]
    open_to_all = {port["port"] for port in policies["userservice-api"]["ingress"][0]["ports"]}
    to_monitoring = {port["port"] for port in policies["userservice"]["ingress"][0]["ports"]}
    outwards = {port["port"] for rule in policies["userservice"]["egress"] for port in rule["ports"]}
    brokers = settings_of("base")["USERSERVICE_KAFKA_BOOTSTRAP_SERVERS"].split(",")

    assert open_to_all == {port for name, port in served if name == "http"}
    assert to_monitoring == {port for name, port in served if name != "http"}
    assert outwards >= {53, 443, 587, 5432, 6379, *(int(broker.rpartition(":")[2]) for broker in brokers)}


def test_what_runs_may_nothing_that_it_need_not() -> None:
    """Not root, no file system to write to but a small one in memory, no capability, no token of the cluster."""
    for place, document, pods in workloads():
        assert pods["automountServiceAccountToken"] is False, place
        assert pods["enableServiceLinks"] is False, place
        assert pods["securityContext"]["runAsNonRoot"] is True, place
        assert pods["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, place
        for container in pods["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, place
            assert "memory" in container["resources"]["limits"], place
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), place
        assert document["metadata"]["name"] != "userservice", place
    for name, service in compose()["services"].items():
        if service.get("image") == "userservice":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name


def test_what_has_replicas_has_a_budget_an_autoscaler_and_room_to_end() -> None:
    """Each Deployment is scaled, is never taken away as a whole, and gets longer than its shutdown takes."""
    by_kind: dict[str, dict[str, Any]] = {}
    for _, document in documents("base", "consumer"):
        by_kind.setdefault(document["kind"], {})[document["metadata"]["name"]] = document
    deployments = by_kind["Deployment"]
    budgets = by_kind["PodDisruptionBudget"]
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in by_kind["HorizontalPodAutoscaler"].values()}

    assert deployments.keys() == budgets.keys() == scaled
    for name, deployment in deployments.items():
        assert "replicas" not in deployment["spec"], name
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert budgets[name]["spec"]["selector"]["matchLabels"].items() <= labels.items()
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        settings = Settings(database_url="", issuer="")
        drain = float(settings_of("base")["USERSERVICE_DRAIN_DELAY_SECONDS"]) if container["args"] == ["serve"] else 0
        least = drain + settings.request_timeout_seconds + 10
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= least, name


def test_the_image_starts_what_is_installed_in_it() -> None:
    """Its extras are extras, its variables are settings, and it runs as nobody in particular."""
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    extras = configparser.ConfigParser(interpolation=None)
    extras.read(ROOT / "setup.cfg")
    installed = re.findall(r"'\.\[([a-z,]+)\]'", text)[0].split(",")
    variables = dict(re.findall(r"(USERSERVICE_\w+)=(\S+)", text))

    assert set(installed) <= extras["options.extras_require"].keys()
    assert {"starlette", "flask", "postgres", "kafka", "cache", "mail", "cli"} <= set(installed)
    needed = {"USERSERVICE_ISSUER": "https://a.example", "USERSERVICE_DATABASE_URL": _SECRETS["database-url"]}
    assert Settings.from_environment({"USERSERVICE_PROFILE": "test", **needed, **variables}).port == 8000
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE) == ["10001:10001"]
    assert {route.path for route in ROUTES} >= set(re.findall(r"'(/health/\w+)'", text))


@pytest.mark.parametrize("function", ["Function", "Consumer"])
def test_the_handlers_of_the_functions_are_there(function: str) -> None:
    """Under the names that an installation gives them."""
    handler = template()["Resources"][function]["Properties"]["Handler"]
    module, _, name = handler.rpartition(".")
    file = ROOT / f"{module.removeprefix('userservice_core.').replace('.', '/')}.py"

    assert name == "handler"
    assert re.search(r"^handler = ", file.read_text(), re.MULTILINE)


def test_the_consumers_read_the_topics_that_others_write() -> None:
    """The function has an event source for each topic of the service's own consumer."""
    sources = template()["Resources"]["Consumer"]["Properties"]["Events"].values()
    page = (ROOT / "docs" / "how-to" / "tell-the-service.md").read_text()

    assert {topic for source in sources for topic in source["Properties"]["Topics"]} == set(
        re.findall(r"^\| `(userservice\.[\w.-]+)` \|", page, re.MULTILINE)
    )
