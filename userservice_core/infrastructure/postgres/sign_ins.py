"""Credentials and login states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from userservice_core.domain.credentials import LoginState
from userservice_core.domain.events import SequencedBy
from userservice_core.errors import UserNotFoundError
from userservice_core.infrastructure.postgres.rows import SIGN_IN_COLUMNS, sign_in_of
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import credentials, login_states, user_emails, users
from userservice_core.infrastructure.postgres.transactions import WriteOrder

if TYPE_CHECKING:
    from userservice_core.domain.credentials import Credential, SignIn
    from userservice_core.domain.ids import UserId
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.event_recorder import EventRecorder
    from userservice_core.infrastructure.postgres.statements import Step
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

_SIGN_INS: Final = users.outerjoin(credentials, credentials.c.user_id == users.c.user_id).outerjoin(
    login_states, login_states.c.user_id == users.c.user_id
)
_SIGN_INS_BY_EMAIL: Final = _SIGN_INS.join(user_emails, user_emails.c.user_id == users.c.user_id)

_FIND_BY_EMAIL: Final = Statement(
    select(*SIGN_IN_COLUMNS).select_from(_SIGN_INS_BY_EMAIL).where(user_emails.c.email_key == bindparam("email_key"))
)
_GET: Final = Statement(select(*SIGN_IN_COLUMNS).select_from(_SIGN_INS).where(users.c.user_id == bindparam("user_id")))
_LOCK: Final = Statement(
    select(login_states.c.user_id).where(login_states.c.user_id == bindparam("user_id")).with_for_update(key_share=True)
)

_SAMPLE: Final = Statement(
    text(
        # By pages, so that it takes as long however many there are; twice as many rows as wanted are expected.
        "SELECT password_hash FROM credentials TABLESAMPLE SYSTEM ((SELECT least(100, 200.0 * :size /"
        " greatest(reltuples, 1)) FROM pg_catalog.pg_class WHERE oid = 'credentials'::regclass)) LIMIT :size"
    )
)

_INSERT_STATE: Final = Statement(insert(login_states), columns=[column.name for column in login_states.c])
_SAVE_STATE: Final = Statement(
    update(login_states).where(login_states.c.user_id == bindparam("key", type_=login_states.c.user_id.type)),
    columns=["last_login_at", "failed_attempts", "locked_until"],
)
_COUNT_FAILURE: Final = Statement(
    update(login_states)
    .where(login_states.c.user_id == bindparam("key", type_=login_states.c.user_id.type))
    .values(failed_attempts=login_states.c.failed_attempts + 1)
)

_CREDENTIAL_COLUMNS: Final = ("user_id", "password_hash", "changed_at", "must_change", "former_hashes")
_INSERT_CREDENTIAL: Final = Statement(insert(credentials), columns=_CREDENTIAL_COLUMNS)
_upsert = upsert(credentials)
_SAVE_CREDENTIAL: Final = Statement(
    _upsert.on_conflict_do_update(
        index_elements=[credentials.c.user_id],
        set_={name: _upsert.excluded[name] for name in _CREDENTIAL_COLUMNS[1:]},
    ),
    columns=_CREDENTIAL_COLUMNS,
)


class PostgresSignInReader:
    """Reads sign-ins in autocommit; a `ports.credentials.SignInReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_sign_in(self, email_key: str) -> SignIn | None:
        row = self._database.fetch_one(_FIND_BY_EMAIL, email_key=email_key)
        return None if row is None else sign_in_of(row)

    def get(self, user_id: UserId) -> SignIn:
        row = self._database.fetch_one(_GET, user_id=user_id)
        if row is None:
            raise UserNotFoundError
        return sign_in_of(row)

    def sample_hashes(self, *, limit: int) -> tuple[str, ...]:
        return tuple(row[0] for row in self._database.fetch_all(_SAMPLE, size=limit))


class PostgresSignInRepository:
    """The credentials and login states of one transaction; a `ports.credentials.SignInRepository`."""

    def __init__(self, transaction: OpenTransaction, recorder: EventRecorder) -> None:
        self._transaction = transaction
        self._recorder = recorder
        self._added: set[UserId] = set()

    def get(self, user_id: UserId) -> SignIn:
        _, found = self._transaction.read_locked(_LOCK(user_id=user_id), _GET(user_id=user_id))
        row = found.fetchone()
        if row is None:
            raise UserNotFoundError
        return sign_in_of(row)

    def add(self, credential: Credential) -> None:
        self._transaction.write(_INSERT_CREDENTIAL(**_values_of(credential)))
        self.add_state(LoginState(user_id=credential.user_id))

    def add_state(self, state: LoginState) -> None:
        insertion = _INSERT_STATE(
            user_id=state.user_id,
            last_login_at=state.last_login_at,
            failed_attempts=state.failed_attempts,
            locked_until=state.locked_until,
            event_version=0,
        )
        self._recorder.starts_with(SequencedBy.LOGIN_STATE, state.user_id, insertion)
        self._transaction.write(insertion)
        self._added.add(state.user_id)

    def save_credential(self, credential: Credential) -> None:
        self._transaction.write(_SAVE_CREDENTIAL(**_values_of(credential)))

    def save_state(self, state: LoginState) -> None:
        change = _SAVE_STATE(
            key=state.user_id,
            last_login_at=state.last_login_at,
            failed_attempts=state.failed_attempts,
            locked_until=state.locked_until,
        )
        self._change_state(state.user_id, change)

    def count_failure(self, user_id: UserId) -> None:
        self._change_state(user_id, _COUNT_FAILURE(key=user_id))

    def _change_state(self, user_id: UserId, change: Step) -> None:
        """Write early, for the order of locks; a row of this transaction must be there first, and is nobody else's."""
        order = WriteOrder.OTHER if user_id in self._added else WriteOrder.LOGIN_STATE
        self._transaction.write(change, order=order)


def _values_of(credential: Credential) -> dict[str, object]:
    return {
        "user_id": credential.user_id,
        "password_hash": credential.password_hash,
        "changed_at": credential.changed_at,
        "must_change": credential.must_change,
        "former_hashes": list(credential.former_hashes),
    }
