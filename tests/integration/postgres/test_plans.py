"""How PostgreSQL means to run the statements of the service: every one of them, on a hundred thousand users."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import re
from typing import TYPE_CHECKING

import psycopg
import pytest

from benchmarks.statements import (
    FACTORIES,
    PAGE,
    READ_AS_A_WHOLE,
    USERS,
    Plan,
    modules,
    plan_of,
    samples_of,
    sorts_of,
    statements,
    whole_tables_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.postgres import PostgresServer
    from tests.servers.run import ServersOfRun
    from userservice_core.infrastructure.postgres.statements import Statement


@pytest.fixture(scope="module")
def plans(postgres_server: PostgresServer, servers_of_run: ServersOfRun) -> dict[str, Plan]:
    """How each statement is run."""
    dsn = postgres_server.dsn(servers_of_run.filled(USERS))
    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
        known = samples_of(connection)
        return {path: plan_of(connection, statement, known) for path, statement in statements().items()}


def test_no_growing_table_is_read_as_a_whole(plans: dict[str, Plan]) -> None:
    """Each statement has an index for what it looks for."""
    assert len(plans) > 250
    assert whole_tables_of(plans) == {}
    assert set(plans) >= set(READ_AS_A_WHOLE)


def test_nothing_is_sorted_that_an_index_has_in_order(plans: dict[str, Plan]) -> None:
    """No more rows than a user has roles, or a page has rows; what a filter finds may be sorted, for it is bounded."""
    assert sorts_of(plans) == {}


def test_the_reference_has_every_statement(plans: dict[str, Plan]) -> None:
    """Whoever adds one renews the page: `make statements`."""
    page = PAGE.read_text()
    module, listed = "", set()
    for line in page.splitlines():
        if heading := re.fullmatch(r"## (\w+)", line):
            module = heading[1]
        elif row := re.match(r"\| `(.+?)` \|", line):
            listed.add(f"{module}.{row[1]}")

    assert listed == set(plans)


def test_no_statement_is_made_where_it_is_not_found() -> None:
    """A statement is a global of its module, or comes of a function that is known, or is not planned and not listed."""
    makers = {
        f"{module.__name__.rpartition('.')[2]}.{place}"
        for module in modules()
        for place in _makers(ast.parse(inspect.getsource(module)))
    }

    assert makers == set(FACTORIES)


def test_no_statement_is_compiled_before_it_runs(observer: psycopg.Connection) -> None:
    """
    Not on a database without statistics either, as a new one is.

    Compiling takes a hundred milliseconds and more, and a new connection's first statement pays it each time; the
    planner does it for whatever it believes to be dear.
    """
    observer.execute("SET plan_cache_mode = force_generic_plan")
    limit = float(_setting(observer, "jit_above_cost"))
    costs = {
        name: json.loads(_generic_plan(observer, statement))[0]["Plan"]["Total Cost"]
        for name, statement in statements().items()
    }

    assert {name: cost for name, cost in costs.items() if cost >= limit} == {}


def test_what_is_due_is_found_by_an_index(observer: psycopg.Connection) -> None:
    """A table is read as a whole only where nothing else is possible, and so it is for none of these."""
    observer.execute("SET enable_seqscan = off")
    observer.execute("SET plan_cache_mode = force_generic_plan")
    found = {
        name: statement
        for name, statement in statements().items()
        if name.endswith(("_LOCK_EXPIRED", "._EXPIRED", "n._REMOVE"))
    }

    assert len(found) == 3
    assert {name: plan for name, each in found.items() if "Seq Scan" in (plan := _generic_plan(observer, each))} == {}


def _makers(tree: ast.Module) -> Iterator[str]:
    """Return the functions of a module in which a statement is made."""

    def within(node: ast.AST, place: tuple[str, ...]) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                yield from within(child, (*place, child.name))
            else:
                if place and isinstance(child, ast.Call) and ast.unparse(child.func) == "Statement":
                    yield ".".join(place)
                yield from within(child, place)

    return within(tree, ())


def _generic_plan(connection: psycopg.Connection, statement: Statement) -> str:
    names: dict[str, int] = {}
    text = statement.text.decode()
    prepared = re.sub(r"%\((\w+)\)s", lambda match: f"${names.setdefault(match[1], len(names) + 1)}", text)
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
