"""Signing keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from userservice_core.domain.signing_keys import SigningAlgorithm, StoredSigningKey
from userservice_core.infrastructure.postgres.statements import Statement

if TYPE_CHECKING:
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

_LIST: Final = Statement(
    text(
        """
        SELECT kid, algorithm, sealed, created_at, signs_from, revoked_at
        FROM signing_keys ORDER BY signs_from, created_at, kid
        """
    )
)
# Those that are not there yet are locked, too; who only reads does not wait.
_LOCK: Final = Statement(text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))
_PUT: Final = Statement(
    text(
        """
        INSERT INTO signing_keys (kid, algorithm, sealed, created_at, signs_from, revoked_at)
        VALUES (:kid, :algorithm, :sealed, :created_at, :signs_from, :revoked_at)
        ON CONFLICT (kid) DO UPDATE
        SET sealed = excluded.sealed, signs_from = excluded.signs_from, revoked_at = excluded.revoked_at
        """
    )
)
_REMOVE: Final = Statement(text("DELETE FROM signing_keys WHERE kid = :kid"))


class PostgresSigningKeyReader:
    """Reads signing keys in autocommit; a `ports.signing_keys.SigningKeyReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_keys(self) -> tuple[StoredSigningKey, ...]:
        return tuple(map(_key_of, self._database.fetch_all(_LIST)))


class PostgresSigningKeyRepository:
    """The signing keys of one transaction; a `ports.signing_keys.SigningKeyRepository`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction

    def list_locked(self) -> tuple[StoredSigningKey, ...]:
        _, found = self._transaction.read_locked(_LOCK(), _LIST())
        return tuple(map(_key_of, found.fetchall()))

    def put(self, key: StoredSigningKey) -> None:
        self._transaction.write(
            _PUT(
                kid=key.id,
                algorithm=key.algorithm.value,
                sealed=key.sealed,
                created_at=key.created_at,
                signs_from=key.signs_from,
                revoked_at=key.revoked_at,
            )
        )

    def remove(self, key_id: str) -> None:
        self._transaction.write(_REMOVE(kid=key_id))


def _key_of(row: tuple[Any, ...]) -> StoredSigningKey:
    key_id, algorithm, sealed, created_at, signs_from, revoked_at = row
    return StoredSigningKey(
        id=key_id,
        algorithm=SigningAlgorithm(algorithm),
        sealed=sealed,
        created_at=created_at,
        signs_from=signs_from,
        revoked_at=revoked_at,
    )
