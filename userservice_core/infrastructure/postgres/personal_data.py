"""Everything that is held about one user, in one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Integer, bindparam, select

from userservice_core.domain.audit import ActorKind, SubjectKind
from userservice_core.domain.profiles import UserProfile
from userservice_core.errors import UserNotFoundError
from userservice_core.infrastructure.postgres.audit import AUDIT_COLUMNS, AUDIT_SOURCE, audit_record_of
from userservice_core.infrastructure.postgres.rows import (
    ADDRESS_COLUMNS,
    ONE_TIME_TOKEN_COLUMNS,
    PROFILE_COLUMNS,
    SESSION_COLUMNS,
    SIGN_IN_COLUMNS,
    address_of,
    one_time_token_of,
    profile_of,
    session_of,
    sign_in_of,
)
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import (
    addresses,
    audit_entries,
    credentials,
    login_states,
    one_time_tokens,
    sessions,
    user_profiles,
    users,
)
from userservice_core.ports.personal_data import PersonalData

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Table

    from userservice_core.domain.ids import UserId
    from userservice_core.infrastructure.postgres.database import Database


def _is_whose(column: ColumnElement[object]) -> ColumnElement[bool]:
    return column == bindparam("whose", type_=users.c.user_id.type)


def _of_user(table: Table) -> ColumnElement[bool]:
    return _is_whose(table.c.user_id)


_SIGN_IN: Final = Statement(
    select(*SIGN_IN_COLUMNS)
    .select_from(
        users.outerjoin(credentials, credentials.c.user_id == users.c.user_id).outerjoin(
            login_states, login_states.c.user_id == users.c.user_id
        )
    )
    .where(_of_user(users))
)
_PROFILE: Final = Statement(select(*PROFILE_COLUMNS).where(_of_user(user_profiles)))
_ADDRESSES: Final = Statement(select(*ADDRESS_COLUMNS).where(_of_user(addresses)).order_by(addresses.c.address_id))
_SESSIONS: Final = Statement(select(*SESSION_COLUMNS).where(_of_user(sessions)).order_by(sessions.c.session_id))
_TOKENS: Final = Statement(
    select(*ONE_TIME_TOKEN_COLUMNS)
    .where(_of_user(one_time_tokens))
    .order_by(one_time_tokens.c.created_at, one_time_tokens.c.digest)
)
_LOG: Final = (
    select(*AUDIT_COLUMNS)
    .select_from(AUDIT_SOURCE)
    .order_by(audit_entries.c["at"].desc(), audit_entries.c.entry_id.desc())
    .limit(bindparam("limit", type_=Integer))
)
_DONE_TO: Final = Statement(
    _LOG.where(_is_whose(audit_entries.c.subject_id), audit_entries.c.subject_kind == SubjectKind.USER.value)
)
_DONE_BY: Final = Statement(
    _LOG.where(
        _is_whose(audit_entries.c.actor_id),
        audit_entries.c.actor_kind == ActorKind.USER.value,
        audit_entries.c.subject_id.is_distinct_from(audit_entries.c.actor_id),
    )
)


class PostgresPersonalDataReader:
    """Reads in a transaction of its own; a `ports.personal_data.PersonalDataReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, user_id: UserId, *, max_entries: int) -> PersonalData:
        found = self._database.fetch_snapshot(
            *(statement(whose=user_id) for statement in (_SIGN_IN, _PROFILE, _ADDRESSES, _SESSIONS, _TOKENS)),
            *(statement(whose=user_id, limit=max_entries + 1) for statement in (_DONE_TO, _DONE_BY)),
        )
        accounts, profiles, kept_addresses, kept_sessions, tokens, done_to, done_by = found
        if not accounts:
            raise UserNotFoundError
        return PersonalData(
            sign_in=sign_in_of(accounts[0]),
            profile=profile_of(profiles[0]) if profiles else UserProfile(user_id=user_id),
            addresses=tuple(map(address_of, kept_addresses)),
            sessions=tuple(map(session_of, kept_sessions)),
            one_time_tokens=tuple(map(one_time_token_of, tokens)),
            done_to=tuple(map(audit_record_of, done_to[:max_entries])),
            done_by=tuple(map(audit_record_of, done_by[:max_entries])),
            log_is_complete=max(len(done_to), len(done_by)) <= max_entries,
        )
