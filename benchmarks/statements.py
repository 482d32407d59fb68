"""
Every statement of the service, and how PostgreSQL runs it.

`python -m benchmarks.statements`, which `make statements` runs, fills a server of its own with 100,000 users, plans
every statement there, and writes the page `docs/reference/statements.md`. The tests plan the same, and
hold it to the rules of that page.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg

from benchmarks.dataset.in_flight import add_in_flight
from benchmarks.dataset.loading import load
from benchmarks.dataset.people import People
from userservice_core.domain.lists import COUNTED_ROWS
from userservice_core.infrastructure import postgres
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.embedded import EmbeddedPostgres
from userservice_core.infrastructure.postgres.leases import LeaseStatements
from userservice_core.infrastructure.postgres.lists import LOOKED_UP_ROWS, SEARCHED_ROWS, PagedList, Shape
from userservice_core.infrastructure.postgres.migrate import upgrade
from userservice_core.infrastructure.postgres.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType
    from uuid import UUID

FACTORIES: Final = {
    "event_recorder._insert_event": "called for each kind of sequence while its module is loaded",
    "event_recorder._raise_counter": "as above",
    "leases.lease_statements": "called for the outbox and for the bus while their modules are loaded",
    "lists.PagedList._compiled": "one for each order, direction, start and choice of filters; see `list_statements`",
    "lists.PagedList._compiled_count": "the count of a page past the end: a part of the page's own statement",
    "lists.PagedList._compiled_edge": "as above: walks an index of its order",
    "lists.PagedList._compiled_plan": "is only planned",
    "lists.PagedList._compiled_found": "as the first",
    "lists.PagedList._compiled_search": "as the first",
}
"""The functions in which statements are made, and why they are found all the same; a test compares."""

USERS: Final = 100_000
IN_FLIGHT: Final = 20_000

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "statements.md"
_HEAD: Final = f"""# Statements

Every statement that the service sends to PostgreSQL, and how it is run with {USERS:,} users and {IN_FLIGHT:,} rows of
everything that comes and goes.
This page is made by `make statements`; a test fails if a statement is missing here.

The names are those of modules in `userservice_core/infrastructure/postgres`, and of the constants in them.
A list has a statement for each order, place to start from, and choice of filters.
The right column names the indexes that are used, what is written, and as "all of" what is read as a whole.
Tests make sure that no table that grows is read so, and that nothing is sorted where an index has the order.

Tables that are small by nature are read as a whole because that is fastest: roles, permissions, clients, keys, lanes.
"""

_PLANNED: Final = re.compile(rb"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
PARTITION_OF_TIME: Final = re.compile(r"audit_(?:entries|details)_(?:\d{4}_\d\d|rest)")
"""Those of the months that are yet to come, which are empty."""

_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_FEW_ROWS: Final = 250
"""As many may be sorted: the roles of a user, what a page holds."""


_SMALL: Final = {
    *("access_epoch", "roles", "permissions", "role_permissions"),
    *("service_clients", "client_secrets", "client_permissions", "signing_keys", "setting_changes", "job_leases"),
    "pg_namespace",
    *("outbox_lane", "outbox_relay", "outbox_epoch", "outbox_seq_seq", "pg_database"),
    *("bus_group", "bus_lane", "bus_member"),
}
"""Tables that do not grow with users or use: operators make their rows, or they are as many as lanes."""

READ_AS_A_WHOLE: Final = {
    "bus._DROP_TAKEN": "compares what is kept with what is waited for, which is all of both; once a minute",
    "outbox_store._BACKLOG": "counts what waits; relays keep that small",
    **{f"outbox_store._SLOT_HAS_ROWS[{slot}]": "ends at the first row" for slot in range(3)},
}
"""Statements that may read a table from its beginning, and why."""

_SORTED: Final = re.compile(r"users\.PostgresUserReader.* where ")
"""What may sort more than a page: the rows that a filter finds, up to the bound of a total."""

_MOST_SORTED: Final = COUNTED_ROWS + 1


def modules() -> Iterator[ModuleType]:
    """Return the modules of the adapter of PostgreSQL."""
    for found in pkgutil.iter_modules(postgres.__path__, f"{postgres.__name__}."):
        yield importlib.import_module(found.name)


def statements() -> dict[str, Statement]:
    """Return every statement that can be planned, by its place: those of the modules, and those of the lists."""
    found: dict[str, Statement] = {}
    for module in modules():
        for name, value in vars(module).items():
            for path, statement in _within(value, name):
                if not any(statement is other for other in found.values()):
                    found[f"{_short(module)}.{path}"] = statement
        for path, paged in lists_of(module):
            found |= list_statements(f"{_short(module)}.{path}", paged)
    return {name: statement for name, statement in found.items() if _PLANNED.match(statement.text)}


def lists_of(module: ModuleType) -> Iterator[tuple[str, PagedList]]:
    """Return the lists that the classes of a module read."""
    with contextlib.closing(Database("postgresql://nobody@127.0.0.1:1/nothing")) as database:
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and "PagedList(" in inspect.getsource(kind) and kind is not PagedList:
                for held in vars(_reading(kind, database)).values():
                    for by, paged in held.items() if isinstance(held, dict) else [("", held)]:
                        if isinstance(paged, PagedList):
                            yield f"{name}{by and f'[{by}]'}", paged


def _reading(kind: Callable[[Database], object], database: Database) -> object:
    return kind(database)


def list_statements(name: str, paged: PagedList) -> dict[str, Statement]:
    """Return a list's statements: each order from the start and from the middle, and each filter in each order."""
    found = {}
    sorts = [by for by in paged.sorts if f"[{by}]" in name or "[" not in name]
    for by in sorts:
        for descending in (False, True):
            order = f"{'-' if descending else ''}{by}"
            for starts, backwards, place in ((False, False, ""), (True, False, " after"), (True, True, " before")):
                shape = Shape(
                    sort=by,
                    descending=descending,
                    backwards=backwards,
                    starts=starts,
                    inclusive=False,
                    filters=frozenset(),
                )
                found[f"{name} {order}{place}"] = paged.statement(shape)
            for each in paged.filters:
                shape = attrs.evolve(shape, backwards=False, starts=False, filters=frozenset({each}))
                first, *further = paged.statements(shape)
                found[f"{name} {order} where {each}"] = first
                for statement in further[:1]:
                    found[f"{name} {order} where {each}, searched"] = statement
    return found


