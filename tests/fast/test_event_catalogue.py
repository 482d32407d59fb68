"""`userservice events`: what there is, and the schema of each."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from docs.event_schemas import event_schemas, schema_file
from userservice_core.cli import main
from userservice_core.domain.event_schemas import wire_name
from userservice_core.domain.events import EVENT_TYPES, RECEIVED_TYPES


def _run(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(main, ["events", *arguments], env=environment)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_type_has_a_line() -> None:
    """With topic, version and key; classes of one type share theirs."""
    lines = {line.split()[0]: line.split(maxsplit=3)[1:] for line in _run().splitlines()}

    assert set(lines) == {wire_name(kind) for kind in (*EVENT_TYPES, *RECEIVED_TYPES)}
    assert {name for name, rest in lines.items() if rest[-1].endswith("  received")} == set(
        map(wire_name, RECEIVED_TYPES)
    )
    assert lines["userservice.role.created.v1"] == ["userservice.access", "v1", "the role's id"]
    assert lines["userservice.auth.login_failed.v1"][-1] == "the user's id or the HMAC of the address tried"


def test_the_list_is_also_json() -> None:
    """The same, with the topics of the installation."""
    catalogue = json.loads(_run("--json", USERSERVICE_TOPIC_PREFIX="accounts."))

    assert len(catalogue) == len({wire_name(kind) for kind in (*EVENT_TYPES, *RECEIVED_TYPES)})
    assert catalogue[-1]["direction"] == "received"
    assert catalogue[0] == {
        "type": "userservice.user.registered.v1",
        "topic": "accounts.users",
        "version": 1,
        "key": "the user's id",
        "direction": "published",
    }


@pytest.mark.parametrize("kind", [*EVENT_TYPES, *RECEIVED_TYPES], ids=lambda kind: kind.__name__)
def test_a_type_is_shown_by_either_name(kind: type) -> None:
    """As its file has it."""
    shown = json.loads(_run("show", wire_name(kind)))

    assert shown == event_schemas()[schema_file(kind)]
    assert shown == json.loads(_run("show", kind.type))  # type: ignore[attr-defined]


def test_a_type_that_does_not_exist_is_said_to() -> None:
    """Without a traceback."""
    result = CliRunner().invoke(main, ["events", "show", "user.greeted"])

    assert result.exit_code == 2
    assert "is no type of event" in result.output
