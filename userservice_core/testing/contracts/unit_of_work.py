"""What :mod:`userservice_core.ports.unit_of_work` promises."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import attrs
import msgspec
import pytest

from userservice_core.domain.event_data import MAX_DATA_BYTES, event_data, wire_type
from userservice_core.domain.events import UnknownLoginFailed
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.errors import (
    ConflictError,
    DeadlineExceededError,
    EmailTakenError,
    ProgrammingError,
    StaleVersionError,
    UserNotFoundError,
)
from userservice_core.ports.context import BeyondMemoryError, CallContext, call_context, deadline_after
from userservice_core.ports.publishing import lane_of
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import PATIENCE_SECONDS, Meeting, race
from userservice_core.testing.samples import (
    NOW,
    changed,
    login_failed,
    notification_requested,
    registered,
    sample_address,
    sample_credential,
    sample_event_id,
    sample_hash,
    sample_one_time_token,
    sample_profile,
    sample_role,
    sample_session,
    sample_session_id,
    sample_user,
    sample_user_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.domain.events import Event
    from userservice_core.domain.users import User
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend

_TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

_READS: dict[str, Callable[[Transaction], object]] = {
    "users.get": lambda transaction: transaction.users.get(sample_user_id()),
    "users.find_by_email": lambda transaction: transaction.users.find_by_email("nobody@example.org"),
    "sign_ins.get": lambda transaction: transaction.sign_ins.get(sample_user_id()),
    "sessions.get": lambda transaction: transaction.sessions.get(sample_user_id(), sample_session_id()),
    "sessions.list_open": lambda transaction: transaction.sessions.list_open(sample_user_id(), now=NOW),
    "profiles.get": lambda transaction: transaction.profiles.get(sample_user_id()),
    "addresses.list_of": lambda transaction: transaction.addresses.list_of(sample_user_id()),
    "one_time_tokens.find": lambda transaction: transaction.one_time_tokens.find(sample_user_id(), sample_hash()),
}


def _write_everywhere(transaction: Transaction, user: User) -> None:
    """Write through every repository."""
    transaction.users.add(user)
    transaction.sign_ins.add(sample_credential(user))
    transaction.sessions.add(sample_session(user))
    transaction.one_time_tokens.add(sample_one_time_token(user))
    transaction.profiles.save(sample_profile(user))
    transaction.addresses.add(sample_address(user))
    transaction.roles.add(sample_role(name=f"Of {user.id}"))
    transaction.revocations.add(
        Revocation(kind=RevocationKind.USER, subject=str(user.id), not_before=NOW, expires_at=NOW)
    )
    transaction.record(registered(user))


def _leaves_nothing(backend: Backend, user: User) -> bool:
    """Tell whether nothing is stored of what :func:`_write_everywhere` wrote."""
    with pytest.raises(UserNotFoundError):
        backend.users.get(user.id)
    return (
        backend.users.find_by_email(user.email.key) is None
        and backend.sign_ins.find_sign_in(user.email.key) is None
        and backend.roles.find_by_name(f"Of {user.id}") is None
        and not backend.revocations.is_revoked(
            user_id=user.id, session_id=None, key_id="", issued_at=NOW.replace(year=2000)
        )
        and backend.waiting(str(user.id)) == ()
    )


class UnitOfWorkContract(StoredContract):
    """For :class:`~userservice_core.ports.unit_of_work.UnitOfWork` and ``Transaction``."""

    # --- all or nothing -----------------------------------------------------------------------------------------------

    def test_what_work_returned_comes_after_the_commit(self, backend: Backend) -> None:
        """Then everybody sees what was written."""
        user = sample_user()

        def work(transaction: Transaction) -> str:
            _write_everywhere(transaction, user)
            return "done"

        assert backend.uow.run(work) == "done"
        assert user == backend.users.get(user.id)
        assert len(backend.waiting(str(user.id))) == 1

    def test_a_transaction_may_do_nothing(self, backend: Backend) -> None:
        """Then nothing is all it does."""
        assert backend.uow.run(lambda _: 42) == 42

    def test_nothing_is_seen_before_the_commit(self, backend: Backend) -> None:
        """By anybody, the transaction's own readers included."""
        user = sample_user()

        def work(transaction: Transaction) -> None:
            _write_everywhere(transaction, user)
            assert backend.users.find_by_email(user.email.key) is None
            assert backend.roles.find_by_name(f"Of {user.id}") is None

        backend.uow.run(work)

        assert user == backend.users.find_by_email(user.email.key)

    @pytest.mark.parametrize("error", [KeyError("x"), UserNotFoundError(), KeyboardInterrupt()])
    def test_work_that_raises_changes_nothing(self, backend: Backend, error: BaseException) -> None:
        """And the caller gets what was raised."""
        user = sample_user()

        def work(transaction: Transaction) -> None:
            _write_everywhere(transaction, user)
            raise error

        with pytest.raises(type(error)) as raised:
            backend.uow.run(work)

        assert error is raised.value
        assert _leaves_nothing(backend, user)

    def test_a_refused_write_undoes_all_others(self, backend: Backend) -> None:
        """A rule that fails at commit fails the whole transaction."""
        stored, user = backend.add_user(), sample_user()

        def work(transaction: Transaction) -> None:
            _write_everywhere(transaction, user)
            transaction.users.save(changed(stored, version=5))

        with pytest.raises(StaleVersionError):
            backend.uow.run(work)

        assert stored == backend.users.get(stored.id)
        assert _leaves_nothing(backend, user)

    def test_a_conflict_is_one_of_its_kinds(self, backend: Backend) -> None:
        """So that the caller may tell what to do."""
        user = backend.add_user()

        with pytest.raises(ConflictError) as raised:
            backend.add_user(sample_user(email=user.email))

        assert isinstance(raised.value, EmailTakenError)

    def test_an_error_that_work_handles_is_none(self, backend: Backend) -> None:
        """What is absent does not end a transaction."""
        user = sample_user()

        def work(transaction: Transaction) -> None:
            with pytest.raises(UserNotFoundError):
                transaction.users.get(user.id)
            transaction.users.add(user)

        backend.uow.run(work)

        assert user == backend.users.get(user.id)

    @pytest.mark.parametrize("read", _READS.values(), ids=_READS.keys())
    def test_a_transaction_reads_before_it_writes(
        self, backend: Backend, read: Callable[[Transaction], object]
    ) -> None:
        """A read after a write would not see it, so it is an error, and nothing is written."""
        user = sample_user()

        def work(transaction: Transaction) -> None:
            transaction.users.add(user)
            read(transaction)

        with pytest.raises(ProgrammingError):
            backend.uow.run(work)

        assert backend.users.find_by_email(user.email.key) is None

    # --- deadlines ----------------------------------------------------------------------------------------------------

    def test_nothing_is_begun_for_a_call_that_may_not_wait(self, backend: Backend) -> None:
        """It can be made again by one that may."""
        user = sample_user()
        with call_context(CallContext(may_wait=False)), pytest.raises(BeyondMemoryError):
            backend.uow.run(lambda transaction: _write_everywhere(transaction, user))

        assert _leaves_nothing(backend, user)

    def test_nothing_is_begun_past_the_deadline(self, backend: Backend) -> None:
        """Nor changed."""
        user = sample_user()

        with deadline_after(0), pytest.raises(DeadlineExceededError):
            backend.uow.run(lambda transaction: _write_everywhere(transaction, user))

        assert _leaves_nothing(backend, user)

    def test_nothing_is_committed_past_the_deadline(self, backend: Backend) -> None:
        """However far the work had come."""
        user, stored = sample_user(), backend.add_user()

        def work(transaction: Transaction) -> None:
            transaction.users.get(stored.id)
            time.sleep(0.15)
            _write_everywhere(transaction, user)

        with deadline_after(0.1), pytest.raises(DeadlineExceededError):
            backend.uow.run(work)

        assert _leaves_nothing(backend, user)

    def test_a_lock_is_waited_for_until_the_deadline(self, backend: Backend) -> None:
        """And no longer; whoever holds it is not disturbed."""
        user = backend.add_user()
        began, given_up = Meeting(2), threading.Event()

        def hold(transaction: Transaction) -> None:
            transaction.users.get(user.id)
            began.wait()
            assert given_up.wait(PATIENCE_SECONDS)
            transaction.users.save(changed(user))

        def rival() -> None:
            began.wait()
            with deadline_after(0.1), pytest.raises(DeadlineExceededError):
                backend.uow.run(lambda transaction: transaction.users.get(user.id))
            given_up.set()

        assert race([lambda: backend.uow.run(hold), rival]) == [None, None]
        assert changed(user) == backend.users.get(user.id)

    # --- many at once -------------------------------------------------------------------------------------------------

    def test_many_threads_may_run_transactions(self, backend: Backend) -> None:
        """Each its own."""
        users = [[sample_user() for _ in range(5)] for _ in range(6)]

        def register_all(mine: list[User]) -> None:
            for user in mine:
                backend.register(user)

        outcomes = race([lambda mine=mine: register_all(mine) for mine in users])  # type: ignore[misc]

        assert outcomes == [None] * 6
        assert all(backend.users.get(user.id) == user for mine in users for user in mine)

    def test_transactions_that_block_each_other_both_succeed(self, backend: Backend) -> None:
        """The work of one runs again, and finds what the other one did."""
        left, right = backend.add_user(), backend.add_user()
        meeting = Meeting(2)

        def cross(first: User, second: User) -> None:
            def work(transaction: Transaction) -> None:
                one = transaction.users.get(first.id)
                meeting.wait()
                other = transaction.users.get(second.id)
                transaction.users.save(changed(one))
                transaction.users.save(changed(other))

            backend.uow.run(work)

        assert race([lambda: cross(left, right), lambda: cross(right, left)]) == [None, None]
        assert [backend.users.get(user.id).version for user in (left, right)] == [3, 3]

    # --- events -------------------------------------------------------------------------------------------------------

    def test_an_event_waits_in_the_outbox(self, backend: Backend) -> None:
        """With all that its consumers are to know."""
        user = sample_user()
        event = registered(user)

        def work(transaction: Transaction) -> None:
            transaction.users.add(user)
            transaction.record(event)

        with call_context(CallContext(traceparent=_TRACEPARENT)):
            backend.uow.run(work)

        (record,) = backend.waiting(str(user.id))
        topic = f"{backend.topic_prefix}users"
        assert (event.id, event.key, event.subject, event.occurred_at) == (
            record.id,
            record.key,
            record.subject,
            record.occurred_at,
        )
        assert (topic, lane_of(topic, event.key)) == (record.topic, record.lane)
        assert (wire_type(event), backend.source, 1, _TRACEPARENT) == (
            record.type,
            record.source,
            record.sequence,
            record.traceparent,
        )
        assert event_data(event) == msgspec.json.decode(record.payload)

    def test_an_event_outside_a_trace_has_none(self, backend: Backend) -> None:
        """Nor one that is made up."""
        (record,) = backend.waiting(str(backend.register().id))

        assert record.traceparent is None

    def test_events_of_a_transaction_keep_their_order(self, backend: Backend) -> None:
        """And are numbered in it, each key by its own row."""
        user = backend.register()
        events: list[Event] = [
            login_failed(user, reason="1"),
            registered(user),
            login_failed(user, reason="2"),
            notification_requested(user),
            login_failed(user, reason="3"),
        ]

        backend.record(*events)

        _, *records = backend.waiting(str(user.id))
        assert [event.id for event in events] == [record.id for record in records]
        assert [record.sequence for record in records] == [1, 2, 2, None, 3]

    def test_a_mail_is_asked_for_in_the_language_of_its_owner(self, backend: Backend) -> None:
        """As their profile is at the commit; without a profile or a language in it, in that of the request."""
        user = backend.register()

        def record(language: str | None) -> None:
            def work(transaction: Transaction) -> None:
                transaction.users.get(user.id)
                transaction.record(notification_requested(user))
                found = transaction.profiles.get(user.id)
                if language is not None or found.version:
                    profile = sample_profile(user, language=language, version=found.version + 1)
                    transaction.profiles.save(profile)

            backend.uow.run(work)

        for language in (None, "de-AT", "pt-BR", None):
            record(language)

        _, *records = backend.waiting(str(user.id))
        asked = [msgspec.json.decode(record.payload) for record in records]
        assert [data["language"] for data in asked] == ["en", "de-AT", "pt-BR", "en"]
        whole = msgspec.to_builtins(event_data(notification_requested(user)))
        assert all(data == {**whole, "language": data["language"]} for data in asked)

    def test_a_key_is_numbered_without_gaps(self, backend: Backend) -> None:
        """In the order of the records, whoever comes when, and whatever is rolled back in between."""
        user = backend.register()

        def fail(transaction: Transaction) -> None:
            transaction.record(registered(user))
            transaction.users.save(changed(user, version=9))

        def record() -> None:
            for _ in range(5):
                backend.record(registered(user), login_failed(user))
                with pytest.raises(StaleVersionError):
                    backend.uow.run(fail)

        assert race([record] * 4) == [None] * 4

        records = backend.waiting(str(user.id))
        for topic, count in ((f"{backend.topic_prefix}users", 21), (f"{backend.topic_prefix}auth", 20)):
            assert list(range(1, count + 1)) == [record.sequence for record in records if record.topic == topic]

    def test_a_failed_registration_leaves_no_number(self, backend: Backend) -> None:
        """The next user under that id starts from one."""
        user = sample_user()
        with pytest.raises(EmailTakenError):
            backend.register(attrs.evolve(user, email=backend.add_user().email))

        backend.register(user)

        assert [record.sequence for record in backend.waiting(str(user.id))] == [1]

    def test_a_key_without_a_row_promises_no_order(self, backend: Backend) -> None:
        """Its events are not numbered."""
        hmac = sample_hash().hex()
        event = UnknownLoginFailed(
            id=sample_event_id(), occurred_at=NOW, email_hmac=hmac, reason="unknown", ip=None, user_agent=None
        )

        backend.record(event, attrs.evolve(event, id=sample_event_id()))
        unknown_user = sample_user()
        backend.record(login_failed(unknown_user))

        assert [record.sequence for record in backend.waiting(hmac)] == [None, None]
        assert [record.sequence for record in backend.waiting(str(unknown_user.id))] == [None]

    def test_a_last_event_of_a_removed_user_is_numbered(self, backend: Backend) -> None:
        """It takes its number from the row that goes; the records stay."""
        user = backend.register()

        def work(transaction: Transaction) -> None:
            transaction.users.remove(user.id)
            transaction.record(registered(user))

        backend.uow.run(work)

        assert [record.sequence for record in backend.waiting(str(user.id))] == [1, 2]

    def test_an_event_that_the_bus_would_not_take_is_refused(self, backend: Backend) -> None:
        """At commit, with all that was done in the transaction; the largest one that it takes is stored."""
        user = sample_user()
        room = MAX_DATA_BYTES - len(msgspec.json.encode(event_data(attrs.evolve(registered(user), email=""))))

        def register(email_characters: int) -> None:
            def work(transaction: Transaction) -> None:
                transaction.users.add(user)
                transaction.record(attrs.evolve(registered(user), email="x" * email_characters))

            backend.uow.run(work)

        with pytest.raises(ProgrammingError):
            register(room + 1)
        assert backend.users.find_by_email(user.email.key) is None
        register(room)
        assert [len(record.payload) for record in backend.waiting(str(user.id))] == [MAX_DATA_BYTES]
