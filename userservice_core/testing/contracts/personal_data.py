"""What :mod:`userservice_core.ports.personal_data` promises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from userservice_core.domain.audit import SYSTEM, Actor, Subject
from userservice_core.domain.profiles import UserProfile
from userservice_core.errors import DeadlineExceededError, UserNotFoundError
from userservice_core.ports.context import deadline_after
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.samples import (
    NOW,
    sample_address,
    sample_audit_entry,
    sample_one_time_token,
    sample_profile,
    sample_session,
    sample_user_id,
)

if TYPE_CHECKING:
    from userservice_core.domain.audit import AuditEntry
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend


class PersonalDataContract(StoredContract):
    """For :class:`~userservice_core.ports.personal_data.PersonalDataReader`."""

    def test_all_that_is_held_about_a_user_is_read(self, backend: Backend) -> None:
        """As each of the other ports has it, ended sessions and used links too; nothing of others."""
        user, other = backend.add_user(), backend.add_user()
        profile = backend.save_profile(sample_profile(user))
        backend.save_profile(sample_profile(other))
        addresses = tuple(backend.add_address(sample_address(user)) for _ in range(2))
        backend.add_address(sample_address(other))
        sessions = tuple(backend.add_session(sample_session(user, revoked_at=at)) for at in (NOW, None))
        backend.add_session(sample_session(other))
        older = backend.add_one_time_token(sample_one_time_token(user))
        newer = backend.add_one_time_token(sample_one_time_token(user, now=NOW + timedelta(seconds=1)))
        backend.add_one_time_token(sample_one_time_token(other))

        data = backend.personal_data.read(user.id, max_entries=10)

        assert data.sign_in == backend.sign_ins.get(user.id)
        assert data.profile == profile
        assert data.addresses == addresses
        assert data.sessions == sessions
        assert data.one_time_tokens == (older.used(now=newer.created_at), newer)
        assert (data.done_to, data.done_by, data.log_is_complete) == ((), (), True)

    def test_who_has_hardly_anything_is_read_too(self, backend: Backend) -> None:
        """With an empty profile."""
        user = backend.add_user()

        data = backend.personal_data.read(user.id, max_entries=10)

        assert data.profile == UserProfile(user_id=user.id)
        assert (data.addresses, data.sessions, data.one_time_tokens) == ((), (), ())

    def test_the_log_is_read_from_both_sides(self, backend: Backend) -> None:
        """What was done to the user, and what they did to others, each once, the newest first."""
        user, other = backend.add_user(), backend.add_user()
        me, them = Subject.user(user.id), Subject.user(other.id)
        to_me = sample_audit_entry(me, actor=SYSTEM)
        by_myself = sample_audit_entry(me, actor=Actor.user(user.id))
        to_them = sample_audit_entry(them, actor=Actor.user(user.id))
        to_nothing = sample_audit_entry(None, actor=Actor.user(user.id))
        _write(backend, to_me, by_myself, to_them, to_nothing, sample_audit_entry(them, actor=Actor.user(other.id)))

        data = backend.personal_data.read(user.id, max_entries=2)

        assert [record.entry for record in data.done_to] == [by_myself, to_me]
        assert [record.entry for record in data.done_by] == [to_nothing, to_them]
        assert data.log_is_complete is True

    def test_the_log_is_read_up_to_a_bound(self, backend: Backend) -> None:
        """The newest of it, and that there is more."""
        user = backend.add_user()
        entries = [sample_audit_entry(Subject.user(user.id)) for _ in range(3)]
        _write(backend, *entries)

        data = backend.personal_data.read(user.id, max_entries=2)

        assert [record.entry for record in data.done_to] == [entries[2], entries[1]]
        assert data.log_is_complete is False

    def test_nothing_is_held_about_nobody(self, backend: Backend) -> None:
        """An erased user is nobody."""
        with pytest.raises(UserNotFoundError):
            backend.personal_data.read(sample_user_id(), max_entries=10)

    def test_nothing_is_read_past_the_deadline(self, backend: Backend) -> None:
        """An answer would come too late for anybody."""
        user = backend.add_user()

        with deadline_after(0), pytest.raises(DeadlineExceededError):
            backend.personal_data.read(user.id, max_entries=10)


def _write(backend: Backend, *entries: AuditEntry) -> None:
    def work(transaction: Transaction) -> None:
        for entry in entries:
            transaction.audit.add(entry)

    backend.uow.run(work)
