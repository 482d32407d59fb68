"""What migrations do to a database that is in use, as squawk judges it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from userservice_core.infrastructure.postgres import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHANGING: Final = ("ALTER", "COMMENT", "CREATE", "DELETE", "DROP", "INSERT", "REINDEX", "TRUNCATE", "UPDATE")
_OLDEST: Final = "15.0"

_NOT_ASKED: Final = (
    # A revision is one transaction, so what was begun is undone as a whole.
    "prefer-robust-stmts",
    # Whoever runs them sets both for all: two seconds for a lock, and no end to the building of an index.
    "require-lock-timeout",
    "require-statement-timeout",
    # What is counted there has a bound that fits, and each row has one.
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
)
# A table that was there becomes a partition of one that takes its name, in one transaction and without copying: what is
# renamed or dropped has the same name again at its end, and the new table is empty when its rules are added.
_AUDIT: Final = frozenset(
    {
        "adding-serial-primary-key-field",
        "ban-drop-constraint",
        "constraint-missing-not-valid",
        "renaming-object",
        "renaming-table",
        "require-concurrent-index-creation",
    }
)
_MEANT: Final = {
    # The name of an index that was built beside the old one; only the translation of errors knows it.
    "expand_0009": frozenset({"renaming-object"}),
    "expand_0020": _AUDIT,
}


@attrs.frozen
class _Found:
    """Something that squawk has found, and the statement that it is in."""

    revision: str
    rule: str
    statement: str


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """What SQLAlchemy runs while this is in use."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        found.append(re.sub(r"%\(\w+\)s", "NULL", statement).replace("%%", "%"))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    yield found
    sa.event.remove(sa.Engine, "before_cursor_execute", note)


def _linted(*files: Path) -> list[_Found]:
    squawk = Path(sys.executable).with_name("squawk")
    command = [str(squawk), "--reporter=json", f"--pg-version={_OLDEST}", f"--exclude={','.join(_NOT_ASKED)}"]
    done = subprocess.run(
        [*command, *map(str, files)], capture_output=True, text=True, check=False, timeout=60, cwd=files[0].parent
    )
    assert done.stdout, done.stderr
    lines = {file.name: file.read_text(encoding="utf-8").splitlines() for file in files}
    return [
        _Found(Path(each["file"]).stem, each["rule_name"], lines[Path(each["file"]).name][each["line"]])
        for each in json.loads(done.stdout)
    ]


def _of_new_table(found: _Found, folder: Path) -> bool:
    """Whether an index is of a table that the same revision makes, which nobody uses yet."""
    if found.rule != "require-concurrent-index-creation":
        return False
    table = re.search(r" ON (?:public\.)?(\w+)", found.statement)
    text = (folder / f"{found.revision}.sql").read_text(encoding="utf-8")
    return (
        table is not None
        and re.search(rf"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?{table[1]}\b", text) is not None
    )


def test_no_migration_stops_who_uses_the_database(empty_database: str, statements: list[str], tmp_path: Path) -> None:
    """What each revision runs, by the rules of squawk; an exception says why it is one."""
    revisions = sorted(
        (script.revision for script in ScriptDirectory.from_config(migrate.alembic_config()).walk_revisions()),
        # What removes comes last.
        key=lambda revision: (not revision.startswith("expand"), revision),
    )
    files = []
    for revision in revisions:
        statements.clear()
        migrate.upgrade(empty_database, target=revision)
        changes = [
            each.strip().rstrip(";")
            for each in statements
            if each.lstrip().upper().startswith(_CHANGING) and "alembic_version" not in each
        ]
        files.append(tmp_path / f"{revision}.sql")
        files[-1].write_text("".join(f"{change};\n" for change in changes), encoding="utf-8")

    assert sum(file.stat().st_size > 0 for file in files) > len(revisions) // 2
    found = _linted(*files)
    assert [
        each
        for each in found
        if each.rule not in _MEANT.get(each.revision, frozenset()) and not _of_new_table(each, tmp_path)
    ] == []
    # An exception that is needed no more goes.
    assert {
        (revision, rule)
        for revision, rules in _MEANT.items()
        for rule in rules - {each.rule for each in found if each.revision == revision}
    } == set()


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("CREATE INDEX ix_users_bio ON users (bio)", "require-concurrent-index-creation"),
        ("ALTER TABLE users ALTER COLUMN email SET NOT NULL", "adding-not-nullable-field"),
        ("ALTER TABLE users RENAME COLUMN email TO address", "renaming-column"),
    ],
)
def test_what_would_stop_them_is_found(tmp_path: Path, statement: str, rule: str) -> None:
    """Indexes that are built under a lock, rules that read all rows, and names that running versions use."""
    file = tmp_path / "expand_9999.sql"
    file.write_text(f"{statement};\n", encoding="utf-8")
    found = _linted(file)

    assert rule in {each.rule for each in found if not _of_new_table(each, tmp_path)}
