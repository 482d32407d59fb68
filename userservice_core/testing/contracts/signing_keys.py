"""What :mod:`userservice_core.ports.signing_keys` promises."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from userservice_core.domain.signing_keys import SigningAlgorithm, StoredSigningKey
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import contend
from userservice_core.testing.samples import NOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.ports.signing_keys import SigningKeyMaker
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend

_numbers = itertools.count(1)


def _key(**changes: Any) -> StoredSigningKey:  # noqa: ANN401 - each attribute has its type
    key = StoredSigningKey(
        id=f"key-{next(_numbers)}",
        algorithm=SigningAlgorithm.EDDSA,
        sealed="s1.key.AAAA",
        created_at=NOW,
        signs_from=NOW,
    )
    return attrs.evolve(key, **changes)


def _put(backend: Backend, *keys: StoredSigningKey) -> None:
    def work(transaction: Transaction) -> None:
        for key in keys:
            transaction.signing_keys.put(key)

    backend.uow.run(work)


def _own(keys: Sequence[StoredSigningKey], *wanted: StoredSigningKey) -> list[StoredSigningKey]:
    """Leave out what other tests have put there."""
    return [key for key in keys if key.id in {other.id for other in wanted}]


class SigningKeysContract(StoredContract):
    """For :class:`~userservice_core.ports.signing_keys.SigningKeyReader` and ``SigningKeyRepository``."""

    def test_keys_come_in_the_order_in_which_they_sign(self, backend: Backend) -> None:
        """Outside a transaction and in it; of one time, the older one first; all algorithms, revoked ones too."""
        late = _key(signs_from=NOW + timedelta(minutes=10), algorithm=SigningAlgorithm.RS256)
        younger = _key(created_at=NOW + timedelta(microseconds=1), algorithm=SigningAlgorithm.ES256)
        older = _key()
        revoked = _key(signs_from=NOW - timedelta(days=1), sealed=None, revoked_at=NOW)

        _put(backend, late, younger, older, revoked)

        expected = [revoked, older, younger, late]
        assert _own(backend.signing_keys.list_keys(), *expected) == expected
        assert _own(backend.uow.run(lambda transaction: transaction.signing_keys.list_locked()), *expected) == expected

    def test_a_key_is_changed_and_removed(self, backend: Backend) -> None:
        """When it signs and whether it was revoked may change; removing one that is not there does nothing."""
        key, other = _key(), _key()
        _put(backend, key, other)
        changed = attrs.evolve(key.revoked(now=NOW), signs_from=NOW + timedelta(hours=1))

        _put(backend, changed)

        assert _own(backend.signing_keys.list_keys(), key, other) == [other, changed]
        for _ in range(2):
            backend.uow.run(lambda transaction: transaction.signing_keys.remove(key.id))
        assert _own(backend.signing_keys.list_keys(), key, other) == [other]

    def test_whoever_lists_in_a_transaction_keeps_others_from_changing(self, backend: Backend) -> None:
        """So that of two rotations the second sees the first, though neither finds a row of the other to lock."""
        key = _key()

        def hold(transaction: Transaction) -> None:
            transaction.signing_keys.list_locked()
            transaction.signing_keys.put(key)

        seen = contend(
            backend.uow,
            hold,
            rival=lambda: backend.uow.run(lambda transaction: transaction.signing_keys.list_locked()),
        )

        assert _own(seen, key) == [key]


class SigningKeyMakerContract:
    """For :class:`~userservice_core.ports.signing_keys.SigningKeyMaker`."""

    @pytest.fixture
    def maker(self) -> SigningKeyMaker:
        """What makes keys."""
        raise NotImplementedError("override this fixture")

    def test_a_key_is_new_and_sealed(self, maker: SigningKeyMaker) -> None:
        """It begins when it is told to, no other has its id or its seal, and the seal does not show."""
        later = NOW + timedelta(minutes=10)

        keys = [maker.make(now=NOW, signs_from=later) for _ in range(2)]

        assert [(key.created_at, key.signs_from, key.revoked_at) for key in keys] == [(NOW, later, None)] * 2
        assert len({key.id for key in keys}) == len({key.sealed for key in keys}) == 2
        assert all(key.sealed and key.sealed not in repr(key) for key in keys)
