"""What :mod:`userservice_core.ports.one_time_tokens` promises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from userservice_core.domain.one_time_tokens import KEPT_BESIDE_NEWER, TokenPurpose
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import contend, race
from userservice_core.testing.samples import NOW, sample_hash, sample_one_time_token, sample_user_id

if TYPE_CHECKING:
    from userservice_core.domain.one_time_tokens import OneTimeToken
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend

_LATER = NOW + timedelta(minutes=1, microseconds=9)


class OneTimeTokensContract(StoredContract):
    """For :class:`~userservice_core.ports.one_time_tokens.OneTimeTokenReader` and ``OneTimeTokenRepository``."""

    def test_a_token_is_found_as_it_was_added(self, backend: Backend) -> None:
        """By reader and transaction, again and again: looking does not use it up."""
        token = backend.add_one_time_token(sample_one_time_token(backend.add_user()))

        for _ in range(2):
            assert token == backend.one_time_tokens.find(token.user_id, token.digest)
            assert token == _find(backend, token)

    def test_an_unknown_token_is_not_found(self, backend: Backend) -> None:
        """Nor is another user's, or one of an unknown user."""
        token = backend.add_one_time_token(sample_one_time_token(backend.add_user()))

        for user_id, digest in (
            (token.user_id, sample_hash()),
            (backend.add_user().id, token.digest),
            (sample_user_id(), token.digest),
        ):
            assert backend.one_time_tokens.find(user_id, digest) is None
            found = backend.uow.run(
                lambda transaction, key=(user_id, digest): transaction.one_time_tokens.find(*key)  # type: ignore[misc]
            )
            assert found is None

    def test_a_token_without_its_address_is_found(self, backend: Backend) -> None:
        """It was not always kept as it was written; the key stands for it."""
        user = backend.add_user()
        token = backend.add_one_time_token(sample_one_time_token(user, address=None))

        assert token == backend.one_time_tokens.find(user.id, token.digest)
        assert user.email.key == token.email.address

    def test_a_used_token_is_found(self, backend: Backend) -> None:
        """Saving stores that it was used and how often it failed, and nothing else."""
        token = backend.add_one_time_token(sample_one_time_token(backend.add_user()))
        used = attrs.evolve(token.used(now=_LATER), failures=3)

        backend.uow.run(lambda transaction: transaction.one_time_tokens.save(used))

        assert used == backend.one_time_tokens.find(token.user_id, token.digest)
        assert used == _find(backend, token)

    def test_a_newer_token_ends_unused_ones(self, backend: Backend) -> None:
        """Of the same user and purpose; when others were used does not change."""
        user, other_user = backend.add_user(), backend.add_user()
        used = backend.add_one_time_token(sample_one_time_token(user, used_at=NOW))
        unused = backend.add_one_time_token(sample_one_time_token(user))
        others = backend.add_one_time_token(sample_one_time_token(other_user))

        newer = backend.add_one_time_token(sample_one_time_token(user, now=_LATER))

        ended = backend.one_time_tokens.find(user.id, unused.digest)
        assert ended is not None
        assert ended.used_at is not None
        assert not ended.is_good_for(TokenPurpose.VERIFY_EMAIL, email_key=user.email.key, now=_LATER)
        assert newer == backend.one_time_tokens.find(user.id, newer.digest)
        assert used == backend.one_time_tokens.find(user.id, used.digest)
        assert others == backend.one_time_tokens.find(other_user.id, others.digest)

    @pytest.mark.parametrize("purpose", sorted(KEPT_BESIDE_NEWER))
    def test_tokens_of_some_purposes_are_good_beside_newer_ones(self, backend: Backend, purpose: TokenPurpose) -> None:
        """However many there are."""
        user = backend.add_user()
        tokens = [backend.add_one_time_token(sample_one_time_token(user, purpose=purpose)) for _ in range(3)]

        assert tokens == [backend.one_time_tokens.find(user.id, token.digest) for token in tokens]

    def test_tokens_of_late_are_counted(self, backend: Backend) -> None:
        """Of these purposes and this user, used ones and ended ones included."""
        user = backend.add_user()
        for minutes in (0, 10, 20):
            backend.add_one_time_token(sample_one_time_token(user, now=NOW + timedelta(minutes=minutes)))
        backend.add_one_time_token(sample_one_time_token(user, purpose=TokenPurpose.RESET_PASSWORD, used_at=NOW))
        backend.add_one_time_token(sample_one_time_token(backend.add_user()))

        def count(*purposes: TokenPurpose, minutes: int) -> int:
            since = NOW + timedelta(minutes=minutes)
            return backend.uow.run(
                lambda transaction: transaction.one_time_tokens.count_since(user.id, purposes, since=since)
            )

        assert count(TokenPurpose.VERIFY_EMAIL, minutes=-1) == 3
        assert count(TokenPurpose.VERIFY_EMAIL, minutes=0) == 2
        assert count(TokenPurpose.VERIFY_EMAIL, TokenPurpose.RESET_PASSWORD, minutes=-1) == 4
        assert count(minutes=-1) == 0

    def test_a_token_of_a_new_user_is_added_with_them(self, backend: Backend) -> None:
        """In one transaction, as a registration does."""
        user = backend.register()
        first, second = sample_one_time_token(user), sample_one_time_token(user)

        def work(transaction: Transaction) -> None:
            transaction.one_time_tokens.add(first)
            transaction.one_time_tokens.add(second)

        backend.uow.run(work)

        ended = backend.one_time_tokens.find(user.id, first.digest)
        assert ended is not None
        assert ended.used_at is not None
        assert second == backend.one_time_tokens.find(user.id, second.digest)

    def test_all_tokens_end_at_once(self, backend: Backend) -> None:
        """Those of every purpose but the ones to keep; others' do not, and when some were used does not change."""
        user, other_user = backend.add_user(), backend.add_user()
        used = backend.add_one_time_token(sample_one_time_token(user, used_at=NOW))
        to_verify = backend.add_one_time_token(sample_one_time_token(user))
        to_reset = backend.add_one_time_token(sample_one_time_token(user, purpose=TokenPurpose.RESET_PASSWORD))
        others = backend.add_one_time_token(sample_one_time_token(other_user))

        def stored() -> list[OneTimeToken | None]:
            tokens = (used, to_verify, to_reset, others)
            return [backend.one_time_tokens.find(token.user_id, token.digest) for token in tokens]

        keep = (TokenPurpose.RESET_PASSWORD,)
        backend.uow.run(lambda transaction: transaction.one_time_tokens.end_all(user.id, now=_LATER, keep=keep))
        assert [used, to_verify.used(now=_LATER), to_reset, others] == stored()

        backend.uow.run(lambda transaction: transaction.one_time_tokens.end_all(user.id, now=_LATER))
        assert [used, to_verify.used(now=_LATER), to_reset.used(now=_LATER), others] == stored()

    def test_tokens_end_that_were_made_since(self, backend: Backend) -> None:
        """That moment included; earlier ones stay."""
        user, purpose = backend.add_user(), TokenPurpose.UNDO_EMAIL_CHANGE
        tokens = [
            backend.add_one_time_token(
                sample_one_time_token(user, purpose=purpose, now=NOW + timedelta(microseconds=number))
            )
            for number in range(3)
        ]

        backend.uow.run(
            lambda transaction: transaction.one_time_tokens.end_all(
                user.id, now=_LATER, made_since=tokens[1].created_at
            )
        )

        assert [tokens[0], tokens[1].used(now=_LATER), tokens[2].used(now=_LATER)] == [
            backend.one_time_tokens.find(user.id, token.digest) for token in tokens
        ]

    def test_a_token_in_use_is_locked(self, backend: Backend) -> None:
        """Whoever looks for it in another transaction waits, and sees that it is used."""
        token = backend.add_one_time_token(sample_one_time_token(backend.add_user()))

        def hold(transaction: Transaction) -> None:
            found = transaction.one_time_tokens.find(token.user_id, token.digest)
            assert found is not None
            transaction.one_time_tokens.save(found.used(now=_LATER))

        assert token.used(now=_LATER) == contend(backend.uow, hold, lambda: _find(backend, token))

    def test_a_token_is_used_once(self, backend: Backend) -> None:
        """However many present it at once."""
        token = backend.add_one_time_token(sample_one_time_token(backend.add_user()))

        def use(transaction: Transaction) -> bool:
            found = transaction.one_time_tokens.find(token.user_id, token.digest)
            if found is None or found.used_at is not None:
                return False
            transaction.one_time_tokens.save(found.used(now=_LATER))
            return True

        outcomes = race([lambda: backend.uow.run(use)] * 6)

        assert sorted(outcomes, key=bool) == [False] * 5 + [True], outcomes

    def test_of_tokens_at_once_one_is_good(self, backend: Backend) -> None:
        """However many are asked for: one of them ends all others."""
        user = backend.add_user()
        tokens = [sample_one_time_token(user) for _ in range(3)]

        race([lambda token=token: backend.add_one_time_token(token) for token in tokens])  # type: ignore[misc]

        stored = [backend.one_time_tokens.find(user.id, token.digest) for token in tokens]
        assert [token.used_at for token in stored if token is not None].count(None) == 1


def _find(backend: Backend, token: OneTimeToken) -> OneTimeToken | None:
    return backend.uow.run(lambda transaction: transaction.one_time_tokens.find(token.user_id, token.digest))
