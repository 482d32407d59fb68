"""Users are moved here and elsewhere by commands, which may be killed at any moment."""

from __future__ import annotations

import json
import signal
import stat
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg

from tests.e2e.processes import Process, eventually, settings_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HASH: Final = "pbkdf2_sha256$1000$saltsaltsalt$mti9/5RSqxylYzgGlTfgWSC2R+gvienJC6iN0ReaZdg="
_USERS: Final = 450
_EVENTS: Final = ["address.added", "address.default_changed", "profile.updated", "user.registered"]


def _record(number: int, **changes: object) -> dict[str, Any]:
    return {
        "email": f"user{number}@example.com",
        "emailVerified": True,
        "passwordHash": _HASH,
        "profile": {"firstName": "Ada", "language": "de"},
        "addresses": [
            {"addressLine1": "1 Main St", "city": "Berlin", "postalCode": "10115", "countryCode": "DE"}
            | {"isDefaultShipping": True}
        ],
        **changes,
    }


def _write(path: Path, *records: object) -> str:
    path.write_text("".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records))
    return str(path)


def _run(*arguments: str, environment: Mapping[str, str]) -> tuple[int, list[str]]:
    with Process(*arguments, environment=environment) as process:
        exit_code = process.wait(seconds=60)
    return exit_code, process.lines


def _count(database: str) -> int:
    with psycopg.connect(database) as connection:
        [count] = connection.execute("SELECT count(*) FROM users").fetchone() or (0,)
        return int(count)


def _require_whole_users(database: str, *, users: int) -> None:
    """Fail unless there are so many, each with all that belongs to one, and the events of it once."""
    with psycopg.connect(database) as connection:
        tables = ("users", "user_emails", "credentials", "login_states", "user_profiles", "addresses")
        counts = {
            table: connection.execute(f"SELECT count(DISTINCT user_id) FROM {table}").fetchone()  # noqa: S608
            for table in tables
        }
        events = connection.execute(
            "SELECT aggregateid, array_agg(split_part(type, '.', 2) || '.' || split_part(type, '.', 3) ORDER BY type)"
            " FROM outbox GROUP BY aggregateid"
        ).fetchall()
    assert counts == dict.fromkeys(tables, (users,))
    assert [names for _, names in events] == [_EVENTS] * users


def test_a_killed_import_leaves_whole_users_and_is_taken_up_again(database: str, tmp_path: Path) -> None:
    """`kill -9` before a commit and after one: nothing of the batch, or all of it; what is there is not touched."""
    environment = settings_for(database, tmp_path, IMPORT_USERS_PER_SECOND="0")
    file = _write(tmp_path / "users.jsonl", *map(_record, range(_USERS)))

    for failpoint, stored in (("uow.before-commit:2", 100), ("import.batch-stored:3", 300)):
        exit_code, lines = _run("import", file, environment={**environment, "USERSERVICE_FAILPOINT": failpoint})
        assert (exit_code, stored) == (-signal.SIGKILL, _count(database)), lines
        _require_whole_users(database, users=stored)

    exit_code, lines = _run("import", file, environment=environment)
    assert exit_code == 0, lines
    assert json.loads(lines[-1]) == {
        "added": 150,
        "present": 300,
        "refused": 0,
        "complete": True,
        "dryRun": False,
    }
    _require_whole_users(database, users=_USERS)


def test_what_is_wrong_is_told_and_written_down(database: str, tmp_path: Path) -> None:
    """With its line, while the others are stored; an export is for nobody else to read, and comes back as it is."""
    environment = settings_for(database, tmp_path)
    file = _write(tmp_path / "users.jsonl", _record(1), _record(2, passwordHash="md5"), "nonsense", _record(3))
    refused, output = tmp_path / "refused.jsonl", tmp_path / "export.jsonl"

    exit_code, lines = _run("import", file, "--refused", str(refused), environment=environment)

    assert (exit_code, _count(database)) == (1, 2)
    assert [line.rpartition(":")[0] for line in lines[:-1]] == [
        "userservice: line 2: passwordHash",
        "userservice: line 3: input: The body is not JSON",
    ]
    written = [json.loads(line) for line in refused.read_text().splitlines()]
    assert [(each["line"], each["errors"][0]["pointer"], each["errors"][0]["code"]) for each in written] == [
        (2, "/passwordHash", "unknown-hash"),
        (3, "", "malformed-json"),
    ]
    exit_code, lines = _run("export", "--output", str(output), environment=environment)
    assert (exit_code, lines) == (0, ['{"exported": 2}'])
    exported = [json.loads(line) for line in output.read_text().splitlines()]
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert [(record["email"], "passwordHash" in record) for record in exported] == [
        ("user1@example.com", False),
        ("user3@example.com", False),
    ]


def test_an_import_keeps_to_its_pace_and_stops_when_it_is_told_to(database: str, tmp_path: Path) -> None:
    """SIGTERM ends it behind a batch, and the exit code says that something is left."""
    environment = settings_for(database, tmp_path, IMPORT_USERS_PER_SECOND="50")
    file = _write(tmp_path / "users.jsonl", *map(_record, range(_USERS)))
    with Process("import", file, environment=environment) as process:
        eventually(lambda: _count(database) == 100, what="the first batch")
        began = time.monotonic()
        eventually(lambda: _count(database) == 200, what="the second batch")
        took = time.monotonic() - began
        exit_code = process.stop()

    assert exit_code == 1
    assert took >= 1.0, "a hundred users take two seconds at this pace"
    assert json.loads(process.lines[-1])["complete"] is False
    assert _count(database) < _USERS
