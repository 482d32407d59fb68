"""What every process must forget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import insert, text

from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import revocations
from userservice_core.ports.revocations import RevocationBatch

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.ids import ClientId, SessionId, UserId
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

# The clock is read by the same statement, before any row: what is written later is read next time.
_READ_SINCE: Final = Statement(
    text(
        """
        SELECT now(), kind, subject, not_before, version, expires_at
        FROM (SELECT) AS always LEFT JOIN revocations
            ON (at >= :since OR CAST(:since AS timestamptz) IS NULL) AND expires_at > now()
        ORDER BY seq
        """
    )
)
_IS_REVOKED: Final = Statement(
    text(
        f"""
        SELECT EXISTS (
            SELECT FROM revocations WHERE kind = '{RevocationKind.SESSION}' AND subject = :session_id
            UNION ALL
            SELECT FROM revocations WHERE kind = '{RevocationKind.KEY}' AND subject = :key_id
            UNION ALL
            SELECT FROM revocations
            WHERE kind = '{RevocationKind.USER}' AND subject = :user_id AND not_before > :issued_at
            UNION ALL
            SELECT FROM revocations
            WHERE kind = '{RevocationKind.CLIENT}' AND subject = :client_id AND not_before > :issued_at
        )
        """  # noqa: S608 - constants of ours
    )
)
_INSERT: Final = Statement(
    insert(revocations).inline(), columns=["kind", "subject", "not_before", "version", "expires_at"]
)


_KINDS: Final = frozenset(RevocationKind)


class PostgresRevocationLog:
    """Reads revocations in autocommit; a `ports.revocations.RevocationLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read_since(self, since: datetime | None) -> RevocationBatch:
        rows = self._database.fetch_all(_READ_SINCE, since=since)
        written = (
            Revocation(
                kind=RevocationKind(kind),
                subject=subject,
                not_before=not_before,
                version=version,
                expires_at=expires_at,
            )
            for _, kind, subject, not_before, version, expires_at in rows
            # What a later version tells of is nothing that this one knows.
            if kind in _KINDS
        )
        return RevocationBatch(revocations=tuple(written), read_at=rows[0][0])

    def is_revoked(
        self,
        *,
        user_id: UserId | None,
        session_id: SessionId | None,
        key_id: str,
        issued_at: datetime,
        client_id: ClientId | None = None,
    ) -> bool:
        row = self._database.fetch_one(
            _IS_REVOKED,
            session_id=None if session_id is None else str(session_id),
            key_id=key_id,
            user_id=None if user_id is None else str(user_id),
            client_id=None if client_id is None else str(client_id),
            issued_at=issued_at,
        )
        return row == (True,)


class PostgresRevocationWriter:
    """The revocations of one transaction; a `ports.revocations.RevocationWriter`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction
        self.added: list[Revocation] = []

    def add(self, revocation: Revocation) -> None:
        self.added.append(revocation)
        self._transaction.write(
            _INSERT(
                kind=revocation.kind.value,
                subject=revocation.subject,
                not_before=revocation.not_before,
                version=revocation.version,
                expires_at=revocation.expires_at,
            )
        )
