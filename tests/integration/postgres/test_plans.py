"""How PostgreSQL means to run the statements of the service."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from typing import TYPE_CHECKING

from userservice_core.infrastructure import postgres
from userservice_core.infrastructure.postgres.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg


def test_no_statement_is_compiled_before_it_runs(observer: psycopg.Connection) -> None:
    """
    Not on a database without statistics either, as a new one is.

    Compiling takes a hundred milliseconds and more, and a new connection's first statement pays it each time; the
    planner does it for whatever it believes to be dear.
    """
    observer.execute("SET plan_cache_mode = force_generic_plan")
    limit = float(_setting(observer, "jit_above_cost"))
    costs = {name: _cost(observer, statement) for name, statement in _statements()}

    assert len(costs) > 50
    assert {name: cost for name, cost in costs.items() if cost >= limit} == {}


def test_what_is_due_is_found_by_an_index(observer: psycopg.Connection) -> None:
    """A table is read as a whole only where nothing else is possible, and so it is for none of these."""
    observer.execute("SET enable_seqscan = off")
    observer.execute("SET plan_cache_mode = force_generic_plan")
    found = {name: text for name, text in _statements() if name.endswith(("_LOCK_EXPIRED", "._EXPIRED", "n._REMOVE"))}

    assert len(found) == 3
    assert {name: plan for name, text in found.items() if "Seq Scan" in (plan := _plan(observer, text))} == {}


def _statements() -> Iterator[tuple[str, str]]:
    """Return each statement that a module of the adapter holds, by its place."""
    for module_info in pkgutil.iter_modules(postgres.__path__, f"{postgres.__name__}."):
        module = importlib.import_module(module_info.name)
        for name, value in vars(module).items():
            if isinstance(value, Statement) and re.match(rb"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", value.text):
                yield f"{module_info.name}.{name}", value.text.decode()


def _cost(connection: psycopg.Connection, statement: str) -> float:
    return float(json.loads(_plan(connection, statement))[0]["Plan"]["Total Cost"])


def _plan(connection: psycopg.Connection, statement: str) -> str:
    names: dict[str, int] = {}
    prepared = re.sub(r"%\((\w+)\)s", lambda match: f"${names.setdefault(match[1], len(names) + 1)}", statement)
    connection.execute(f"PREPARE planned AS {prepared.replace('%%', '%')}".encode())
    try:
        arguments = f"({', '.join(['NULL'] * len(names))})" if names else ""
        row = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE planned{arguments}".encode()).fetchone()
    finally:
        connection.execute("DEALLOCATE planned")
    assert row is not None
    return json.dumps(row[0])


def _setting(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])
