"""What a start leaves for whoever needs it first: cold starts are waited for, and most processes never need it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sqlalchemy import select

from userservice_core.infrastructure.postgres import tables
from userservice_core.infrastructure.postgres.statements import Statement

_ROOT = Path(__file__).parents[2]

_FIRST_REQUEST = """
from userservice_core import bootstrap_in_memory
from userservice_core.http.messages import Request
from userservice_core.infrastructure.security.common_passwords import common_passwords

memory = bootstrap_in_memory()
assert memory.service.pipeline.handle(Request(method="GET", path="/users/me")).status == 401
assert common_passwords.cache_info().currsize == 0
"""


def _modules_after(program: str) -> set[str]:
    """Return the modules that a new process has at the end of a program."""
    printing = f"{program}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    finished = subprocess.run(
        [sys.executable, "-c", printing], cwd=_ROOT, check=True, capture_output=True, text=True, timeout=30
    )
    return set(json.loads(finished.stdout.splitlines()[-1]))


def test_a_first_request_needs_neither_the_description_nor_the_common_passwords() -> None:
    """They are made when they are first asked for, and nobody's library of traces is loaded where none is set up."""
    loaded = _modules_after(_FIRST_REQUEST)

    assert loaded & {"userservice_core.http.openapi", "userservice_core.http.documentation", "opentelemetry"} == set()


def test_verifying_tokens_loads_little_of_the_library() -> None:
    """Neither what signs nor what keeps roles and their lists."""
    loaded = _modules_after("from userservice_core import Authorizer, TokenVerifier")

    ours = {name.removeprefix("userservice_core.") for name in loaded if name.startswith("userservice_core.")}
    assert {name for name in ours if name.startswith("domain.")} == {
        "domain.ids",
        "domain.permission_sets",
        "domain.signing_keys",
    }
    assert "infrastructure.security.keys" not in ours


def test_a_statement_is_compiled_when_it_is_first_run() -> None:
    """Of the hundreds that a process knows it runs few; the fixed values are those of what was compiled."""
    clause = select(tables.roles.c.role_id).where(tables.roles.c.name == "administrator")
    statement = Statement(clause)

    step = statement()

    assert list(step[1].values()) == ["administrator"]
    assert statement.text.startswith(b"SELECT")
    assert Statement(clause).explained().text == b"EXPLAIN (FORMAT JSON) " + statement.text
    assert Statement(clause).explained()()[1] == step[1]
