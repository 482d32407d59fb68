"""What :mod:`userservice_core.ports.audit` promises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from userservice_core.domain.audit import (
    ANONYMOUS,
    SYSTEM,
    Actor,
    ActorKind,
    AuditAction,
    AuditEntry,
    Outcome,
    Subject,
    SubjectKind,
)
from userservice_core.domain.lists import PageRequest, Sort
from userservice_core.domain.sessions import Origin
from userservice_core.errors import AlreadyExistsError, DeadlineExceededError, ProgrammingError
from userservice_core.ports.audit import AuditFilter, AuditRecord
from userservice_core.ports.context import CallContext, call_context, deadline_after
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.samples import NOW, sample_audit_entry, sample_user, sample_user_id

if TYPE_CHECKING:
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend

ORIGIN = Origin(ip="192.0.2.7", user_agent="Agent/1 é")


class AuditContract(StoredContract):
    """For :class:`~userservice_core.ports.audit.AuditLog` and ``AuditReader``."""

    def test_an_entry_is_read_as_it_was_written(self, backend: Backend) -> None:
        """With request id and origin of the call that wrote it."""
        subject = _nobody()
        entry = sample_audit_entry(
            subject,
            actor=Actor.user(sample_user_id()),
            outcome=Outcome.REFUSED,
            reason="target-outranks-actor",
            before={"names": ["a", "é\U0001f600"], "count": 1, "none": None, "nested": {"": 1.5}},
            after={},
            changed=("count", "password"),
        )

        with call_context(CallContext(request_id="r-1", origin=ORIGIN)):
            _write(backend, entry)

        assert (AuditRecord(entry=entry, request_id="r-1", origin=ORIGIN),) == _about(backend, subject)

    def test_an_entry_may_be_about_nothing_that_exists(self, backend: Backend) -> None:
        """And nobody known need have done it, from nowhere."""
        entry = sample_audit_entry(None, actor=ANONYMOUS)
        _write(backend, entry)

        found = [each for each in _all(backend) if each.entry.id == entry.id]

        assert found == [AuditRecord(entry=entry)]

    def test_an_entry_is_there_once(self, backend: Backend) -> None:
        """The same one again is refused with all that was to be written with it."""
        subject = _nobody()
        entry = sample_audit_entry(subject)
        _write(backend, entry)

        with pytest.raises(AlreadyExistsError):
            _write(backend, sample_audit_entry(subject), entry)

        assert [each.entry for each in _about(backend, subject)] == [entry]

    def test_what_is_undone_leaves_no_entry(self, backend: Backend) -> None:
        """The log tells of what was committed."""
        subject = _nobody()

        def work(transaction: Transaction) -> None:
            transaction.audit.add(sample_audit_entry(subject))
            raise RuntimeError

        with pytest.raises(RuntimeError):
            backend.uow.run(work)

        assert _about(backend, subject) == ()

    def test_nothing_is_read_after_an_entry(self, backend: Backend) -> None:
        """It is a write like others."""
        user = backend.add_user()

        def work(transaction: Transaction) -> None:
            transaction.audit.add(sample_audit_entry(None))
            transaction.users.get(user.id)

        with pytest.raises(ProgrammingError):
            backend.uow.run(work)

    def test_the_log_is_in_the_order_of_time(self, backend: Backend) -> None:
        """From either end; entries of one time are in the order of their ids, and pages divide them."""
        subject = _nobody()
        early, late = NOW, NOW + timedelta(microseconds=1)
        first, second, third = (sample_audit_entry(subject, at=at) for at in (early, early, late))
        _write(backend, second, third, first)

        def walk(sort: str) -> list[AuditEntry]:
            walked: list[AuditEntry] = []
            start = None
            while True:
                request = PageRequest(sort=Sort.parse(sort), limit=1, start=start)
                page = backend.audit.list_page(AuditFilter(subject_id=subject.id), request)
                assert page.total == 3
                walked += [record.entry for record in page.rows]
                start = page.following
                if start is None:
                    return walked

        assert walk("at") == [first, second, third]
        assert walk("-at") == [third, second, first]

    def test_what_is_wanted_is_found(self, backend: Backend) -> None:
        """By each member of the filter, and by all of them together."""
        subject = _nobody()
        actor = Actor.client(sample_user_id())
        other = sample_audit_entry(Subject(SubjectKind.PERMISSION, sample_user_id()))
        wanted = sample_audit_entry(
            subject,
            at=NOW + timedelta(days=1) + timedelta(microseconds=NOW.microsecond),
            actor=actor,
            action=AuditAction.REFRESH_REUSED,
            outcome=Outcome.REFUSED,
        )
        _write(backend, other, wanted)
        fitting = AuditFilter(
            actor_id=actor.id,
            actions=(AuditAction.ROLE_CREATED, AuditAction.REFRESH_REUSED),
            subject_kind=subject.kind,
            subject_id=subject.id,
            outcome=Outcome.REFUSED,
            after=wanted.at,
            before=wanted.at + timedelta(microseconds=1),
        )

        for name in ("actor_id", "actions", "subject_kind", "subject_id", "outcome", "after", "before"):
            only = AuditFilter(**{name: getattr(fitting, name)})
            found = {entry.id for entry in _read(backend, only)}
            assert wanted.id in found, name
            assert name == "before" or other.id not in found, name
        changes: list[dict[str, Any]] = [
            {"actor_id": sample_user_id()},
            {"actions": ()},
            {"actions": (AuditAction.ROLE_CREATED,)},
            {"subject_kind": SubjectKind.CLIENT},
            {"subject_id": sample_user_id()},
            {"own": True},
            {"outcome": Outcome.SUCCEEDED},
            {"after": wanted.at + timedelta(microseconds=1)},
            {"before": wanted.at},
        ]
        for change in changes:
            assert _read(backend, attrs.evolve(fitting, **change)) == [], change
        assert _read(backend, fitting) == [wanted]

    def test_what_is_ones_own_can_be_asked_for(self, backend: Backend) -> None:
        """What was done by anybody, and what was refused to oneself and to nobody known; not what others tried."""
        subject = _nobody()
        refused = {"outcome": Outcome.REFUSED, "reason": "permission-denied"}
        by_oneself = Actor(ActorKind.USER, subject.id)
        tried = sample_audit_entry(subject, actor=Actor.user(sample_user_id()), **refused)
        own = [
            sample_audit_entry(subject, actor=Actor.user(sample_user_id())),
            sample_audit_entry(subject, actor=by_oneself, **refused),
            sample_audit_entry(subject, actor=ANONYMOUS, **refused),
        ]
        _write(backend, tried, *own)

        assert _read(backend, AuditFilter(subject_id=subject.id, own=True)) == own
        assert _read(backend, AuditFilter(subject_id=subject.id)) == [tried, *own]

    def test_details_can_be_erased_and_entries_stay(self, backend: Backend) -> None:
        """Of what is about the user all, of what they did to others where they did it from; nothing of others."""
        user, other = backend.add_user(), backend.add_user()
        about_user = sample_audit_entry(Subject.user(user.id), actor=SYSTEM)
        by_user = sample_audit_entry(Subject.user(other.id), actor=Actor.user(user.id))
        by_other = sample_audit_entry(Subject.user(other.id), actor=Actor.user(other.id))
        with call_context(CallContext(request_id="r-2", origin=ORIGIN)):
            _write(backend, about_user, by_user, by_other)

        backend.uow.run(lambda transaction: transaction.audit.erase_details(user.id))

        assert _about(backend, Subject.user(user.id)) == (
            AuditRecord(entry=attrs.evolve(about_user, before={}, after={}), request_id="r-2", is_erased=True),
        )
        assert set(_positions(_about(backend, Subject.user(other.id)))) == {
            (by_user.id, Origin(), False),
            (by_other.id, ORIGIN, False),
        }
        assert [each.entry.after for each in _about(backend, Subject.user(other.id))] == [by_user.after] * 2

    def test_erasing_with_the_user_takes_the_details_of_its_own_entry(self, backend: Backend) -> None:
        """It tells who erased whom, and nothing else."""
        user = backend.add_user()
        entry = sample_audit_entry(Subject.user(user.id), actor=SYSTEM)

        def work(transaction: Transaction) -> None:
            transaction.audit.erase_details(user.id)
            transaction.audit.add(entry)
            transaction.users.remove(user.id)

        with call_context(CallContext(origin=ORIGIN)):
            backend.uow.run(work)

        assert _about(backend, Subject.user(user.id)) == (
            AuditRecord(entry=attrs.evolve(entry, before={}, after={}), is_erased=True),
        )

    def test_no_details_are_kept_of_a_user_who_is_not_there(self, backend: Backend) -> None:
        """An action that was under way while they were erased leaves its entry alone."""
        subject = Subject.user(sample_user().id)
        entry = sample_audit_entry(subject)

        with call_context(CallContext(origin=ORIGIN)):
            _write(backend, entry)

        assert _about(backend, subject) == (
            AuditRecord(entry=attrs.evolve(entry, before={}, after={}), is_erased=True),
        )

    def test_a_user_who_comes_into_being_has_details(self, backend: Backend) -> None:
        """Written in the transaction that makes them."""
        user = sample_user()
        entry = sample_audit_entry(Subject.user(user.id))

        def work(transaction: Transaction) -> None:
            transaction.audit.add(entry)
            transaction.users.add(user)

        backend.uow.run(work)

        assert _about(backend, Subject.user(user.id)) == (AuditRecord(entry=entry),)

    def test_nothing_is_read_past_the_deadline(self, backend: Backend) -> None:
        """An answer would come too late for anybody."""
        with deadline_after(0), pytest.raises(DeadlineExceededError):
            _all(backend)


def _nobody() -> Subject:
    """Return a subject of which nothing is known, and which need not exist."""
    return Subject(SubjectKind.ROLE, sample_user_id())


def _write(backend: Backend, *entries: AuditEntry) -> None:
    def work(transaction: Transaction) -> None:
        for entry in entries:
            transaction.audit.add(entry)

    backend.uow.run(work)


def _page(backend: Backend, wanted: AuditFilter) -> tuple[AuditRecord, ...]:
    return backend.audit.list_page(wanted, PageRequest(sort=Sort(by="at"), limit=10_000)).rows


def _read(backend: Backend, wanted: AuditFilter) -> list[AuditEntry]:
    return [record.entry for record in _page(backend, wanted)]


def _about(backend: Backend, subject: Subject) -> tuple[AuditRecord, ...]:
    return _page(backend, AuditFilter(subject_kind=subject.kind, subject_id=subject.id))


def _all(backend: Backend) -> tuple[AuditRecord, ...]:
    return _page(backend, AuditFilter())


def _positions(records: tuple[AuditRecord, ...]) -> list[tuple[object, Origin, bool]]:
    return [(each.entry.id, each.origin, each.is_erased) for each in records]
