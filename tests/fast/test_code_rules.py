"""What no line of the runtime packages does, whatever a comment beside it allows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(__file__).parents[2]
_RUNTIME: Final = ("userservice_core", "adapters")

_STARTS_PROGRAMS: Final = {
    "userservice_core/cli.py": "starts the server of `userservice dev`",
    "userservice_core/infrastructure/postgres/embedded.py": "starts the database of `userservice dev`",
}
"""Who starts a program, with a list of arguments and no shell, and why; nothing that serves does."""

_SQL: Final = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|FROM|WHERE|GRANT|REVOKE|DROP|LOCK TABLE)\b")
_CONSTANT: Final = re.compile(r"_?[A-Z][A-Z0-9_]*( - 1)?|[A-Z]\w+\.[A-Z_]+|_LEASES\.held")
_OPENS: Final = re.compile(r"\b(urllib\.request|http\.client|httpx|requests|aiohttp|urllib3)\b")
_NAMES_OF_TABLES: Final = {
    "leases.py": {
        "members", "member", "lanes", "extra_column", "extra_value", "of_group", "same_group", "claimable",
        "alive",
    },
    "outbox_store.py": {"slot"},
}  # fmt: skip
"""What is put into statements beside constants: names of tables and columns of ours, and the number of a partition."""


def _found(*rules: str) -> set[str]:
    """Return the files in which ruff finds what *rules* forbid, comments or not."""
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--ignore-noqa"),
            *("--output-format", "concise", "--select", ",".join(rules), *_RUNTIME),
        ],
        cwd=_ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode in {0, 1}, finished.stderr
    files = re.findall(r"^([\w/.]+\.py):", finished.stdout, re.MULTILINE)
    # What is shipped for tests reads nothing but what the service wrote.
    return {file for file in files if not file.startswith("userservice_core/testing/")}


@pytest.mark.asvs("1.2.5")
def test_serving_starts_no_program() -> None:
    """And nothing goes through a shell."""
    assert _found("S602", "S604", "S605", "S606", "S607", "S609") == set()
    assert _found("S603") == set(_STARTS_PROGRAMS)


@pytest.mark.asvs("1.3.2")
def test_nothing_is_run_that_was_read() -> None:
    """No `exec` and `eval`, no pickle, marshal or shelve, no YAML that makes objects, no XML."""
    assert _found("S102", "S301", "S302", "S307", "S506", "S310", "S313", "S314", "S315", "S316", "S317", "S318") <= {
        "userservice_core/cli.py",
        "userservice_core/infrastructure/security/key_set_fetcher.py",
    }
    imported = {
        name
        for file in _files()
        if "testing" not in file.parts
        for name in _imports(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert imported & {"pickle", "marshal", "shelve", "dill", "yaml", "xml", "lxml"} == set()


@pytest.mark.asvs("11.4.1")
def test_no_broken_hash_and_no_broken_cipher_is_used() -> None:
    """Neither MD5 nor ECB, DES or RC4, and SHA-1 only where the list of breached passwords is keyed by it."""
    assert _found("S303", "S304", "S305", "S324") == set()
    broken = re.compile(r"hashlib\.(?:md5|sha1)|hashes\.(?:MD5|SHA1)|modes\.ECB|ARC4|TripleDES")
    used = {(file.name, name) for file in _files() for name in broken.findall(file.read_text(encoding="utf-8"))}
    assert used == {("breached_passwords.py", "hashlib.sha1")}


@pytest.mark.asvs("11.5.1")
def test_no_secret_comes_from_a_generator_that_can_be_foretold() -> None:
    """`random` decides how long to wait and which replica is read, and no more."""
    assert _found("S311") == {
        "userservice_core/bootstrap.py",
        "userservice_core/infrastructure/messaging/consumer.py",
        "userservice_core/infrastructure/postgres/database.py",
        "userservice_core/infrastructure/postgres/replicas.py",
        "userservice_core/infrastructure/postgres/signal.py",
    }


@pytest.mark.asvs("1.1.2", "1.2.4")
def test_statements_are_made_of_constants() -> None:
    """Whatever comes from outside reaches the database as a parameter."""
    folder = _ROOT / "userservice_core" / "infrastructure" / "postgres"
    made = {
        (file.name, part)
        for file in folder.glob("*.py")
        for part in _put_into_sql(ast.parse(file.read_text(encoding="utf-8")))
    }

    assert made
    assert {(file, part) for file, part in made if not _is_ours(file, part)} == set()


def _is_ours(file: str, part: str) -> bool:
    return _CONSTANT.fullmatch(part) is not None or part in _NAMES_OF_TABLES.get(file, ())


def _put_into_sql(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            said = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            if _SQL.search(said):
                yield from (ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue))


def _files() -> Iterator[Path]:
    return (file for name in _RUNTIME for file in (_ROOT / name).rglob("*.py"))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


_FORMATS: Final = {
    "userservice_core/http/documentation.py": "the sentences about a schema",
    "userservice_core/infrastructure/postgres/rights.py": "statements, whose parts are quoted by the driver",
    "userservice_core/infrastructure/postgres/signal.py": "as above",
    "userservice_core/infrastructure/postgres/embedded.py": "as above",
}
"""Where `format` is called on what is no literal, and on which text of the code."""


@pytest.mark.asvs("1.3.10")
def test_no_text_from_outside_is_a_format() -> None:
    """Logs take fields; `format` is called on texts that stand in the code."""
    called = {
        file.relative_to(_ROOT).as_posix()
        for file in _files()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"format", "format_map"}
        and not isinstance(node.func.value, ast.Constant)
    }

    assert called == set(_FORMATS)


@pytest.mark.asvs("1.3.6", "14.2.3")
def test_no_address_is_opened_but_those_of_settings() -> None:
    """The keys of others, and the breached passwords; `userservice dev` asks its own server whether it is ready."""
    opening = {
        file.relative_to(_ROOT).as_posix()
        for file in _files()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom) and _OPENS.search(ast.unparse(node))
    }

    assert opening == {"userservice_core/cli.py", "userservice_core/infrastructure/security/strict_http.py"}
