"""
What has to hold for another PostgreSQL to spread the tables over many servers: read from the tables and the statements.

`docs/how-to/spread-over-servers.md` relies on it.
"""

from __future__ import annotations

import re
from typing import Final

import pytest
from sqlalchemy import PrimaryKeyConstraint, Table, UniqueConstraint

from benchmarks.statements import statements
from userservice_core.infrastructure.postgres.tables import metadata

OF_USERS: Final = {
    table.name for table in metadata.sorted_tables if "user_id" in table.c and table.name != "user_emails"
}
"""Tables whose rows belong to one user each; they are spread by `user_id`."""

BY_ANOTHER_KEY: Final = {"user_emails": "email_key", "idempotency_keys": "owner_id"}
"""Tables that are spread by something else, since who has it is not known, or need not be a user."""

ON_EACH_SERVER: Final = {
    *("roles", "permissions", "role_permissions", "access_epoch", "signing_keys"),
    *("service_clients", "client_secrets", "client_permissions", "setting_changes"),
}
"""Small tables that all users share: each server has a copy."""

OF_THE_INSTALLATION: Final = {
    "audit_entries": "partitioned by time; the actor may be another than the subject",
    "audit_details": "as above",
    "revocations": "one log of the installation, read in its order",
    "rate_counters": "counts what was tried, mostly by nobody; Redis holds it where there is more than one server",
    "job_leases": "a row a job, by the clock of one server",
    "outbox": "relayed in lanes",
    "outbox_lane": "as above",
    "outbox_relay": "as above",
    "outbox_parked": "as above",
    "outbox_epoch": "as above",
    "userservice_inbox": "what a group of consumers has passed, in the transaction of its effect",
    "userservice_inbox_event": "as above",
    "bus_group": "the bus of one machine; Kafka takes its place",
    "bus_event": "as above",
    "bus_delivery": "as above",
    "bus_dead_letter": "as above",
    "bus_lane": "as above",
    "bus_member": "as above",
}
"""Tables that stay on one server, and why; decision 45 says what that means."""

ACROSS_USERS: Final = {
    **dict.fromkeys(
        ("retention._REMOVE", "retention._FORGET", "mfa._LIST", "mfa._LIST_AFTER"),
        "a job's batch: each row by itself, whoever it belongs to",
    ),
    **dict.fromkeys(("users._LOCK_EXPIRED", "users._EXPIRED"), "as above: each user who is due, one after the other"),
    **dict.fromkeys(("users._LOCK_HOLDERS", "users._HOLDERS"), "a role is deleted by force: its holders in batches"),
    **dict.fromkeys(("roles._HAS_ADMINISTRATOR", "roles._IS_HELD"), "asks whether there is one, under the access lock"),
    **dict.fromkeys(
        ("user_dumps._SIGN_INS", "user_dumps._PROFILES", "user_dumps._ADDRESSES"), "all users, page by page, to a file"
    ),
    "users._COMMON_WORDS": "reads no row of them, but what the server that is asked knows of their addresses",
    "users._LIST_KNOWN": "an import asks who of a batch is there, before it changes any of them",
    "sign_ins._SAMPLE": "looks at some passwords' parameters, for the pace of answers",
    "roles._DELETE": "refused while it is held, which the foreign key checks",
}
"""Statements about users that do not name one, and why they may; the pages of the list of users are read likewise."""

_LISTS: Final = "users.PostgresUserReader"
_NAMES_ONE: Final = re.compile(
    r"(?:user_id|owner_id|email_key) = (?:CAST\()?%\((?!of\))|%\((?:user_id|new_user_id|counted_id)\)s", re.IGNORECASE
)


def test_each_table_has_its_place() -> None:
    """A new one is put into one of the four kinds."""
    kinds = [OF_USERS, set(BY_ANOTHER_KEY), ON_EACH_SERVER, set(OF_THE_INSTALLATION)]

    assert set().union(*kinds) == set(metadata.tables)
    assert sum(map(len, kinds)) == len(metadata.tables)


@pytest.mark.parametrize("name", sorted(OF_USERS | set(BY_ANOTHER_KEY)))
def test_what_a_table_is_spread_by_is_in_front_of_its_key(name: str) -> None:
    """And in each unique index, so that every server can check what it has by itself."""
    table = metadata.tables[name]
    by = BY_ANOTHER_KEY.get(name, "user_id")

    assert next(iter(table.primary_key)).name == by
    for columns in _unique_keys(table):
        assert by in columns, columns


@pytest.mark.parametrize("name", sorted(OF_USERS | set(BY_ANOTHER_KEY)))
def test_no_foreign_key_leads_from_one_user_to_another(name: str) -> None:
    """It leads to the row of the same user, or to what each server has."""
    for key in metadata.tables[name].foreign_key_constraints:
        (element,) = key.elements
        target = element.column.table.name
        is_same_user = target == "users" and element.parent.name == element.column.name == "user_id"

        assert is_same_user or target in ON_EACH_SERVER, key


def test_nothing_that_is_shared_leads_to_a_user() -> None:
    """A copy on each server could not refer to a row that is on one of them."""
    for name in {*ON_EACH_SERVER, *OF_THE_INSTALLATION}:
        for key in metadata.tables[name].foreign_key_constraints:
            assert {element.column.table.name for element in key.elements}.isdisjoint({*OF_USERS, *BY_ANOTHER_KEY})


def test_an_address_is_unique_by_a_table_of_its_own() -> None:
    """By nothing else: the table of users is spread by another key, and cannot know of all addresses."""
    emails = metadata.tables["user_emails"]

    assert _unique_keys(emails) == [{"email_key"}]
    assert not emails.foreign_key_constraints
    assert all(columns == {"user_id"} for columns in _unique_keys(metadata.tables["users"]))


def test_each_statement_about_a_user_names_the_user() -> None:
    """So that it goes to one server; those that do not are listed with their reason, and no others are."""
    across = {
        name
        for name, statement in statements().items()
        if _tables_of(text := statement.text.decode()) & OF_USERS
        and not name.startswith(_LISTS)
        and not _NAMES_ONE.search(text)
    }

    assert across == set(ACROSS_USERS)


def _unique_keys(table: Table) -> list[set[str]]:
    """Return the columns of each primary key, unique constraint and unique index."""
    constraints = [each for each in table.constraints if isinstance(each, PrimaryKeyConstraint | UniqueConstraint)]
    indexes = [index for index in table.indexes if index.unique]
    return [{column.name for column in each.columns} for each in (*constraints, *indexes)]


def _tables_of(statement: str) -> set[str]:
    return set(re.findall(r"\b[a-z_]+\b", statement)) & set(metadata.tables)