def _within(value: object, path: str) -> Iterator[tuple[str, Statement]]:
    if isinstance(value, Statement):
        yield path, value
    elif isinstance(value, Mapping):
        for index, (key, item) in enumerate(value.items()):
            name = str(key)
            yield from _within(item, f"{path}[{name if name.isprintable() else index}]")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, item in enumerate(value):
            yield from _within(item, f"{path}[{index}]")
    elif isinstance(value, LeaseStatements):
        for field in attrs.fields(LeaseStatements):
            yield from _within(getattr(value, field.name), f"{path}.{field.name}")


def _short(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


# --- plans ------------------------------------------------------------------------------------------------------------


@attrs.frozen
class Plan:
    """
    How a statement is run.

    Attributes:
        steps: What is read, by what; and what is sorted, if that is more than a few rows.
        cost: In the planner's units.
        whole_tables: The tables of which every row is read.
        sorts: What is sorted, with how many rows are expected.
        sorted_rows: How many are expected in the largest sort.
    """

    steps: tuple[str, ...]
    cost: float
    whole_tables: frozenset[str]
    sorts: tuple[str, ...]
    sorted_rows: int

    @classmethod
    def of(cls, document: dict[str, Any]) -> Plan:
        """Read the document of EXPLAIN."""
        nodes = list(_nodes(document))
        sorted_rows = [node["Plan Rows"] for node in nodes if node["Node Type"] in {"Sort", "Incremental Sort"}]
        sorts = [f"a sort of about {_rounded(rows)} rows" for rows in sorted_rows if rows > _FEW_ROWS]
        whole = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
        steps = [*(step for node in nodes if (step := _step(node))), *sorts]
        return cls(
            tuple(dict.fromkeys(steps)),
            document["Total Cost"],
            frozenset(whole),
            tuple(sorts),
            max(sorted_rows, default=0),
        )


def plan_of(connection: psycopg.Connection, statement: Statement, samples: Mapping[str, object]) -> Plan:
    """Plan a statement for parameters as they come; *samples* are by name, or by type as the server names it."""
    text = statement.text.decode()
    names = list(dict.fromkeys(_PARAMETER.findall(text)))
    prepared = _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", text).replace("%%", "%")
    fixed = {name: value for name, value in statement()[1].items() if type(value) in (str, int)}
    connection.execute("SET plan_cache_mode = force_custom_plan")
    connection.execute(f"PREPARE planned AS {prepared}".encode())
    try:
        row = connection.execute(
            "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'planned'"
        ).fetchone()
        types = row[0] if row else []
        values = [
            f"{_literal(fixed.get(name, _sample(name, type_, samples)), connection)}::{type_}"
            for name, type_ in zip(names, types, strict=True)
        ]
        given = f"({', '.join(values)})" if values else ""
        explained = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE planned{given}".encode()).fetchone()
    finally:
        connection.execute("DEALLOCATE planned")
    assert explained is not None
    return Plan.of(explained[0][0]["Plan"])


def _sample(name: str, type_: str, samples: Mapping[str, object]) -> object:
    """Return the value by name, unless it is one and an array is wanted."""
    named = samples.get(name)
    is_array = isinstance(named, str) and named.startswith("{")
    return samples.get(type_) if named is None or type_.endswith("[]") != is_array else named


def samples_of(connection: psycopg.Connection) -> dict[str, object]:
    """Return values for parameters: ids and times of rows that are there, and as few rows as are asked for by pages."""
    row = connection.execute(
        "SELECT user_id, email_key, created_at FROM users ORDER BY created_at DESC LIMIT 1"
    ).fetchone()
    assert row is not None
    user_id, email_key, created_at = row
    session = connection.execute("SELECT session_id FROM sessions LIMIT 1").fetchone()
    role = connection.execute("SELECT role_id FROM user_roles GROUP BY 1 ORDER BY count(*) LIMIT 1").fetchone()
    assert session is not None
    assert role is not None
    return samples(user_id, email_key, created_at, session_id=session[0], role_id=role[0])


def samples(user_id: UUID, email_key: str, moment: datetime, *, session_id: UUID, role_id: UUID) -> dict[str, object]:
    """Return values by the names of parameters, and by types for all others."""
    return {
        "uuid": user_id,
        "session_id": session_id,
        "role_id": role_id,
        "email_key": email_key,
        "seconds": 30 * 86_400,
        "email_parts": "{%lantern.ex%}",
        "status": "suspended",
        "role_name": "supporter",
        "start_id": user_id,
        "ids": "{" + str(user_id) + "}",
        "limit": 50,
        "row_limit": 21,
        "row_offset": 0,
        "searched": SEARCHED_ROWS,
        "most_found": LOOKED_UP_ROWS,
        "most_sorted": LOOKED_UP_ROWS,
        "least": 0.05,
        "words": "{lantern,ex}",
        "email_words": "{%lantern.%}",
        "revocations_before": datetime.now(UTC) - timedelta(days=1),
        "tokens_before": datetime.now(UTC) - timedelta(days=1),
        "created_from": moment,
        "created_before": moment,
        "text": email_key,
        "integer": 20,
        "bigint": 20,
        "smallint": 1,
        "boolean": "true",
        "interval": "1 hour",
        "double precision": 1.0,
        "numeric": 1,
        "bytea": "\\x" + "00" * 32,
        "json": "{}",
        "jsonb": "{}",
        "date": moment.date(),
        "timestamp with time zone": datetime.now(UTC),
        "uuid[]": "{" + str(user_id) + "}",
        "text[]": "{text}",
        "smallint[]": "{1}",
        "bigint[]": "{1}",
        "integer[]": "{1}",
        "bytea[]": "{}",
        "timestamp with time zone[]": "{now}",
    }


def _literal(value: object, connection: psycopg.Connection) -> str:
    if value is None:
        return "NULL"
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return psycopg.sql.Literal(text).as_string(connection)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def _rounded(rows: int) -> str:
    """Leave one digit of a number, since statistics are samples."""
    size = 10 ** (len(str(rows)) - 1)
    return f"{round(rows / size) * size:,}"


def _step(node: dict[str, Any]) -> str:
    kind, relation, index = (node.get(name, "") for name in ("Node Type", "Relation Name", "Index Name"))
    # Of a table that is partitioned by time, the part that holds the rows stands for all.
    if PARTITION_OF_TIME.fullmatch(relation):
        return ""
    relation, index = relation.removesuffix("_before"), index.removesuffix("_before")
    if kind in {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}:
        return f"{index}"
    if kind in {"Seq Scan", "ModifyTable"} and relation:
        operation = node.get("Operation")
        return f"{operation.lower()} {relation}" if operation else f"all of {relation}"
    return ""


# --- what plans may be ----------------------------------------------------------------------------------------------


def whole_tables_of(plans: Mapping[str, Plan]) -> dict[str, set[str]]:
    """Return which statements read tables as a whole that grow with users or use, unless there is a reason to."""
    return {
        name: tables
        for name, plan in plans.items()
        if name not in READ_AS_A_WHOLE
        and (tables := {each for each in plan.whole_tables - _SMALL if not PARTITION_OF_TIME.fullmatch(each)})
    }


def sorts_of(plans: Mapping[str, Plan]) -> dict[str, tuple[str, ...]]:
    """Return which statements sort more than the roles of a user or a page, but for what a filter finds."""
    return {
        name: plan.sorts
        for name, plan in plans.items()
        if plan.sorts and not (_SORTED.match(name) and plan.sorted_rows <= _MOST_SORTED)
    }


# --- the page ---------------------------------------------------------------------------------------------------------


def page_of(plans: Mapping[str, Plan]) -> str:
    """Return the tables of the reference page: a module each."""
    lines: list[str] = []
    module = ""
    for name, plan in sorted(plans.items()):
        if (of := name.partition(".")[0]) != module:
            module = of
            lines += ["", f"## {module}", "", "| statement | by |", "| --- | --- |"]
        what = name.partition(".")[2].replace("|", r"\|")
        lines.append(f"| `{what}` | {', '.join(plan.steps) or 'no table'} |")
    return "\n".join(lines[1:]) + "\n"


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        try:
            dsn = server.start()
            upgrade(dsn)
            load(People(users=USERS, seed=1, until=datetime.now(UTC)), dsn)
            with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
                add_in_flight(connection, rows=IN_FLIGHT)
                known = samples_of(connection)
                plans = {name: plan_of(connection, each, known) for name, each in statements().items()}
        finally:
            server.stop()
    PAGE.write_text(f"{_HEAD}\n{page_of(plans)}")


if __name__ == "__main__":
    main()
