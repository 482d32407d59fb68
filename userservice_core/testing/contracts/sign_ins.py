"""What :mod:`userservice_core.ports.credentials` promises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from userservice_core.domain.credentials import LoginState, SignIn
from userservice_core.domain.users import UserStatus
from userservice_core.errors import UserNotFoundError
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import contend, race
from userservice_core.testing.samples import (
    NOW,
    changed,
    sample_credential,
    sample_email,
    sample_user,
    sample_user_id,
)

if TYPE_CHECKING:
    from userservice_core.domain.users import User
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend


def _state_of(backend: Backend, user: User) -> LoginState:
    found = backend.sign_ins.find_sign_in(user.email.key)
    assert found is not None
    return found.state


class SignInsContract(StoredContract):
    """For :class:`~userservice_core.ports.credentials.SignInReader` and ``SignInRepository``."""

    def test_an_unknown_address_has_no_sign_in(self, backend: Backend) -> None:
        """The answer is None."""
        assert backend.sign_ins.find_sign_in(sample_email().key) is None

    def test_an_unknown_user_has_no_sign_in(self, backend: Backend) -> None:
        """Where one is asked for by id, that is an error."""
        with pytest.raises(UserNotFoundError):
            backend.sign_ins.get(sample_user_id())
        with pytest.raises(UserNotFoundError):
            backend.uow.run(lambda transaction: transaction.sign_ins.get(sample_user_id()))

    def test_hashes_are_sampled(self, backend: Backend) -> None:
        """All of them where there are few, and never more than asked for; accounts without a password have none."""

        def work(transaction: Transaction) -> None:
            for number in range(3):
                user = sample_user()
                transaction.users.add(user)
                transaction.sign_ins.add(attrs.evolve(sample_credential(user), password_hash=f"$x$sampled{number}$y"))
            without = sample_user()
            transaction.users.add(without)
            transaction.sign_ins.add_state(LoginState(user_id=without.id))

        backend.uow.run(work)

        sampled = backend.sign_ins.sample_hashes(limit=100_000)
        assert {"$x$sampled0$y", "$x$sampled1$y", "$x$sampled2$y"} <= set(sampled)
        assert len(backend.sign_ins.sample_hashes(limit=2)) == 2

    @pytest.mark.parametrize("must_change", [False, True])
    def test_a_new_credential_comes_with_a_fresh_state(self, backend: Backend, must_change: bool) -> None:  # noqa: FBT001
        """User, credential and state are read together, outside a transaction and in one."""
        user = sample_user()
        credential = sample_credential(user, must_change=must_change)

        def work(transaction: Transaction) -> None:
            transaction.users.add(user)
            transaction.sign_ins.add(credential)

        backend.uow.run(work)

        expected = SignIn(user=user, credential=credential, state=LoginState(user_id=user.id))
        assert expected == backend.sign_ins.find_sign_in(user.email.key)
        assert expected == backend.sign_ins.get(user.id)
        assert expected == backend.uow.run(lambda transaction: transaction.sign_ins.get(user.id))

    def test_what_a_user_needs_is_written_in_any_order(self, backend: Backend) -> None:
        """The credential may be given before its user: all take effect together."""
        user = sample_user()
        credential = sample_credential(user)

        def work(transaction: Transaction) -> None:
            transaction.sign_ins.add(credential)
            transaction.users.add(user)

        backend.uow.run(work)

        found = backend.sign_ins.find_sign_in(user.email.key)
        assert found is not None
        assert credential == found.credential

    def test_a_user_may_have_no_password(self, backend: Backend) -> None:
        """Then there is a state alone, as it was given."""
        user = sample_user()
        state = LoginState(
            user_id=user.id, last_login_at=NOW, failed_attempts=3, locked_until=NOW + timedelta(microseconds=7)
        )

        def work(transaction: Transaction) -> None:
            transaction.users.add(user)
            transaction.sign_ins.add_state(state)

        backend.uow.run(work)

        expected = SignIn(user=user, credential=None, state=state)
        assert expected == backend.sign_ins.find_sign_in(user.email.key)
        assert expected == backend.uow.run(lambda transaction: transaction.sign_ins.get(user.id))

    @pytest.mark.parametrize("has_password", [False, True])
    def test_a_saved_credential_is_the_users_only_one(self, backend: Backend, has_password: bool) -> None:  # noqa: FBT001
        """It replaces another one, or is the first."""
        user = backend.add_user() if has_password else _add_without_password(backend)
        former = ("$x$newest$y", "$x$older$y")
        credential = sample_credential(
            user, changed_at=NOW + timedelta(hours=1), must_change=True, former_hashes=former
        )

        backend.uow.run(lambda transaction: transaction.sign_ins.save_credential(credential))

        found = backend.sign_ins.find_sign_in(user.email.key)
        assert found is not None
        assert credential == found.credential

    def test_a_saved_state_replaces_the_stored_one(self, backend: Backend) -> None:
        """Each attribute, None included."""
        user = backend.add_user()
        states = (
            LoginState(user_id=user.id, last_login_at=NOW, failed_attempts=5, locked_until=NOW + timedelta(minutes=5)),
            LoginState(user_id=user.id),
        )
        for state in states:

            def work(transaction: Transaction, state: LoginState = state) -> None:
                transaction.sign_ins.get(user.id)
                transaction.sign_ins.save_state(state)

            backend.uow.run(work)

            assert state == _state_of(backend, user)

    def test_a_state_that_is_absent_is_not_saved(self, backend: Backend) -> None:
        """There is nothing to replace, and nothing is made."""
        user = sample_user()
        backend.uow.run(lambda transaction: transaction.users.add(user))

        for user_id in (user.id, sample_user_id()):
            state = LoginState(user_id=user_id, failed_attempts=5)
            backend.uow.run(lambda transaction, state=state: transaction.sign_ins.save_state(state))  # type: ignore[misc]

        assert _state_of(backend, user) == LoginState(user_id=user.id)

    def test_the_sign_in_of_a_user_is_locked(self, backend: Backend) -> None:
        """Whoever waited for the lock sees the suspension that was committed meanwhile."""
        user = backend.add_user()
        suspended = changed(user, status=UserStatus.SUSPENDED)

        def hold(transaction: Transaction) -> None:
            transaction.sign_ins.get(user.id)
            transaction.users.save(suspended)
            transaction.sign_ins.count_failure(user.id)

        seen = contend(backend.uow, hold, lambda: backend.uow.run(lambda rival: rival.sign_ins.get(user.id)))

        assert (suspended, 1) == (seen.user, seen.state.failed_attempts)

    def test_failures_are_counted_exactly(self, backend: Backend) -> None:
        """However many come at once."""
        user = backend.add_user()

        def fail() -> None:
            for _ in range(5):
                backend.uow.run(lambda transaction: transaction.sign_ins.count_failure(user.id))

        assert race([fail] * 4) == [None] * 4
        assert LoginState(user_id=user.id, failed_attempts=20) == _state_of(backend, user)

    def test_failures_within_a_transaction_add_up(self, backend: Backend) -> None:
        """To what the state is in that transaction."""
        user = backend.add_user()

        def work(transaction: Transaction) -> None:
            state = transaction.sign_ins.get(user.id).state
            transaction.sign_ins.save_state(attrs.evolve(state, failed_attempts=10))
            transaction.sign_ins.count_failure(user.id)
            transaction.sign_ins.count_failure(user.id)

        backend.uow.run(work)

        assert _state_of(backend, user).failed_attempts == 12

    def test_a_failure_of_an_unknown_user_has_no_effect(self, backend: Backend) -> None:
        """Nobody learns from an error that there is no such user."""
        backend.uow.run(lambda transaction: transaction.sign_ins.count_failure(sample_user_id()))

    def test_a_failure_does_not_touch_the_user(self, backend: Backend) -> None:
        """Strangers' attempts do not change the version, and do not wait for the user's row."""
        user = backend.add_user()

        backend.uow.run(lambda transaction: transaction.sign_ins.count_failure(user.id))

        assert user == backend.users.get(user.id)


def _add_without_password(backend: Backend) -> User:
    user = sample_user()

    def work(transaction: Transaction) -> User:
        transaction.users.add(user)
        transaction.sign_ins.add_state(LoginState(user_id=user.id))
        return user

    return backend.uow.run(work)
