"""Mailed tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import ARRAY, Text, all_, any_, bindparam, cast, func, insert, select, update

from userservice_core.domain.one_time_tokens import KEPT_BESIDE_NEWER
from userservice_core.infrastructure.postgres.rows import ONE_TIME_TOKEN_COLUMNS, one_time_token_of
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import one_time_tokens

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from userservice_core.domain.ids import UserId
    from userservice_core.domain.one_time_tokens import OneTimeToken, TokenPurpose
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

_OF_USER: Final = one_time_tokens.c.user_id == bindparam("of_user_id", type_=one_time_tokens.c.user_id.type)
_ONE: Final = one_time_tokens.c.digest == bindparam("of_digest", type_=one_time_tokens.c.digest.type)

_FIND: Final = Statement(select(*ONE_TIME_TOKEN_COLUMNS).where(_OF_USER, _ONE))
_LOCK: Final = Statement(select(one_time_tokens.c.digest).where(_OF_USER, _ONE).with_for_update())
_END_OLDER: Final = Statement(
    update(one_time_tokens).where(
        _OF_USER,
        one_time_tokens.c.purpose == bindparam("of_purpose", type_=one_time_tokens.c.purpose.type),
        one_time_tokens.c.used_at.is_(None),
    ),
    columns=["used_at"],
)
_COUNT: Final = Statement(
    select(func.count())
    .select_from(one_time_tokens)
    .where(
        _OF_USER,
        one_time_tokens.c.purpose == any_(bindparam("of_purposes", type_=ARRAY(Text))),
        one_time_tokens.c.created_at > bindparam("of_since", type_=one_time_tokens.c.created_at.type),
    )
)
_MADE_SINCE: Final = cast(bindparam("of_made_since"), one_time_tokens.c.created_at.type)
_END_ALL: Final = Statement(
    update(one_time_tokens).where(
        _OF_USER,
        one_time_tokens.c.used_at.is_(None),
        one_time_tokens.c.purpose != all_(bindparam("of_kept_purposes", type_=ARRAY(Text))),
        one_time_tokens.c.created_at >= func.coalesce(_MADE_SINCE, one_time_tokens.c.created_at),
    ),
    columns=["used_at"],
)
_INSERT: Final = Statement(insert(one_time_tokens), columns=[column.name for column in one_time_tokens.c])
_SAVE: Final = Statement(update(one_time_tokens).where(_OF_USER, _ONE), columns=["used_at", "failures"])


class PostgresOneTimeTokenReader:
    """Reads tokens in autocommit; a `ports.one_time_tokens.OneTimeTokenReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, user_id: UserId, digest: bytes) -> OneTimeToken | None:
        row = self._database.fetch_one(_FIND, of_user_id=user_id, of_digest=digest)
        return None if row is None else one_time_token_of(row)


class PostgresOneTimeTokenRepository:
    """The tokens of one transaction; a `ports.one_time_tokens.OneTimeTokenRepository`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction

    def find(self, user_id: UserId, digest: bytes) -> OneTimeToken | None:
        which = {"of_user_id": user_id, "of_digest": digest}
        _, found = self._transaction.read_locked(_LOCK(**which), _FIND(**which))
        row = found.fetchone()
        return None if row is None else one_time_token_of(row)

    def add(self, token: OneTimeToken) -> None:
        if token.purpose not in KEPT_BESIDE_NEWER:
            self._transaction.write(
                _END_OLDER(of_user_id=token.user_id, of_purpose=token.purpose.value, used_at=token.created_at)
            )
        self._transaction.write(
            _INSERT(
                user_id=token.user_id,
                digest=token.digest,
                email_key=token.email_key,
                purpose=token.purpose.value,
                created_at=token.created_at,
                expires_at=token.expires_at,
                used_at=token.used_at,
                address=token.address,
                failures=token.failures,
            )
        )

    def save(self, token: OneTimeToken) -> None:
        self._transaction.write(
            _SAVE(of_user_id=token.user_id, of_digest=token.digest, used_at=token.used_at, failures=token.failures)
        )

    def count_since(self, user_id: UserId, purposes: Collection[TokenPurpose], *, since: datetime) -> int:
        counted = [purpose.value for purpose in purposes]
        found = self._transaction.read(_COUNT(of_user_id=user_id, of_purposes=counted, of_since=since)).fetchone()
        return 0 if found is None else int(found[0])

    def end_all(
        self,
        user_id: UserId,
        *,
        now: datetime,
        keep: Collection[TokenPurpose] = (),
        made_since: datetime | None = None,
    ) -> None:
        kept = [purpose.value for purpose in keep]
        self._transaction.write(
            _END_ALL(of_user_id=user_id, of_kept_purposes=kept, of_made_since=made_since, used_at=now)
        )
