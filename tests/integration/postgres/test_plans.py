"""How PostgreSQL means to run the statements of the service."""

from __future__ import annotations

import importlib
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


def _statements() -> Iterator[tuple[str, str]]:
    """Return each statement that a module of the adapter holds, by its place."""
    for module_info in pkgutil.iter_modules(postgres.__path__, f"{postgres.__name__}."):
        module = importlib.import_module(module_info.name)
        for name, value in vars(module).items():
            if isinstance(value, Statement) and re.match(rb"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", value.text):
                yield f"{module_info.name}.{name}", value.text.decode()


def _cost(connection: psycopg.Connection, statement: str) -> float:
    names: dict[str, int] = {}
    prepared = re.sub(r"%\((\w+)\)s", lambda match: f"${names.setdefault(match[1], len(names) + 1)}", statement)
    connection.execute(f"PREPARE planned AS {prepared.replace('%%', '%')}".encode())
    try:
        arguments = f"({', '.join(['NULL'] * len(names))})" if names else ""
        row = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE planned{arguments}".encode()).fetchone()
    finally:
        connection.execute("DEALLOCATE planned")
    assert row is not None
    return float(row[0][0]["Plan"]["Total Cost"])


def _setting(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])
