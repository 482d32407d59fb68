"""The command line: what is wrong is said in full, and nothing secret is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.e2e.processes import START_SECONDS, STOP_SECONDS, Process, settings_for, without_settings
from userservice_core.bootstrap import new_key_ring

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def _run(*arguments: str, environment: Mapping[str, str]) -> tuple[int, list[str]]:
    with Process(*arguments, environment=environment) as process:
        # It starts, does its work and ends.
        exit_code = process.wait(seconds=START_SECONDS + STOP_SECONDS)
    return exit_code, process.lines


@pytest.mark.parametrize("command", ["check", "migrate", "serve", "relay"])
def test_wrong_settings_end_the_start_with_a_line_each(command: str) -> None:
    """Exit code 78 (EX_CONFIG), and every missing, wrong, unknown and contradicting setting at a time."""
    environment = {
        **without_settings(),
        "USERSERVICE_PORT": "70000",
        "USERSERVICE_WORKERS": "many",
        "USERSERVICE_DATABSE_URL": "postgresql://localhost/users",
        "USERSERVICE_ISSUER": "http://accounts.example.com",
    }

    exit_code, lines = _run(command, environment=environment)

    assert exit_code == 78
    assert all(line.startswith("userservice: USERSERVICE_") for line in lines)
    named = [line.split()[1] for line in lines]
    assert sorted(named) == [
        "USERSERVICE_DATABASE_URL",
        "USERSERVICE_DATABSE_URL",
        "USERSERVICE_ISSUER",
        "USERSERVICE_KEYRING",
        "USERSERVICE_MAIL_URL",
        "USERSERVICE_PORT",
        "USERSERVICE_WORKERS",
    ]


def test_check_prints_the_settings_with_secrets_masked(tmp_path: Path) -> None:
    """Every setting is there with the value that is in force; no password, no key."""
    environment = settings_for(
        "postgresql://owner:hunter2secret@db.example.com/users",
        tmp_path,
        CACHE_URL="redis://:hunter3secret@cache.example.com:6379/0",
        KEYRING=new_key_ring(),
    )

    exit_code, lines = _run("check", environment=environment)

    printed = dict(line.split("=", maxsplit=1) for line in lines)
    assert exit_code == 0
    assert "secret" not in "".join(printed.values())
    assert printed["USERSERVICE_KEYRING"] == "********"
    assert printed["USERSERVICE_DATABASE_URL"] == "postgresql://owner:********@db.example.com/users"
    assert printed["USERSERVICE_PORT"] == "8000"


@pytest.mark.parametrize("command", ["check", "serve", "relay"])
def test_a_key_ring_that_cannot_be_read_is_told_without_what_it_holds(
    command: str, database: str, tmp_path: Path
) -> None:
    """Exit code 78 before any worker is begun."""
    environment = settings_for(database, tmp_path, KEYRING='{"version": 1, "signingKeys": "hunter2secret"}')

    exit_code, lines = _run(command, environment=environment)

    assert exit_code == 78
    assert lines
    assert "hunter2secret" not in "".join(lines)


@pytest.mark.asvs("6.3.2")
def test_the_first_administrator_is_created_once(database: str, tmp_path: Path) -> None:
    """The one-time password is printed once; a second call creates nobody and prints nothing."""
    environment = settings_for(database, tmp_path)
    command = ("create-admin", "--email", "root@example.com")

    first_code, first_lines = _run(*command, environment=environment)
    second_code, second_lines = _run(*command, environment=environment)

    with psycopg.connect(database) as connection:
        administrators = connection.execute(
            "SELECT email, status FROM users JOIN user_roles USING (user_id) JOIN roles USING (role_id)"
            " WHERE roles.name = 'administrator'"
        ).fetchall()
    assert (first_code, second_code, second_lines) == (0, 0, [])
    assert json.loads(first_lines[-1])["administrator"] == "root@example.com"
    assert administrators == [("root@example.com", "active")]


def test_roles_and_permissions_come_from_a_file(database: str, tmp_path: Path) -> None:
    """As often as it is applied; what is wrong with it is said in lines with their places."""
    environment = settings_for(database, tmp_path)
    file = tmp_path / "access.toml"
    declared = '[[permissions]]\nname = "invoice:read"\n[[roles]]\nname = "Clerk"\npermissions = ["invoice:read"]\n'
    file.write_text(declared)

    assert [_run("apply-access", str(file), environment=environment) for _ in range(2)] == [
        (0, ['{"created": 2, "changed": 0, "granted": 1}']),
        (0, ['{"created": 0, "changed": 0, "granted": 0}']),
    ]
    file.write_text(declared.replace("invoice:read", "invoice read"))
    exit_code, lines = _run("apply-access", str(file), environment=environment)
    assert (exit_code, [line.partition(": Use")[0] for line in lines]) == (
        1,
        ["userservice: permissions[0].resource", "userservice: permissions[0].action"],
    )
    file.write_text("roles = [")
    exit_code, lines = _run("apply-access", str(file), environment=environment)
    assert (exit_code, len(lines)) == (78, 1)


def test_service_clients_are_managed(database: str, tmp_path: Path) -> None:
    """Made, listed, rotated until the first secret is gone, disabled; each secret is printed once."""
    environment = settings_for(database, tmp_path)

    def run(*arguments: str) -> list[dict[str, object]]:
        exit_code, lines = _run("clients", *arguments, environment=environment)
        assert exit_code == 0, lines
        return [json.loads(line) for line in lines]

    (made,) = run("create", "--name", "Invoices", "--permission", "user:read", "--permission", "user:list")
    client_id = str(made["clientId"])
    rotated = [run("rotate", client_id)[0] for _ in range(2)]
    assert run("disable", client_id) == []
    listed = run("list")
    unknown, lines = _run("clients", "disable", "01900000-0000-7000-8000-00000000dead", environment=environment)

    assert listed == [
        {
            "clientId": client_id,
            "name": "Invoices",
            "permissions": ["user:list", "user:read"],
            "disabled": True,
            "secrets": [each["secretId"] for each in rotated],
        }
    ]
    assert len({str(each["secret"]) for each in (made, *rotated)}) == 3
    assert (unknown, lines[-1].startswith("userservice: client-not-found")) == (1, True)


def test_a_database_without_the_schema_is_told(empty_database: str, tmp_path: Path) -> None:
    """Serving waits for nobody to migrate: it says what to run, and ends."""
    exit_code, lines = _run("serve", environment=settings_for(empty_database, tmp_path))

    assert exit_code == 1
    assert any("userservice migrate" in line for line in lines)


def test_what_could_not_be_published_is_listed_retried_and_dropped(database: str, tmp_path: Path) -> None:
    """By the commands under `relay`; one that does not exist is said in a line."""
    environment = settings_for(database, tmp_path)
    with psycopg.connect(database) as connection:
        for seq, key in ((1_000_001, "a"), (1_000_002, "b"), (1_000_003, "c")):
            connection.execute(
                "INSERT INTO outbox_parked (seq, lane, id, aggregatetype, aggregateid, type, payload, source, subject,"
                " occurred_at, sequence, created_at, cause) VALUES (%s, 1, gen_random_uuid(), 'userservice.users', %s,"
                " 'userservice.user.registered.v1', '{}', '/test', %s, now(), 1, now(), 'larger\nthan it takes')",
                (seq, key, key),
            )

    _, listed = _run("relay", "failed", environment=environment)
    _, documents = _run("relay", "failed", "--json", "--limit", "2", environment=environment)
    _, dropped = _run("relay", "drop", "1000001", "--reason", "read by hand", environment=environment)
    _, first = _run("relay", "retry", "1000002", environment=environment)
    code, refused = _run("relay", "retry", "1000001", environment=environment)
    _, rest = _run("relay", "retry", "--all", environment=environment)

    assert [line.split()[0] for line in listed] == ["1000001", "1000002", "1000003"]
    assert listed[0].endswith("larger than it takes")
    assert [(each["seq"], each["key"], each["sequence"]) for each in map(json.loads, documents)] == [
        (1_000_001, "a", 1),
        (1_000_002, "b", 1),
    ]
    assert json.loads(dropped[-1])["dropped"]["key"] == "a"
    assert [json.loads(lines[-1]) for lines in (first, rest)] == [{"retried": 1}, {"retried": 1}]
    assert (code, refused) == (1, ["userservice: not-found: No event is parked at 1000001."])
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT seq FROM outbox ORDER BY seq").fetchall() == [(1_000_002,), (1_000_003,)]
        assert connection.execute("SELECT count(*) FROM outbox_parked").fetchone() == (0,)
        actions = connection.execute("SELECT action FROM audit_entries ORDER BY at").fetchall()
    assert actions == [("event.dropped",), ("event.retried",), ("event.retried",)]


def test_the_database_is_looked_at(database: str, tmp_path: Path) -> None:
    """A line for each finding; connections that do not fit are a fault, and end the command with 1."""
    code, lines = _run("check", "--database", environment=settings_for(database, tmp_path))
    many = settings_for(database, tmp_path, INSTANCES="500")
    code_of_many, lines_of_many = _run("check", "--database", environment=many)

    assert (code, code_of_many) == (0, 1)
    assert all(line.startswith("advice: ") for line in lines)
    assert any(line.startswith("fault: 501 instances") for line in lines_of_many)


@pytest.mark.parametrize("command", ["serve", "relay"])
def test_a_process_that_would_be_refused_connections_does_not_start(
    command: str, database: str, tmp_path: Path
) -> None:
    """It says what to change, and ends with 78, before any worker is begun."""
    environment = settings_for(database, tmp_path, WORKERS="10", DATABASE_POOL_SIZE="200")

    exit_code, lines = _run(command, environment=environment)

    assert exit_code == 78
    assert any("USERSERVICE_DATABASE_POOL_SIZE" in line for line in lines)
