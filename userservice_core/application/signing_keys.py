"""Signing keys that the database holds: rotation with an overlap, and giving one up at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from userservice_core.domain.audit import SYSTEM, AuditAction, AuditEntry
from userservice_core.domain.ids import AuditEntryId
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.domain.signing_keys import (
    PUBLISHED_FOR,
    REVOKED_KEPT,
    SigningKeyState,
    StoredSigningKey,
    states_at,
)
from userservice_core.errors import RotationUnderWayError, SigningKeyNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.signing_keys import SigningKeyMaker, SigningKeyReader
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork


class SigningKeys:
    """
    Changing the keys that sign access tokens.

    Every process reads the keys again within seconds, and each decides by the time which one signs. So one call
    rotates: nothing has to follow it, and a process that dies in between leaves nothing half done.
    """

    def __init__(
        self, *, uow: UnitOfWork, keys: SigningKeyReader, maker: SigningKeyMaker, clock: Clock, ids: IdGenerator
    ) -> None:
        self._uow = uow
        self._keys = keys
        self._maker = maker
        self._clock = clock
        self._ids = ids

    def list_all(self) -> tuple[tuple[StoredSigningKey, SigningKeyState], ...]:
        """Return all keys in the order in which they begin to sign, each with its state now."""
        keys = self._keys.list_keys()
        states = states_at(keys, self._clock.now())
        return tuple((key, states[key.id]) for key in keys)

    def begin_with(self, keys: Iterable[StoredSigningKey]) -> tuple[StoredSigningKey, ...]:
        """Put *keys* where there are none yet, and return those that are there then; of many processes one does."""
        offered = tuple(keys)

        def work(transaction: Transaction) -> tuple[StoredSigningKey, ...]:
            there = transaction.signing_keys.list_locked()
            if not there:
                for key in offered:
                    transaction.signing_keys.put(key)
            return there or offered

        return self._uow.run(work)

    def rotate(self) -> StoredSigningKey:
        """
        Make a key that will sign once everybody can know it, and remove those that verify nothing any more.

        Raises:
            RotationUnderWayError: If there is a key already that does not sign yet.
        """
        now = self._clock.now()
        made = self._maker.make(now=now, signs_from=now + PUBLISHED_FOR)

        def work(transaction: Transaction) -> StoredSigningKey:
            keys = transaction.signing_keys.list_locked()
            states = states_at(keys, now)
            if SigningKeyState.NEXT in states.values():
                raise RotationUnderWayError
            for key in keys:
                is_forgotten = key.revoked_at is not None and key.revoked_at + REVOKED_KEPT <= now
                if states[key.id] is SigningKeyState.EXPIRED or is_forgotten:
                    transaction.signing_keys.remove(key.id)
            transaction.signing_keys.put(made)
            self._audit(transaction, AuditAction.SIGNING_KEY_ADDED, made, now=now)
            return made

        return self._uow.run(work)

    def promote(self, *, key_id: str) -> StoredSigningKey:
        """
        Let the next key sign from now on, without waiting until everybody can know it.

        Raises:
            SigningKeyNotFoundError: If it is not the next key.
        """
        now = self._clock.now()

        def work(transaction: Transaction) -> StoredSigningKey:
            keys = transaction.signing_keys.list_locked()
            key = _find(keys, key_id)
            if states_at(keys, now)[key_id] is not SigningKeyState.NEXT:
                raise SigningKeyNotFoundError
            promoted = attrs.evolve(key, signs_from=now)
            transaction.signing_keys.put(promoted)
            self._audit(transaction, AuditAction.SIGNING_KEY_PROMOTED, promoted, now=now)
            return promoted

        return self._uow.run(work)

    def revoke(self, *, key_id: str) -> StoredSigningKey:
        """
        Give a key up: what it signed is refused everywhere at once, and another key signs from now on.

        That is the next key where there is one, else a new one. A key that was given up before stays so.

        Returns:
            The key that signs now.

        Raises:
            SigningKeyNotFoundError: If there is no such key.
        """
        now = self._clock.now()
        spare = self._maker.make(now=now, signs_from=now)

        def work(transaction: Transaction) -> StoredSigningKey:
            keys = transaction.signing_keys.list_locked()
            key = _find(keys, key_id)
            if key.revoked_at is None:
                transaction.signing_keys.put(key.revoked(now=now))
                transaction.revocations.add(
                    Revocation(kind=RevocationKind.KEY, subject=key_id, not_before=now, expires_at=now + REVOKED_KEPT)
                )
                self._audit(transaction, AuditAction.SIGNING_KEY_REVOKED, key, now=now)
            left = [other for other in keys if other.id != key_id and other.revoked_at is None]
            states = states_at(keys, now)
            signing = next((other for other in left if states[other.id] is SigningKeyState.CURRENT), None)
            if signing is None:
                following = [other for other in left if states[other.id] is SigningKeyState.NEXT]
                # A retired key does not come back: whoever took one key may have taken those before it.
                signing = attrs.evolve(following[0], signs_from=now) if following else spare
                transaction.signing_keys.put(signing)
                action = AuditAction.SIGNING_KEY_PROMOTED if following else AuditAction.SIGNING_KEY_ADDED
                self._audit(transaction, action, signing, now=now)
            return signing

        return self._uow.run(work)

    def _audit(self, transaction: Transaction, action: AuditAction, key: StoredSigningKey, *, now: datetime) -> None:
        transaction.audit.add(
            AuditEntry(
                id=AuditEntryId(self._ids.new()),
                at=now,
                action=action,
                actor=SYSTEM,
                subject=None,
                after={"kid": key.id, "algorithm": key.algorithm, "signsFrom": key.signs_from},
            )
        )


def _find(keys: tuple[StoredSigningKey, ...], key_id: str) -> StoredSigningKey:
    key = next((key for key in keys if key.id == key_id), None)
    if key is None:
        raise SigningKeyNotFoundError
    return key
