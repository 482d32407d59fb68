"""Second factors and recovery codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Integer, bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from userservice_core.domain.ids import UserId
from userservice_core.domain.mfa import MfaFactor, RecoveryCode
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import mfa_factors, recovery_codes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

_FACTOR_OF: Final = mfa_factors.c.user_id == bindparam("of_user_id", type_=mfa_factors.c.user_id.type)
_CODES_OF: Final = recovery_codes.c.user_id == bindparam("of_user_id", type_=recovery_codes.c.user_id.type)
_ONE_CODE: Final = recovery_codes.c.digest == bindparam("of_digest", type_=recovery_codes.c.digest.type)

_FACTOR_COLUMNS: Final = [column.name for column in mfa_factors.c]
_LOCK: Final = Statement(select(mfa_factors.c.user_id).where(_FACTOR_OF).with_for_update())
_FIND: Final = Statement(select(*mfa_factors.c).where(_FACTOR_OF))
_upsert = upsert(mfa_factors)
_SAVE: Final = Statement(
    _upsert.on_conflict_do_update(
        index_elements=[mfa_factors.c.user_id],
        set_={name: _upsert.excluded[name] for name in _FACTOR_COLUMNS if name != "user_id"},
    ),
    columns=_FACTOR_COLUMNS,
)
_REMOVE: Final = Statement(delete(mfa_factors).where(_FACTOR_OF))

_LOCK_CODE: Final = Statement(select(recovery_codes.c.digest).where(_CODES_OF, _ONE_CODE).with_for_update())
_FIND_CODE: Final = Statement(select(*recovery_codes.c).where(_CODES_OF, _ONE_CODE))
_INSERT_CODE: Final = Statement(insert(recovery_codes), columns=[column.name for column in recovery_codes.c])
_SAVE_CODE: Final = Statement(update(recovery_codes).where(_CODES_OF, _ONE_CODE), columns=["used_at"])
_REMOVE_CODES: Final = Statement(delete(recovery_codes).where(_CODES_OF))

_SEALED_OTHERWISE: Final = (
    select(mfa_factors.c.user_id)
    .where(mfa_factors.c.secret.not_like(bindparam("sealed_so", type_=mfa_factors.c.secret.type) + "%"))
    .order_by(mfa_factors.c.user_id)
    .limit(bindparam("at_most", type_=Integer))
)
_LIST: Final = Statement(_SEALED_OTHERWISE)
_LIST_AFTER: Final = Statement(
    _SEALED_OTHERWISE.where(mfa_factors.c.user_id > bindparam("after_user_id", type_=mfa_factors.c.user_id.type))
)


class PostgresMfaRepository:
    """The second factors of one transaction; a `ports.mfa.MfaRepository`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction

    def find(self, user_id: UserId) -> MfaFactor | None:
        _, found = self._transaction.read_locked(_LOCK(of_user_id=user_id), _FIND(of_user_id=user_id))
        row = found.fetchone()
        if row is None:
            return None
        owner_id, secret, created_at, confirmed_at, last_step, failed_at = row
        return MfaFactor(
            user_id=UserId(owner_id),
            sealed_secret=secret,
            created_at=created_at,
            confirmed_at=confirmed_at,
            last_step=last_step,
            failed_at=tuple(failed_at),
        )

    def save(self, factor: MfaFactor) -> None:
        self._transaction.write(
            _SAVE(
                user_id=factor.user_id,
                secret=factor.sealed_secret,
                created_at=factor.created_at,
                confirmed_at=factor.confirmed_at,
                last_step=factor.last_step,
                failed_at=list(factor.failed_at),
            )
        )

    def remove(self, user_id: UserId) -> None:
        self._transaction.write(_REMOVE_CODES(of_user_id=user_id))
        self._transaction.write(_REMOVE(of_user_id=user_id))

    def find_code(self, user_id: UserId, digest: bytes) -> RecoveryCode | None:
        which = {"of_user_id": user_id, "of_digest": digest}
        _, found = self._transaction.read_locked(_LOCK_CODE(**which), _FIND_CODE(**which))
        row = found.fetchone()
        if row is None:
            return None
        owner_id, kept, created_at, used_at = row
        return RecoveryCode(user_id=UserId(owner_id), digest=kept, created_at=created_at, used_at=used_at)

    def save_code(self, code: RecoveryCode) -> None:
        self._transaction.write(_SAVE_CODE(of_user_id=code.user_id, of_digest=code.digest, used_at=code.used_at))

    def replace_codes(self, user_id: UserId, codes: Iterable[RecoveryCode]) -> None:
        self._transaction.write(_REMOVE_CODES(of_user_id=user_id))
        for code in codes:
            self._transaction.write(
                _INSERT_CODE(user_id=code.user_id, digest=code.digest, created_at=code.created_at, used_at=code.used_at)
            )


class PostgresFactorSecrets:
    """Reads in autocommit; a `ports.mfa.FactorSecrets`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_sealed_otherwise(self, prefix: str, *, after: UserId | None, limit: int) -> tuple[UserId, ...]:
        escaped = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        which = {"sealed_so": escaped, "at_most": limit}
        if after is None:
            rows = self._database.fetch_all(_LIST, **which)
        else:
            rows = self._database.fetch_all(_LIST_AFTER, after_user_id=after, **which)
        return tuple(UserId(row[0]) for row in rows)
