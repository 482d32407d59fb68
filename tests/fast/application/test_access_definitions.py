"""What a file declares is brought about, and nothing else is touched."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from userservice_core.application.access_definitions import AccessDefinitions, AppliedDefinitions
from userservice_core.errors import InvalidInputError, WildcardGrantError

if TYPE_CHECKING:
    from tests.fast.application.conftest import World

_FILE = """
[[permissions]]
name = "invoice:read"
description = "See invoices"
group = "billing"

[[permissions]]
name = "invoice:create"

[[roles]]
name = "Clerk"
description = "Writes invoices"
permissions = ["invoice:read", "invoice:create", "user:read"]
"""


def _apply(world: World, text: str) -> AppliedDefinitions:
    return world.use_cases.declared_access.apply(definitions=AccessDefinitions.parse(tomllib.loads(text)))


def _granted(world: World, name: str) -> frozenset[str]:
    role = world.installed.store.rows.roles
    return next(each.permissions for each in role.values() if each.name == name)


def test_what_is_declared_is_there_afterwards(world: World) -> None:
    """With its descriptions and what it grants."""
    assert _apply(world, _FILE) == AppliedDefinitions(created=3, changed=0, granted=3)

    assert _granted(world, "Clerk") == {"invoice:read", "invoice:create", "user:read"}
    stored = world.installed.store.rows.permissions.values()
    (read,) = (permission for permission in stored if permission.name == "invoice:read")
    assert (read.description, read.group_name) == ("See invoices", "billing")


def test_a_second_time_changes_nothing(world: World) -> None:
    """Not even a version."""
    _apply(world, _FILE)
    before = world.installed.store.rows

    assert _apply(world, _FILE) == AppliedDefinitions()
    assert world.installed.store.rows == before


def test_what_was_done_already_is_not_done_again(world: World) -> None:
    """After a run that ended early, or beside what was made by hand; nothing is taken away."""
    _apply(world, '[[roles]]\nname = "clerk"\ndescription = "by hand"\npermissions = ["user:list"]')

    assert _apply(world, _FILE) == AppliedDefinitions(created=2, changed=1, granted=3)
    assert _granted(world, "clerk") == {"user:list", "user:read", "invoice:read", "invoice:create"}


def test_every_fault_is_told_and_nothing_is_done(world: World) -> None:
    """Each with its place."""
    before = world.installed.store.rows
    faulty = """
    [[permissions]]
    name = "Invoice read"
    [[permissions]]
    name = "invoice:read"
    [[permissions]]
    name = "invoice:read"
    [[roles]]
    name = " Clerk"
    permissions = ["invoice:read", "invoice:write"]
    [[roles]]
    name = " clerk"
    """

    with pytest.raises(InvalidInputError) as refused:
        _apply(world, faulty)

    assert [(fault.field, fault.code) for fault in refused.value.faults] == [
        (("permissions", 0, "resource"), "invalid-name"),
        (("permissions", 0, "action"), "invalid-name"),
        (("roles", 0, "name"), "invalid-name"),
        (("roles", 0, "permissions", 1), "unknown"),
        (("roles", 1, "name"), "invalid-name"),
        (("permissions", 2, "name"), "repeated"),
        (("roles", 1, "name"), "repeated"),
    ]
    assert world.installed.store.rows == before


@pytest.mark.parametrize(
    "text", ["roles = 1", "[[roles]]\nname = 1", '[[roles]]\nname = "a"\ncolour = "b"', '[[permissions]]\ngroup = "a"']
)
def test_another_shape_is_told(text: str) -> None:
    """With the place of what is wrong."""
    with pytest.raises(InvalidInputError) as refused:
        AccessDefinitions.parse(tomllib.loads(text))

    assert [fault.code for fault in refused.value.faults] == ["invalid-shape"]


def test_a_wildcard_is_for_system_roles(world: World) -> None:
    """Here as over HTTP; what came before it is kept."""
    with pytest.raises(WildcardGrantError):
        _apply(world, '[[roles]]\nname = "Boss"\npermissions = ["*:*"]')

    assert _granted(world, "Boss") == frozenset()
