"""Entries of the audit log."""

from __future__ import annotations

import pytest

from userservice_core.domain.audit import SYSTEM, AuditAction, AuditEntry, Subject
from userservice_core.domain.ids import AuditEntryId
from userservice_core.domain.users import UserStatus
from userservice_core.errors import ProgrammingError
from userservice_core.testing.samples import NOW, sample_audit_entry, sample_user_id

SUBJECT = Subject.user(sample_user_id())


def test_what_changed_is_found_by_comparing() -> None:
    """Names whose values differ, and those that came or went; in the order of the alphabet."""
    entry = AuditEntry(
        id=AuditEntryId(sample_user_id()),
        at=NOW,
        action=AuditAction.USER_UPDATED,
        actor=SYSTEM,
        subject=SUBJECT,
        before={"same": [1], "gone": 1, "other": "a"},
        after={"same": [1], "other": "b", "come": 2},
    )

    assert entry.changed == ("come", "gone", "other")


@pytest.mark.parametrize("name", ["password", "newPassword", "clientSecret", "passwordHash", "refreshToken"])
def test_values_of_secrets_are_refused(name: str) -> None:
    """By their names, so that nobody writes one by mistake."""
    with pytest.raises(ProgrammingError):
        sample_audit_entry(SUBJECT, after={name: "x"})


def test_secrets_can_be_named_as_changed() -> None:
    """That a password changed is no secret."""
    assert sample_audit_entry(SUBJECT, changed=("password",)).changed == ("password",)


def test_members_of_what_administrators_write_are_kept() -> None:
    """Their names are not ours."""
    assert sample_audit_entry(SUBJECT, after={"attributes": {"tokens": 3}}).after == {"attributes": {"tokens": 3}}


def test_values_are_written_as_json() -> None:
    """Sets in an order, and what JSON has no type for as text."""
    role = sample_user_id()
    entry = sample_audit_entry(
        SUBJECT,
        after={"status": UserStatus.ACTIVE, "id": role, "at": NOW, "names": frozenset("ba"), "pair": (1, None)},
    )

    assert entry.after == {
        "status": "active",
        "id": str(role),
        "at": NOW.isoformat().replace("+00:00", "Z"),
        "names": ["a", "b"],
        "pair": [1, None],
    }
    with pytest.raises(TypeError):
        sample_audit_entry(SUBJECT, after={"x": object()})


def test_names_of_actions_have_one_form() -> None:
    """A resource and what was done to it, in the past tense, as the events have it."""
    for action in AuditAction:
        resource, _, done = action.value.partition(".")
        assert resource.isidentifier(), action
        assert done.isidentifier(), action
