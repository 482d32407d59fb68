"""What each extra brings: the host that it is for works with it alone, and nothing else comes along."""

from __future__ import annotations

import functools
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT: Final = Path(__file__).parents[2]

# What an installation with these extras can do, and what it has not: distributions that only other extras need.
_INSTALLATIONS: Final = {
    "": (
        "import userservice_core; from userservice_core import Authorizer, TokenVerifier",
        {"argon2-cffi", "click", "flask", "granian", "kafka-python", "prometheus-client", "sqlalchemy", "starlette"},
    ),
    "starlette": (
        (
            "from userservice_core.adapters.starlette_app.app import create_app\n"
            "create_app(userservice_core.bootstrap_in_memory().service)"
        ),
        {"awslambdaric", "flask", "jinja2", "kafka-python", "psycopg", "redis", "rich", "sqlalchemy"},
    ),
    "flask": (
        (
            "from userservice_core.adapters.flask_app.app import create_app\n"
            "create_app(userservice_core.bootstrap_in_memory().service)"
        ),
        {"awslambdaric", "kafka-python", "psycopg", "redis", "rich", "sqlalchemy", "starlette"},
    ),
    "lambda": (
        (
            "from userservice_core.adapters.lambda_handler.app import create_handler\n"
            "create_handler(userservice_core.bootstrap_in_memory().service)"
        ),
        {"click", "flask", "granian", "jinja2", "kafka-python", "psycopg", "redis", "sqlalchemy", "starlette"},
    ),
    "kafka": (
        ("from userservice_core import EventConsumer, KafkaEventSource, PostgresInbox\nimport kafka"),
        {"argon2-cffi", "click", "flask", "granian", "prometheus-client", "redis", "sqlalchemy", "starlette"},
    ),
    "cli": (
        "from userservice_core.cli import main\nmain(['capacity', '--help'], standalone_mode=False)",
        {"argon2-cffi", "flask", "granian", "kafka-python", "matplotlib", "psycopg", "sqlalchemy", "starlette"},
    ),
}

# Refuses what other distributions own, as if they were not installed.
_WITHOUT: Final = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in missing:
            raise ModuleNotFoundError(f'{name} is not part of this installation', name=name)
missing = set(sys.argv[1].split(','))
sys.meta_path.insert(0, Missing())
import userservice_core
"""


@functools.cache
def _needed(name: str, extras: frozenset[str]) -> frozenset[tuple[str, frozenset[str]]]:
    """Return what *name* with *extras* asks for directly."""
    found = set()
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        environments = [{"extra": extra} for extra in extras or {""}]
        if requirement.marker is None or any(requirement.marker.evaluate(each) for each in environments):
            found.add((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return frozenset(found)


def _closure(extra: str) -> set[str]:
    """Return every distribution that `pip install userservice[extra]` brings."""
    waiting, seen = [("userservice", frozenset({extra} - {""}))], set()
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting += _needed(*one)
    return {name for name, _ in seen}


def _modules_of_others(extra: str) -> list[str]:
    """Return the modules of all distributions here that *extra* does not bring."""
    brought = _closure(extra)
    owners = metadata.packages_distributions()
    return sorted(
        module
        for module, names in owners.items()
        if module.isidentifier() and not {canonicalize_name(name) for name in names} & brought
    )


@pytest.mark.parametrize("extra", _INSTALLATIONS, ids=lambda extra: extra or "base")
def test_an_extra_brings_what_it_needs_and_no_more(extra: str) -> None:
    """A process in which nothing else can be imported does what the extra is for."""
    program, unwanted = _INSTALLATIONS[extra]
    missing = _modules_of_others(extra)
    finished = subprocess.run(
        [sys.executable, "-c", _WITHOUT + program, ",".join(missing)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert finished.returncode == 0, finished.stderr[-2000:]
    assert _closure(extra) & unwanted == set()


def test_every_host_is_part_of_all() -> None:
    """`userservice[all]` brings what each of the others does, but for tests and plots."""
    assert {name for extra in _INSTALLATIONS for name in _closure(extra)} <= _closure("all")
    assert "matplotlib" not in _closure("all")


def test_a_host_misses_what_it_needs(tmp_path: Path) -> None:
    """The check bites: without its framework a host cannot be imported."""
    program = _WITHOUT + _INSTALLATIONS["starlette"][0]
    finished = subprocess.run(
        [sys.executable, "-c", program, "starlette"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"HOME": str(tmp_path)},
    )

    assert "starlette is not part of this installation" in finished.stderr
