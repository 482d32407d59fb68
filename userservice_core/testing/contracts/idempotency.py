"""What :mod:`userservice_core.ports.idempotency` promises."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.errors import (
    EmailTakenError,
    IdempotencyKeyInUseError,
    UserNotFoundError,
)
from userservice_core.ports.context import deadline_after, reads_are_provisional
from userservice_core.ports.idempotency import AnsweredBeforeError, CallId, Claim
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import PATIENCE_SECONDS, race, sole
from userservice_core.testing.samples import NOW, registered, sample_credential, sample_user, sample_user_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from uuid import UUID

    from userservice_core.domain.users import User
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend

_LATER = NOW + timedelta(hours=24)


def _claim(owner_id: UUID | None = None, *, now: datetime = NOW) -> Claim:
    call_id = CallId(owner_id=owner_id or sample_user_id(), digest=secrets.token_bytes(32))
    return Claim(call_id=call_id, now=now, expires_at=now + (_LATER - NOW))


def _registration(user: User) -> Callable[[Transaction], User]:
    def work(transaction: Transaction) -> User:
        transaction.users.add(user)
        transaction.sign_ins.add(sample_credential(user))
        transaction.record(registered(user))
        return user

    return work


def _register(backend: Backend, claim: Claim, user: User, *, answer: str | None = "done") -> None:
    with backend.joining.joined(claim) as transaction:
        backend.uow.run(_registration(user))
        if answer is not None:
            transaction.keep(answer)


def _interrupted(
    backend: Backend, claim: Claim, *works: Callable[[Transaction], object], meanwhile: Callable[[], object] = list
) -> None:
    """Run *works*, then *meanwhile*, and raise before the end."""
    with backend.joining.joined(claim) as transaction:
        for work in works:
            backend.uow.run(work)
        transaction.keep("done")
        meanwhile()
        raise ZeroDivisionError


def _is_stored(backend: Backend, user: User) -> bool:
    try:
        backend.users.get(user.id)
    except UserNotFoundError:
        return False
    return True


class IdempotencyContract(StoredContract):
    """For ``JoiningUnitOfWork``, its ``JoinedTransaction``, and ``AnswerStore``."""

    def test_an_answer_is_committed_with_what_was_done(self, backend: Backend) -> None:
        """Both are there, and until then neither."""
        claim, user = _claim(), sample_user()

        with backend.joining.joined(claim) as transaction:
            assert backend.uow.run(_registration(user)) == user
            transaction.keep("done")
            with ThreadPoolExecutor(1) as others:
                assert not others.submit(_is_stored, backend, user).result(PATIENCE_SECONDS)
                find = backend.answers.find
                assert others.submit(find, claim.call_id, now=NOW).result(PATIENCE_SECONDS) is None

        assert _is_stored(backend, user)
        assert backend.answers.find(claim.call_id, now=NOW) == "done"
        assert len(backend.waiting(str(user.id))) == 1

    def test_what_was_answered_is_not_done_again(self, backend: Backend) -> None:
        """The first transaction finds the answer before it does anything."""
        claim, user, rival = _claim(), sample_user(), sample_user()
        _register(backend, claim, user)

        with pytest.raises(AnsweredBeforeError) as found:
            _register(backend, claim, rival, answer="done again")

        assert found.value.answer == "done"
        assert not _is_stored(backend, rival)
        assert backend.answers.find(claim.call_id, now=NOW) == "done"

    def test_another_call_has_an_answer_of_its_own(self, backend: Backend) -> None:
        """Another owner, another digest: each is a call of its own."""
        claim, user = _claim(), sample_user()
        _register(backend, claim, user)

        for call_id in (
            attrs.evolve(claim.call_id, owner_id=sample_user_id()),
            attrs.evolve(claim.call_id, digest=secrets.token_bytes(32)),
        ):
            assert backend.answers.find(call_id, now=NOW) is None
            _register(backend, attrs.evolve(claim, call_id=call_id), sample_user())

    def test_a_block_that_raises_leaves_nothing(self, backend: Backend) -> None:
        """Neither what it did nor the claim; the next one begins anew."""
        claim, user = _claim(), sample_user()

        with pytest.raises(ZeroDivisionError):
            _interrupted(backend, claim, _registration(user))

        assert not _is_stored(backend, user)
        assert backend.answers.find(claim.call_id, now=NOW) is None
        _register(backend, claim, user)

    def test_what_keeps_no_answer_is_done_and_may_be_tried_again(self, backend: Backend) -> None:
        """As a refusal that is counted."""
        claim, counted, user = _claim(), sample_user(), sample_user()

        _register(backend, claim, counted, answer=None)

        assert _is_stored(backend, counted)
        assert backend.answers.find(claim.call_id, now=NOW) is None
        _register(backend, claim, user)

    def test_an_answer_is_kept_where_nothing_was_done(self, backend: Backend) -> None:
        """So that nobody can tell from outside whether something was."""
        claim = _claim()
        with backend.joining.joined(claim) as transaction:
            transaction.keep("nothing")

        assert backend.answers.find(claim.call_id, now=NOW) == "nothing"
        with pytest.raises(AnsweredBeforeError), backend.joining.joined(claim) as transaction:
            transaction.keep("nothing again")

    def test_a_block_may_do_nothing(self, backend: Backend) -> None:
        """Then nothing is all it does."""
        claim = _claim()
        with backend.joining.joined(claim):
            pass

        assert backend.answers.find(claim.call_id, now=NOW) is None

    def test_transactions_of_one_call_are_one(self, backend: Backend) -> None:
        """A later one sees what an earlier one wrote; all of them are committed, or none."""
        claim, user, second = _claim(), sample_user(), sample_user()

        def rename(transaction: Transaction) -> None:
            stored = transaction.users.get(user.id)
            transaction.users.save(attrs.evolve(stored, version=stored.version + 1))
            transaction.record(registered(user))

        with pytest.raises(ZeroDivisionError):
            _interrupted(backend, claim, _registration(user), _registration(second))
        assert not _is_stored(backend, user)
        assert not _is_stored(backend, second)

        with backend.joining.joined(claim) as transaction:
            backend.uow.run(_registration(user))
            backend.uow.run(rename)
            transaction.keep("done")
        assert backend.users.get(user.id).version == user.version + 1
        assert [record.sequence for record in backend.waiting(str(user.id))] == [1, 2]

    def test_a_transaction_that_fails_takes_only_itself_along(self, backend: Backend) -> None:
        """Whatever rule it breaks is told at once, and the call may go on without it."""
        claim, user, lost = _claim(), sample_user(), sample_user()
        same_email = attrs.evolve(sample_user(), email=user.email)

        def give_up(transaction: Transaction) -> None:
            transaction.users.add(lost)
            raise ZeroDivisionError

        with backend.joining.joined(claim) as transaction:
            backend.uow.run(_registration(user))
            with pytest.raises(EmailTakenError):
                backend.uow.run(_registration(same_email))
            with pytest.raises(ZeroDivisionError):
                backend.uow.run(give_up)
            transaction.keep("done")

        assert _is_stored(backend, user)
        assert not _is_stored(backend, same_email)
        assert not _is_stored(backend, lost)
        assert len(backend.waiting(str(user.id))) == 1

    def test_a_first_transaction_that_fails_leaves_the_claim_free(self, backend: Backend) -> None:
        """A refusal before anything was done; a later transaction of the same call may still be the first."""
        claim, user = _claim(), sample_user()
        taken = backend.add_user()
        same_email = attrs.evolve(sample_user(), email=taken.email)

        with backend.joining.joined(claim) as transaction:
            with pytest.raises(EmailTakenError):
                backend.uow.run(_registration(same_email))
            backend.uow.run(_registration(user))
            transaction.keep("done")

        assert _is_stored(backend, user)
        assert backend.answers.find(claim.call_id, now=NOW) == "done"

    def test_a_call_reads_what_it_has_written(self, backend: Backend) -> None:
        """Its readers show it so, and say that it may come to nothing; nobody else's do."""
        claim, user = _claim(), sample_user()

        with backend.joining.joined(claim) as transaction:
            assert not _is_stored(backend, user)
            assert not reads_are_provisional()
            backend.uow.run(_registration(user))
            assert _is_stored(backend, user)
            assert backend.users.find_by_email(user.email.key) == user
            assert reads_are_provisional()
            with ThreadPoolExecutor(1) as others:
                assert not others.submit(_is_stored, backend, user).result(PATIENCE_SECONDS)
            transaction.keep("done")

        assert _is_stored(backend, user)
        assert not reads_are_provisional()

    def test_of_fifty_at_once_one_is_done(self, backend: Backend) -> None:
        """The others wait, and find its answer."""
        claim, users = _claim(), [sample_user() for _ in range(50)]

        def attempt(user: User) -> User:
            with deadline_after(PATIENCE_SECONDS):
                _register(backend, claim, user, answer=str(user.id))
            return user

        outcomes = race([lambda user=user: attempt(user) for user in users])  # type: ignore[misc]

        assert sole(outcomes, AnsweredBeforeError)
        (winner,) = (outcome for outcome in outcomes if not isinstance(outcome, Exception))
        answers = {outcome.answer for outcome in outcomes if isinstance(outcome, AnsweredBeforeError)}
        assert answers == {str(winner.id)}
        assert [user for user in users if _is_stored(backend, user)] == [winner]

    def test_a_rival_does_not_wait_for_ever(self, backend: Backend) -> None:
        """It is told that the same call is under way, in time for an answer."""
        claim, user = _claim(), sample_user()
        refused = threading.Event()

        def rival() -> None:
            with deadline_after(0.2), pytest.raises(IdempotencyKeyInUseError):
                _register(backend, claim, sample_user())
            refused.set()

        with ThreadPoolExecutor(1) as others, backend.joining.joined(claim) as transaction:
            backend.uow.run(_registration(user))
            others.submit(rival).result(PATIENCE_SECONDS)
            transaction.keep("done")

        assert refused.is_set()
        assert backend.answers.find(claim.call_id, now=NOW) == "done"

    def test_a_rival_of_what_was_undone_takes_its_place(self, backend: Backend) -> None:
        """A claim is as good as its transaction."""
        claim, user, rival = _claim(), sample_user(), sample_user()

        with ThreadPoolExecutor(1) as others:
            started: list[Future[None]] = []

            def start_rival() -> None:
                started.append(others.submit(_register, backend, claim, rival))

            with pytest.raises(ZeroDivisionError):
                _interrupted(backend, claim, _registration(user), meanwhile=start_rival)
            started[0].result(PATIENCE_SECONDS)

        assert not _is_stored(backend, user)
        assert _is_stored(backend, rival)

    def test_an_answer_that_has_expired_counts_for_nothing(self, backend: Backend) -> None:
        """The key is free again, also where the row is still there."""
        claim, user, again = _claim(), sample_user(), sample_user()
        _register(backend, claim, user)
        later = attrs.evolve(claim, now=_LATER, expires_at=_LATER + timedelta(hours=24))

        assert backend.answers.find(claim.call_id, now=_LATER) is None
        _register(backend, later, again, answer="done later")

        assert _is_stored(backend, again)
        assert backend.answers.find(claim.call_id, now=_LATER) == "done later"

    def test_expired_answers_are_removed_in_bounded_batches(self, backend: Backend) -> None:
        """The oldest first, until none is left; what has not expired stays."""
        old = [_claim(now=NOW - timedelta(days=1_000 - number)) for number in range(5)]
        fresh = _claim()
        for claim in (*old, fresh):
            with backend.joining.joined(claim) as transaction:
                transaction.keep("done")
        end = old[-1].expires_at

        assert [backend.answers.remove_expired(now=end, limit=3) for _ in range(3)] == [3, 2, 0]
        assert [backend.answers.find(claim.call_id, now=claim.now) for claim in old] == [None] * 5
        assert backend.answers.find(fresh.call_id, now=NOW) == "done"

    def test_what_was_answered_to_a_user_is_erased_with_them(self, backend: Backend) -> None:
        """An answer may hold all that is known of them."""
        user = backend.add_user()
        claim, other = _claim(user.id), _claim()
        for each in (claim, other):
            with backend.joining.joined(each) as transaction:
                transaction.keep("done")

        backend.uow.run(lambda transaction: transaction.users.remove(user.id))

        assert backend.answers.find(claim.call_id, now=NOW) is None
        assert backend.answers.find(other.call_id, now=NOW) == "done"

    def test_what_must_be_forgotten_is_told_after_the_commit(self, backend: Backend) -> None:
        """A revocation of a call that is undone never happened."""
        claim, user = _claim(), sample_user()
        revocation = Revocation(
            kind=RevocationKind.USER, subject=str(user.id), not_before=NOW, expires_at=NOW + timedelta(days=36_500)
        )

        def is_revoked() -> bool:
            return backend.revocations.is_revoked(
                user_id=user.id, session_id=None, key_id="", issued_at=NOW.replace(year=2000)
            )

        with pytest.raises(ZeroDivisionError):
            _interrupted(backend, claim, lambda transaction: transaction.revocations.add(revocation))
        assert not is_revoked()

        with backend.joining.joined(claim):
            backend.uow.run(lambda transaction: transaction.revocations.add(revocation))
        assert is_revoked()
